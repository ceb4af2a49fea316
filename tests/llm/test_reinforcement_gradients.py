"""On a policy whose completions can be enumerated, the expected gradient of each algorithm is the exact one."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from llm.model.gpt import GPT
from llm.tuning.chat.packing import IGNORED
from llm.tuning.reinforcement.advantages import advantages_of
from llm.tuning.reinforcement.algorithms import ALGORITHMS, Algorithm
from llm.tuning.reinforcement.objective import PolicyGradient, token_logprobs
from llm.tuning.reinforcement.policy_losses import divergence
from llm.tuning.reinforcement.ppo import ProximalPolicy, add_value_head
from llm.tuning.reinforcement.rollout import logprobs_and_values, rows_of
from tests.llm.policies import all_completions, batch_of, exact_gradient, gradients, logprobs_of, policy

# Sums of some thousand terms in float64 in another order. Gradients here are of size 0.01 to 1.
EXACT = {"rtol": 1e-9, "atol": 1e-12}
MAX_TOKENS = 3
UNBIASED = replace(ALGORITHMS["dr_grpo"], ratio="none")  # each token is divided by the same constant


def expected_gradient(
    model: GPT, algorithm: Algorithm, rewards: np.ndarray, group: int, running: float = 0.0
) -> dict[str, np.ndarray]:
    """The mean over all groups of completions, each weighted by its probability, of -(the gradient of the loss)."""
    completions = all_completions(MAX_TOKENS)
    probabilities = np.exp(logprobs_of(model, completions).data)
    assert probabilities.sum() == pytest.approx(1)
    groups = np.array(list(product(range(len(completions)), repeat=group)))  # (P, G)
    weights = probabilities[groups].prod(axis=1, keepdims=True)  # (P, 1)
    advantages = advantages_of(rewards[groups], algorithm.baseline, algorithm.scale, running)
    ids, targets = rows_of([completions[i] for i in groups.reshape(-1)])
    batch = batch_of(ids, targets, (advantages * weights).reshape(-1))
    model.zero_grad()
    PolicyGradient(algorithm, max_tokens=MAX_TOKENS).loss_sum(model, batch)[0].backward()
    return {name: -g / group for name, g in gradients(model).items()}


def assert_multiple(found: dict[str, np.ndarray], expected: dict[str, np.ndarray], factor: float) -> None:
    for name in expected:
        np.testing.assert_allclose(found[name], factor * expected[name], err_msg=name, **EXACT)


CASES = [  # baseline, size of a group, factor
    ("none", 1, 1),
    ("running", 1, 1),
    ("leave_one_out", 2, 1),
    ("group", 2, 1 / 2),
    ("leave_one_out", 3, 1),
    ("group", 3, 2 / 3),
]


@pytest.mark.parametrize(("baseline", "group", "factor"), CASES)
@pytest.mark.parametrize("ratio", ["none", "token"])
def test_the_expected_gradient_is_the_exact_one_times_a_known_factor(
    baseline: str, group: int, factor: float, ratio: str
) -> None:
    seed = group  # another policy for each size of a group
    model, rewards = policy(seed), np.random.default_rng(seed).normal(size=15)
    exact = exact_gradient(model, all_completions(MAX_TOKENS), rewards)
    algorithm = replace(UNBIASED, baseline=baseline, ratio=ratio)
    assert_multiple(expected_gradient(model, algorithm, rewards, group, running=0.7), exact, factor)


def test_the_mean_of_a_batch_is_a_baseline_with_a_known_factor_too() -> None:
    model, rewards = policy(), np.random.default_rng(0).normal(size=15)
    exact = exact_gradient(model, all_completions(MAX_TOKENS), rewards)
    # Here each pair of completions would be a batch: as one group, its batch mean is its group mean.
    algorithm = replace(UNBIASED, baseline="group")
    assert_multiple(expected_gradient(model, algorithm, rewards, 2), exact, 1 / 2)
    pair = np.array([[0.3], [0.9]])
    np.testing.assert_allclose(advantages_of(pair, "batch", "none"), [[-0.3], [0.3]])


@pytest.mark.parametrize("ratio", ["product", "sequence", "token"])
def test_a_ratio_of_completions_has_the_gradient_of_the_policy_too(ratio: str) -> None:
    model, completions = policy(), all_completions(MAX_TOKENS)
    rewards = np.random.default_rng(1).normal(size=15)
    exact = exact_gradient(model, completions, rewards)
    ids, targets = rows_of(completions)
    tokens = (targets != IGNORED).sum(axis=1)
    weights = np.exp(logprobs_of(model, completions).data) * rewards
    # The geometric mean of n ratios moves n times less than their product. A mean over the tokens of a row divides the
    # sum over them once more, but with a ratio for all of the row there is no sum: each token has the same loss.
    weights = weights * (tokens if ratio != "product" else 1)
    algorithm = replace(UNBIASED, ratio=ratio, normalization="sequence")
    model.zero_grad()
    PolicyGradient(algorithm, max_tokens=MAX_TOKENS).loss_sum(model, batch_of(ids, targets, weights))[0].backward()
    assert_multiple({name: -g for name, g in gradients(model).items()}, exact, 1)


@pytest.mark.control
def test_a_mean_over_the_tokens_of_each_completion_is_biased() -> None:
    # Dr. GRPO's finding: a token of a short completion counts more.
    model, rewards = policy(), np.random.default_rng(0).normal(size=15)
    exact = exact_gradient(model, all_completions(MAX_TOKENS), rewards)
    found = expected_gradient(model, replace(UNBIASED, baseline="none", normalization="sequence"), rewards, 1)
    best = sum((found[n] * exact[n]).sum() for n in exact) / sum((g**2).sum() for g in exact.values())
    with pytest.raises(AssertionError):
        assert_multiple(found, exact, best)


@pytest.mark.parametrize("name", [name for name in ALGORITHMS if name != "reinforce"])
def test_where_the_ratio_is_1_the_clipped_loss_has_the_gradient_of_the_plain_one(name: str) -> None:
    model, completions = add_value_head(policy()), all_completions(MAX_TOKENS)
    rng = np.random.default_rng(2)
    ids, targets = rows_of(completions)
    advantages = rng.normal(size=len(ids))
    batch = batch_of(ids, targets, advantages)
    algorithm = replace(ALGORITHMS[name], normalization="constant", beta=0.0)
    plain = replace(algorithm, ratio="none")
    old, values = logprobs_and_values(model, ids, targets, 1.0)
    batch = batch._replace(old=old, values=values, returns=values)  # the value head has nothing to learn
    kind = ProximalPolicy if algorithm.baseline == "value" else PolicyGradient
    tokens = (targets != IGNORED).sum(axis=1)
    found = {}
    for fresh in (True, False):
        model.zero_grad()
        # A ratio for the whole row stands in each of its tokens: n times the product, or n times the mean of n.
        times = {"token": 1, "product": 1 / tokens[:, None], "sequence": 1}[algorithm.ratio]
        rows = batch._replace(advantages=batch.advantages * times)
        kind(algorithm, max_tokens=MAX_TOKENS, fresh=fresh).loss_sum(model, rows)[0].backward()
        found[fresh] = gradients(model)
    model.zero_grad()
    PolicyGradient(plain, max_tokens=MAX_TOKENS).loss_sum(model, batch)[0].backward()
    expected = gradients(model)
    for each in found.values():
        assert_multiple(each, expected, 1)


def test_advantages_of_a_group_add_up_to_0_so_the_loss_is_0_but_not_its_gradient() -> None:
    model, completions = policy(), all_completions(1)[1:]  # two letters: completions of equal length
    ids, targets = rows_of(completions)
    batch = batch_of(ids, targets, advantages_of(np.array([[1.0, 0.0]])).reshape(-1))
    loss, _ = PolicyGradient(ALGORITHMS["grpo"], max_tokens=1).loss_sum(model, batch)
    loss.backward()
    assert float(loss.data) == 0.0
    assert max(np.abs(g).max() for g in gradients(model).values()) > 1e-3


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_the_estimators_of_the_divergence_are_unbiased(estimator: str) -> None:
    model, other, completions = policy(0), policy(1), all_completions(MAX_TOKENS)
    ours, theirs = (logprobs_of(each, completions).data for each in (model, other))
    exact = (np.exp(ours) * (ours - theirs)).sum()
    # k3 of whole completions: of single tokens, it would need their probabilities at each place.
    assert (np.exp(ours) * divergence(ours, theirs, estimator)).sum() == pytest.approx(exact, rel=1e-9)
    assert exact > 1e-3


def test_the_gradient_of_k1_has_the_mean_0_and_that_of_k3_pulls_to_the_reference() -> None:
    model, other, completions = policy(0), policy(1), all_completions(MAX_TOKENS)
    theirs = logprobs_of(other, completions).data
    model.zero_grad()
    weights = np.exp(logprobs_of(model, completions).data)  # constants: the samples, not what is differentiated
    (divergence(logprobs_of(model, completions), theirs, "k1") * weights).sum().backward()
    assert max(np.abs(g).max() for g in gradients(model).values()) < 1e-12
    model.zero_grad()
    (divergence(logprobs_of(model, completions), theirs, "k3") * weights).sum().backward()
    found = gradients(model)
    model.zero_grad()
    (np.exp(theirs) * (theirs - logprobs_of(model, completions))).sum().backward()  # the divergence the other way round
    assert_multiple(found, gradients(model), 1)


def test_temperature_divides_the_logits() -> None:
    model = policy()
    ids, targets = rows_of(all_completions(2))
    logits = model(ids).data / 0.7
    logprobs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    mask = targets != IGNORED
    expected = np.where(mask, np.take_along_axis(logprobs, np.where(mask, targets, 0)[..., None], -1)[..., 0], 0)
    np.testing.assert_allclose(token_logprobs(model, ids, targets, 0.7).data, expected, rtol=1e-12, atol=1e-14)
