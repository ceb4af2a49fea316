"""Batches that the model writes: what is in them, that they can be repeated and resumed, and that a model learns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from llm.inference.completions import Completion, CompletionSettings, complete, seeds_of
from llm.inference.sampling import Sampling
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.parallel.threads import Threads
from llm.training.step import train_step
from llm.tuning.chat.packing import IGNORED
from llm.tuning.reinforcement.algorithms import ALGORITHMS
from llm.tuning.reinforcement.batches import SampledBatches
from llm.tuning.reinforcement.objective import PolicyBatch, PolicyGradient
from llm.tuning.reinforcement.policy_losses import token_weights
from llm.tuning.reinforcement.ppo import ProximalPolicy, add_value_head
from llm.tuning.reinforcement.questions import Question
from llm.tuning.reinforcement.rewards import load_reward
from llm.tuning.reinforcement.rollout import logprobs_and_values, rows_of
from minigrad.backend import to_device
from minigrad.optim import AdamW
from tests.llm.gpts import random_gpt
from tokenizer.models.char import CharTokenizer

LETTERS = CharTokenizer.train(["abcd."])
END = LETTERS.encode(".")[0]
CONFIG = GPTConfig(vocab_size=LETTERS.vocab_size, context=12, layers=1, heads=2, dim=8)
QUESTIONS = [Question(text, LETTERS.encode(text), {"answer": text}) for text in ("a", "bc", "d", "ab")]


def source(
    model: GPT, algorithm: str = "grpo", reward: str = "regex:a", *, mask_truncated: bool = False, **changes: Any
) -> SampledBatches:
    settings = CompletionSettings(max_tokens=4, sampling=Sampling(temperature=1.0, top_p=1.0), stop_ids={END})
    fields: dict[str, Any] = {"prompts_per_step": 2, "group_size": 4, "seed": 5} | changes
    return SampledBatches(
        model,
        LETTERS,
        QUESTIONS,
        load_reward(reward),
        replace(ALGORITHMS[algorithm], mask_truncated=mask_truncated),
        settings,
        **fields,
    )


def metrics(batches: SampledBatches, batch: PolicyBatch) -> dict[str, float]:
    objective = PolicyGradient(batches.algorithm, max_tokens=4, fresh=False)
    return {name: total / count for name, (total, count) in objective.loss_sum(batches.model, batch)[1].items()}


def assert_equal(a: Any, b: Any) -> None:
    for name, x, y in zip(PolicyBatch._fields, a, b, strict=True):
        np.testing.assert_array_equal(x, y, err_msg=name)


def test_rows_have_a_target_for_each_token_of_the_completion_and_for_no_other() -> None:
    completions = [Completion([1, 2], [3, 4], "", cut_off=False), Completion([1], [2, 3, 4, 5], "", cut_off=True)]
    ids, targets = rows_of(completions)
    np.testing.assert_array_equal(ids, [[1, 2, 3, 0], [1, 2, 3, 4]])
    np.testing.assert_array_equal(targets, [[IGNORED, 3, 4, IGNORED], [2, 3, 4, 5]])
    _, targets = rows_of(completions, mask_truncated=True)
    np.testing.assert_array_equal(targets, [[IGNORED, 3, 4, IGNORED], [IGNORED] * 4])


def test_a_completion_ends_with_the_token_that_ended_it_or_is_cut_off() -> None:
    model = random_gpt(CONFIG, 0)
    settings = CompletionSettings(max_tokens=3, stop_ids={END})
    for each in complete(model, LETTERS, [QUESTIONS[0].ids] * 40, settings, seeds_of(0, 0, 40)):
        assert (each.ids[-1] == END) is not each.cut_off
        assert END not in each.ids[:-1]
        assert len(each.ids) == 3 if each.cut_off else len(each.ids) <= 3
        assert each.text == LETTERS.decode([i for i in each.ids if i != END])


def test_tokens_are_sampled_with_the_probabilities_of_the_policy() -> None:
    model = random_gpt(CONFIG, 3)
    settings, count = CompletionSettings(max_tokens=1, sampling=Sampling(temperature=0.7, top_p=1.0)), 600
    completions = complete(model, LETTERS, [QUESTIONS[1].ids] * count, settings, seeds_of(1, 2, count))
    ids = np.array([QUESTIONS[1].ids] * 5)
    targets = np.full(ids.shape, IGNORED)
    targets[:, -1] = np.arange(5)
    probabilities = np.exp(logprobs_and_values(model, ids, targets, 0.7)[0][:, -1])
    shares = np.bincount([each.ids[0] for each in completions], minlength=5) / count
    assert probabilities.sum() == pytest.approx(1)
    # Five standard deviations of a share: once in a million draws it would be further off, and the seed is fixed.
    np.testing.assert_allclose(shares, probabilities, atol=5 * 0.5 / np.sqrt(count))


@pytest.mark.parametrize("algorithm", list(ALGORITHMS))
def test_a_batch_is_a_function_of_seed_step_and_weights(algorithm: str) -> None:
    model = add_value_head(random_gpt(CONFIG, 0))
    first, again, other = (source(model, algorithm, seed=seed).batch(3) for seed in (5, 5, 6))
    assert_equal(first, again)
    assert other[0].shape != first[0].shape or (other[0] != first[0]).any()


def test_each_epoch_has_all_questions_in_another_order() -> None:
    batches = source(random_gpt(CONFIG, 0))
    seen = [[q.prompt for q in batches.chosen(n)] for n in range(40)]
    assert all(names == sorted(names, key=names.index) and len(names) == 8 for names in seen)
    epochs = [tuple(seen[n][::4] + seen[n + 1][::4]) for n in range(0, 40, 2)]
    assert all(sorted(epoch) == sorted(q.prompt for q in QUESTIONS) for epoch in epochs)
    assert len(set(epochs)) > 1


def test_a_batch_that_was_resumed_between_two_updates_is_the_same() -> None:
    model = random_gpt(CONFIG, 0)
    batches = source(model, epochs=3)
    batches.batch(3)
    for p in model.parameters():
        p.data += 0.1
    resumed = source(model, epochs=3)
    resumed.load_state_dict(batches.state_dict())
    for step in (4, 5, 6, 7):
        assert_equal(batches.batch(step), resumed.batch(step))
    assert batches.running == resumed.running
    assert batches.measures == resumed.measures


def test_the_ratio_is_that_to_the_weights_that_sampled() -> None:
    model = random_gpt(CONFIG, 0)
    batches = source(model, epochs=2)
    first = PolicyBatch(*batches.batch(0))
    now, _ = logprobs_and_values(model, first.ids, first.targets, 1.0)
    np.testing.assert_array_equal(now, first.old)
    for p in model.parameters():
        p.data += 0.3
    assert_equal(batches.batch(1), first)
    assert metrics(batches, first)["clipped"] > 0


def test_the_divergence_is_subtracted_from_rewards_or_added_to_the_loss() -> None:
    model, other = random_gpt(CONFIG, 0), random_gpt(CONFIG, 1)

    def reference(ids: np.ndarray, targets: np.ndarray) -> np.ndarray:
        return logprobs_and_values(other, ids, targets, 1.0)[0]

    batches = source(model, "rloo", reference=reference)
    batches.algorithm = replace(batches.algorithm, beta=0.3, baseline="none")
    with_kl = PolicyBatch(*batches.batch(0))
    plain = source(model, "rloo")
    plain.algorithm = replace(plain.algorithm, beta=0.0, baseline="none")
    without = PolicyBatch(*plain.batch(0))
    penalty = 0.3 * (with_kl.old - with_kl.reference).sum(axis=1, keepdims=True)
    mask = with_kl.targets != IGNORED
    np.testing.assert_allclose(with_kl.advantages, without.advantages - np.where(mask, penalty, 0.0), atol=1e-12)
    assert metrics(batches, with_kl)["kl"] > 0


@pytest.mark.parametrize("algorithm", list(ALGORITHMS))
@pytest.mark.parametrize("fresh", [True, False])
def test_a_gpu_computes_the_same_loss_metrics_and_gradients(cupy: Any, algorithm: str, *, fresh: bool) -> None:
    model = random_gpt(CONFIG, 0)
    chosen = ALGORITHMS[algorithm]
    is_ppo = chosen.baseline == "value"
    batches = source(add_value_head(model) if is_ppo else model, algorithm, epochs=2)
    batch = batches.batch(0)
    for p in model.parameters():
        p.data += 0.05
    objective = (ProximalPolicy if is_ppo else PolicyGradient)(replace(chosen, beta=0.1), max_tokens=4, fresh=fresh)
    found = []
    for device in ("cpu", "cuda"):
        model.to(device)
        model.zero_grad()
        loss, metrics = objective.loss_sum(model, tuple(to_device(array, device) for array in batch))
        loss.backward()
        grads = [to_device(p.grad.data, "cpu") for p in model.parameters() if p.grad is not None]
        found.append([float(loss.data), *[x for pair in metrics.values() for x in pair], *grads])
    for cpu, gpu in zip(*found, strict=True):
        np.testing.assert_allclose(gpu, cpu, rtol=1e-9, atol=1e-12)  # float64, sums in another order


@pytest.mark.parametrize("algorithm", list(ALGORITHMS))
def test_any_split_of_a_batch_gives_the_same_gradient(algorithm: str) -> None:
    model, chosen = random_gpt(CONFIG, 0), ALGORITHMS[algorithm]
    is_ppo = chosen.baseline == "value"
    batch = source(add_value_head(model) if is_ppo else model, algorithm, mask_truncated=True).batch(0)
    objective = (ProximalPolicy if is_ppo else PolicyGradient)(chosen, max_tokens=4)
    found = []
    for count, micro_batches in ((1, 1), (1, 8), (3, 1), (2, 3)):
        model.zero_grad()
        workers = Threads(model, objective, count)
        loss = workers.accumulate(batch, micro_batches=micro_batches)
        workers.close()
        found.append([np.array(loss), *[p.grad.numpy().copy() for p in model.parameters() if p.grad is not None]])
    for others in found[1:]:
        for a, b in zip(found[0], others, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)  # float64, sums in another order


def test_rows_without_advantage_are_not_computed_and_change_nothing() -> None:
    model = random_gpt(CONFIG, 0)
    objective = PolicyGradient(ALGORITHMS["grpo"], max_tokens=4)
    batch = PolicyBatch(*source(model).batch(0))
    for kept in (range(3, 6), range(0)):  # of 8 rows; of none
        is_kept = np.isin(np.arange(len(batch.ids)), kept)[:, None]
        all_rows = batch._replace(advantages=np.where(is_kept & (batch.targets != IGNORED), 0.5, 0.0))
        rows = objective.learned_from(all_rows)
        assert len(rows.ids) == max(len(kept), 1)  # one is left, so that the loss has a graph
        found = []
        for learned in (all_rows, rows):
            model.zero_grad()
            mask = learned.targets != IGNORED
            losses = objective.token_losses(model, learned, mask)[1]
            (losses * token_weights(mask, "sequence")).sum().backward()
            found.append([p.grad.numpy().copy() for p in model.parameters() if p.grad is not None])
        for a, b in zip(*found, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)  # float64, sums in another order
    with_reference = PolicyGradient(replace(ALGORITHMS["grpo"], beta=0.1), max_tokens=4)
    assert len(with_reference.learned_from(batch._replace(advantages=np.zeros_like(batch.advantages))).ids) == 8


def learn(algorithm: str, updates: int, **changes: Any) -> list[float]:
    """The mean rewards while a model learns to write the letter a."""
    chosen, epochs = ALGORITHMS[algorithm], changes.get("epochs", 1)
    is_ppo = chosen.baseline == "value"
    model = GPT(CONFIG, rng=0)
    if is_ppo:
        model = add_value_head(model)
    batches = source(model, algorithm, prompts_per_step=4, group_size=8, **changes)
    batches.algorithm = replace(chosen, beta=0.0)
    objective = (ProximalPolicy if is_ppo else PolicyGradient)(
        batches.algorithm, max_tokens=4, fresh=epochs == 1 and not is_ppo
    )
    workers, optimizer = Threads(model, objective, 2), AdamW(model.named_parameters(), lr=0.02)
    rewards = []
    for step in range(updates):
        result = train_step(workers, optimizer, batches.batch(step), lr=0.02)
        assert result.updated
        rewards.append(batches.measures["reward"])
    workers.close()
    return rewards


QUICK = ["grpo", "ppo"]
EACH = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in ALGORITHMS]


@pytest.mark.parametrize("algorithm", EACH)
def test_every_algorithm_learns(algorithm: str) -> None:
    rewards = learn(algorithm, 20, epochs=2 if algorithm in QUICK else 1)
    assert np.mean(rewards[:2]) < 0.75
    assert np.mean(rewards[-2:]) > 0.9
