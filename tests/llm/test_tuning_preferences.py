"""Losses of preferences: the formulas, their values and gradients at the start and everywhere, and those of TRL."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from llm.tuning import preference_loss
from llm.tuning.preferences.losses import LOSSES
from llm.tuning.preferences.pairs import Pair
from minigrad.gradcheck import GradientError, gradcheck
from minigrad.tensor import Tensor

PAIRED = sorted(LOSSES)
kinds = st.sampled_from(PAIRED)
betas = st.floats(0.05, 2)
smoothings = st.floats(0, 0.4)


@st.composite
def pairs(draw: st.DrawFn, kind: str, beta: float, count: int | None = None) -> dict[str, Any]:
    """Arguments of `preference_loss` for some pairs."""
    count = draw(st.integers(1, 4)) if count is None else count
    tokens = {f"{side}_tokens": np.array(draw(st.lists(st.integers(1, 9), min_size=count, max_size=count)))
              for side in ("chosen", "rejected")}  # fmt: skip
    # Mean log-probabilities of -3 to -0.1 a token, and a policy that is not far from the reference.
    means = st.lists(st.floats(-3, -0.1), min_size=count, max_size=count).map(np.array)
    found: dict[str, Any] = {}
    for side in ("chosen", "rejected"):
        reference = draw(means) * tokens[f"{side}_tokens"]
        change = np.array(draw(st.lists(st.floats(-2, 2), min_size=count, max_size=count)))
        found |= {f"reference_{side}": reference, f"policy_{side}": np.minimum(reference + change, -0.01)}
    options = {"kind": kind, "beta": beta}
    if LOSSES[kind].smoothing:
        options["label_smoothing"] = draw(smoothings)
    return found | tokens | options


def gradients(arguments: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Of the sum of the losses, with respect to the log-probabilities of chosen and rejected completions."""
    chosen, rejected = (
        Tensor(np.asarray(arguments[f"policy_{side}"]), requires_grad=True) for side in ("chosen", "rejected")
    )
    preference_loss(**arguments | {"policy_chosen": chosen, "policy_rejected": rejected}).sum().backward()
    return tuple(np.zeros(x.shape) if x.grad is None else x.grad.data for x in (chosen, rejected))  # type: ignore[return-value]


# --- the formulas -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PAIRED)
@given(data=st.data(), beta=betas)
def test_gradients_agree_with_finite_differences(kind: str, data: st.DataObject, beta: float) -> None:
    arguments = data.draw(pairs(kind, beta))
    if kind == "hinge":  # further from the kink than the step
        margin = [arguments[f"policy_{side}"] - arguments[f"reference_{side}"] for side in ("chosen", "rejected")]
        assume(np.abs(1 - beta * (margin[0] - margin[1])).min() > 1e-3)
    sides = ("policy_chosen", "policy_rejected")
    inputs = [arguments.pop(name) for name in sides]
    gradcheck(lambda *policy: preference_loss(*policy, **arguments), inputs)


@pytest.mark.parametrize("kind", PAIRED)
@given(data=st.data(), beta=betas, gamma=st.floats(0, 3))
def test_value_and_gradient_at_the_start_are_those_of_the_table(
    kind: str, data: st.DataObject, beta: float, gamma: float
) -> None:
    arguments = data.draw(pairs(kind, beta)) | {"gamma": gamma}
    mean = data.draw(st.floats(-3, -0.1))
    for side in ("chosen", "rejected"):  # with a reference, the policy is equal to it; without, means per token are
        arguments[f"policy_{side}"] = arguments[f"reference_{side}"] = mean * arguments[f"{side}_tokens"]
    c, r = (arguments[f"policy_{side}"] for side in ("chosen", "rejected"))
    smoothing = arguments.get("label_smoothing", 0.0)
    pair = Pair(Tensor(c), Tensor(r), arguments["chosen_tokens"], arguments["rejected_tokens"], beta, smoothing, gamma,
                0.0)  # fmt: skip
    row = LOSSES[kind]
    np.testing.assert_allclose(preference_loss(**arguments).data, row.start(pair) * np.ones(len(c)), rtol=1e-12)
    for found, expected in zip(gradients(arguments), row.slope(pair)):
        np.testing.assert_allclose(found, expected * np.ones(len(c)), rtol=1e-9)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("sigmoid", 0.693147), ("robust", 0.693147), ("sigmoid_norm", 0.693147), ("nca_pair", 1.386294), ("ipo", 25),
        ("hinge", 1), ("kto", 0.5), ("apo_zero", 1), ("sppo_hard", 50), ("exo_pair", 2.761231), ("simpo", 0.974077),
    ],
)  # fmt: skip
def test_the_first_values_with_the_usual_settings(kind: str, value: float) -> None:
    logps, tokens = np.array([-9.0]), np.array([3])
    losses = preference_loss(logps, logps, logps, logps, kind=kind, chosen_tokens=tokens, rejected_tokens=tokens)
    assert losses.data == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("kind", PAIRED)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(data=st.data())
def test_extreme_log_probabilities_give_finite_losses_and_gradients(
    kind: str, dtype: type, data: st.DataObject
) -> None:
    extremes = st.sampled_from([0.0, -1e-30, -1e-9, -0.5, -80.0, -1e4, -1e8])
    arguments: dict[str, Any] = {
        f"{who}_{side}": np.array([data.draw(extremes)], dtype)
        for side in ("chosen", "rejected")
        for who in ("policy", "reference")
    }
    arguments |= {f"{side}_tokens": np.array([data.draw(st.integers(0, 3))]) for side in ("chosen", "rejected")}
    arguments |= {"kind": kind, "beta": data.draw(st.sampled_from([1e-3, 0.1, 10.0]))}
    losses = preference_loss(**arguments)
    assert losses.dtype == dtype
    for array in (losses.data, *gradients(arguments)):
        assert np.isfinite(array).all()


@pytest.mark.parametrize("kind", PAIRED)
@given(data=st.data(), beta=betas)
def test_a_better_chosen_completion_lowers_the_loss_near_the_start(kind: str, data: st.DataObject, beta: float) -> None:
    arguments = data.draw(pairs(kind, beta))
    for side in ("chosen", "rejected"):
        arguments[f"policy_{side}"] = arguments[f"reference_{side}"] = -2.0 * arguments[f"{side}_tokens"]
    chosen, rejected = gradients(arguments)
    assert (chosen < 0).all() and (rejected > 0).all()


@given(data=st.data(), kind=kinds)
def test_the_loss_of_a_pair_does_not_depend_on_the_others(data: st.DataObject, kind: str) -> None:
    arguments = data.draw(pairs(kind, 0.3, count=3))
    together = preference_loss(**arguments).data
    for i in range(3):
        one = {name: value[i : i + 1] if isinstance(value, np.ndarray) else value for name, value in arguments.items()}
        np.testing.assert_allclose(preference_loss(**one).data, together[i : i + 1], rtol=1e-12)


@given(data=st.data(), beta=betas, kl=st.floats(0, 2))
def test_kto_of_single_completions_is_half_of_each_side_of_pairs(data: st.DataObject, beta: float, kl: float) -> None:
    arguments = data.draw(pairs("kto", beta))
    c, r = arguments["policy_chosen"], arguments["policy_rejected"]
    c_ref, r_ref = arguments["reference_chosen"], arguments["reference_rejected"]
    options = {"kind": "kto", "beta": beta, "kl": kl}
    desirable = preference_loss(c, None, c_ref, None, **options).data
    undesirable = preference_loss(None, r, None, r_ref, **options).data
    np.testing.assert_allclose(desirable, 1 - 1 / (1 + np.exp(-beta * (c - c_ref - kl))), rtol=1e-9)
    np.testing.assert_allclose(undesirable, 1 - 1 / (1 + np.exp(-beta * (kl - (r - r_ref)))), rtol=1e-9)
    np.testing.assert_allclose(preference_loss(c, r, c_ref, r_ref, **options).data, (desirable + undesirable) / 2)


def test_every_row_of_the_table_says_where_it_comes_from() -> None:
    for name, row in LOSSES.items():
        assert "arXiv" in row.source and row.text and row.reference == (name not in ("simpo", "orpo"))


# --- what is refused --------------------------------------------------------------------------------------------------

ONE = np.array([-1.0])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"kind": "dpo"}, "no kind 'dpo'"),
        ({"beta": 0.0}, "above 0"),
        ({"beta": math.nan}, "above 0"),
        ({"label_smoothing": 0.5}, "below 0.5"),
        ({"kind": "hinge", "label_smoothing": 0.1}, "hinge has no label_smoothing"),
        ({"reference_chosen": None}, "sigmoid needs reference_chosen"),
        ({"policy_rejected": None}, "sigmoid needs policy_rejected"),
        ({"kind": "ipo", "chosen_tokens": ONE}, "ipo needs rejected_tokens"),
        ({"reference_rejected": np.ones(2)}, "reference_rejected must have a number for each pair"),
        ({"policy_rejected": np.ones(2), "reference_rejected": np.ones(2)}, "got 1 and 2"),
        ({"policy_chosen": np.ones((1, 1))}, "got \\(1, 1\\)"),
    ],
)
def test_what_cannot_be_computed_is_refused(changes: dict[str, Any], sentence: str) -> None:
    names = ("policy_chosen", "policy_rejected", "reference_chosen", "reference_rejected")
    with pytest.raises(ValueError, match=sentence):
        preference_loss(**dict.fromkeys(names, ONE) | changes)


@pytest.mark.control
def test_a_wrong_gradient_is_noticed() -> None:
    def wrong(c: Tensor, r: Tensor) -> Tensor:  # as if the gradient of the chosen completion were 0.1% too large
        return preference_loss(c, r, ONE, ONE) - (c - c.detach()) * 5e-5

    with pytest.raises(GradientError):
        gradcheck(wrong, [np.array([-2.0]), np.array([-1.5])])


@pytest.mark.control
def test_means_in_place_of_sums_are_noticed() -> None:
    c, r, tokens = np.array([-6.0]), np.array([-8.0]), np.array([3])
    right = preference_loss(c, r, c - 1, r + 1).data
    assert abs(preference_loss(c / tokens, r / tokens, (c - 1) / tokens, (r + 1) / tokens).data - right) > 1e-2


# --- TRL --------------------------------------------------------------------------------------------------------------


@pytest.mark.shared
def test_losses_are_those_of_trl_s_trainer(shared_data: Path) -> None:
    # Its losses are in float32: seven digits, of log-probabilities that are sums.
    data = json.loads((shared_data / "tuning" / "preference" / "preference.json").read_text())
    names = [f"{who}_{side}" for who in ("policy", "reference") for side in ("chosen", "rejected")]
    logps = [np.array(data[f"{who}_logps_{side}"]) for who, side in (name.split("_") for name in names)]
    tokens = {f"{side}_tokens": [len(pair[f"{side}_ids"]) for pair in data["pairs"]] for side in ("chosen", "rejected")}
    compared = 0
    for row in data["losses"]:
        if row["loss_type"] not in LOSSES:
            continue
        options = {"kind": row["loss_type"], "beta": row["beta"], "label_smoothing": row.get("label_smoothing", 0.0)}
        assert preference_loss(*logps, **tokens, **options).data.mean() == pytest.approx(row["loss"], rel=2e-6)
        compared += 1
    assert compared >= 10


def torch_formulas() -> dict[str, Callable[..., Any]]:
    """The formulas as TRL 1.16 computes them, written again with functions of PyTorch."""
    import torch
    import torch.nn.functional as F

    log_sigmoid, sigmoid = F.logsigmoid, torch.sigmoid

    def exo(c: Any, r: Any, beta: float, epsilon: float, **_: Any) -> Any:
        epsilon, x = max(epsilon, 1e-3), beta * (c - r)
        target = torch.tensor([1 - epsilon, epsilon], dtype=c.dtype)
        log_q = torch.stack([log_sigmoid(x), log_sigmoid(-x)], dim=-1)  # (B, 2)
        return (log_q.exp() * (log_q - target.log())).sum(-1)

    def orpo(c: Any, r: Any, n_c: Any, n_r: Any, beta: float, **_: Any) -> Any:
        c, r = c / n_c, r / n_r
        log_odds = (c - r) - (torch.log1p(-torch.exp(c)) - torch.log1p(-torch.exp(r)))
        return -c - beta * log_sigmoid(log_odds)

    def simpo(c: Any, r: Any, n_c: Any, n_r: Any, beta: float, epsilon: float, **_: Any) -> Any:
        x = beta * (c / n_c - r / n_r - 0.5 / beta)
        return -log_sigmoid(x) * (1 - epsilon) - log_sigmoid(-x) * epsilon

    # fmt: off
    return {
        "sigmoid": lambda c, r, beta, epsilon, **_: (
            F.binary_cross_entropy_with_logits(beta * (c - r), torch.full_like(c, 1 - epsilon), reduction="none")),
        "hinge": lambda c, r, beta, **_: F.relu(1 - beta * (c - r)),
        "ipo": lambda c, r, n_c, n_r, beta, **_: (c / n_c - r / n_r - 1 / (2 * beta)) ** 2,
        "robust": lambda c, r, beta, epsilon, **_: (
            -(1 - epsilon) * log_sigmoid(beta * (c - r)) + epsilon * log_sigmoid(-beta * (c - r))) / (1 - 2 * epsilon),
        "exo_pair": exo,
        "nca_pair": lambda c, r, beta, **_: (
            -log_sigmoid(beta * c) - 0.5 * log_sigmoid(-beta * c) - 0.5 * log_sigmoid(-beta * r)),
        "sppo_hard": lambda c, r, beta, **_: (c - 0.5 / beta) ** 2 + (r + 0.5 / beta) ** 2,
        "apo_zero": lambda c, r, beta, **_: (1 - sigmoid(beta * c)) + sigmoid(beta * r),
        "sigmoid_norm": lambda c, r, n_c, n_r, beta, **_: -log_sigmoid(beta * (c / n_c - r / n_r)),
        "simpo": simpo,
        "orpo": orpo,
        "kto": lambda c, r, beta, **_: (1 - sigmoid(beta * c) + 1 - sigmoid(-beta * r)) / 2,
    }
    # fmt: on


@pytest.mark.parity
@pytest.mark.parametrize("kind", PAIRED)
@given(data=st.data(), beta=betas)
def test_losses_and_gradients_are_those_of_the_same_formulas_in_torch(
    kind: str, data: st.DataObject, beta: float
) -> None:
    import torch

    arguments = data.draw(pairs(kind, beta))
    policy = {side: torch.tensor(arguments[f"policy_{side}"], requires_grad=True) for side in ("chosen", "rejected")}
    ratios = [
        logps - torch.tensor(arguments[f"reference_{side}"]) if LOSSES[kind].reference else logps
        for side, logps in policy.items()
    ]
    n_c, n_r = (torch.tensor(arguments[f"{side}_tokens"]) for side in ("chosen", "rejected"))
    epsilon = arguments.get("label_smoothing", 0.0)
    theirs = torch_formulas()[kind](*ratios, n_c=n_c, n_r=n_r, beta=beta, epsilon=epsilon)
    theirs.sum().backward()
    np.testing.assert_allclose(preference_loss(**arguments).data, theirs.detach(), rtol=1e-9, atol=1e-12)
    for ours, logps in zip(gradients(arguments), policy.values()):
        np.testing.assert_allclose(ours, logps.grad, rtol=1e-9, atol=1e-12)
