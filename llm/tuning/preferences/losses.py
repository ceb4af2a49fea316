"""Losses that learn from preferences: of two completions of the same prompt, people chose one and rejected the other.

All of them read the same four numbers of a pair: the log-probabilities of both completions, each a *sum* over the
tokens of the completion with its end of turn, under the policy (the model in training) and under the reference (the
model before). The letters of the formulas:

    c, r      log p(chosen) - log p_ref(chosen), and the same of the rejected completion. A loss without a reference
              takes log p(chosen) and log p(rejected) themselves
    n_c, n_r  how many tokens the completions have.     c/n_c and r/n_r are means per token
    β         how strongly the policy is held to the reference: β c and β r are the rewards that it implies
    ε         label smoothing: the probability that a label is wrong, and the pair should be the other way round
    σ         the sigmoid, 1 / (1 + e^-x)

At the start the policy is the reference, so c = r = 0, and the loss is a known number, such as log 2 = 0.6931 for DPO.
The table has it for each loss, with the gradient there. A first value that differs is a sign of a mistake: the policy
has dropout and the reference has none, a prompt was counted, a mean was taken in place of a sum.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from llm.tuning.preferences.pairs import Pair, for_each, log_ratio, token_counts
from minigrad.ops import expm1, log, minimum, relu, sigmoid, softplus
from minigrad.tensor import Tensor

LEAST_SMOOTHING = 1e-3  # of exo_pair, which takes the logarithm of ε


class Slope(NamedTuple):
    """The derivatives of the loss of a pair with respect to log p(chosen) and log p(rejected)."""

    chosen: Any
    rejected: Any


@dataclass(frozen=True)
class Loss:
    """A row of the table. The functions take a `Pair`; `start` and `slope` are for a policy equal to the reference.

    Without a reference, the start is where both completions have the same mean log-probability, c/n_c = r/n_r.
    """

    formula: Callable[[Pair], Tensor]
    text: str
    source: str
    start: Callable[[Pair], Any]
    slope: Callable[[Pair], Slope]
    reference: bool = True  # whether it needs one
    lengths: bool = False  # whether it divides by n_c and n_r
    smoothing: bool = False  # whether it knows ε


def minus_log_sigmoid(x: Tensor) -> Tensor:
    """-log σ(x) = log(1 + e^-x), without overflow."""
    return softplus(-x)


def smoothed(x: Tensor, epsilon: float) -> Tensor:
    """-(1-ε) log σ(x) - ε log σ(-x)."""
    return (1 - epsilon) * minus_log_sigmoid(x) + epsilon * minus_log_sigmoid(-x)


def exo(p: Pair) -> Tensor:
    """The divergence of (q, 1-q), what the policy thinks of the pair, from the smoothed label (1-ε, ε)."""
    x = p.margin
    as_chosen, as_rejected = smoothed_label(p)
    return sigmoid(x) * (-minus_log_sigmoid(x) - as_chosen) + sigmoid(-x) * (-minus_log_sigmoid(-x) - as_rejected)


def smoothed_label(p: Pair) -> tuple[float, float]:
    """log(1-ε) and log ε."""
    epsilon = max(p.epsilon, LEAST_SMOOTHING)
    return math.log1p(-epsilon), math.log(epsilon)


def log_odds(mean: Tensor) -> Tensor:
    """log(p / (1-p)) for p = e^mean. A p of 1 counts as the number below it, so that the odds are finite."""
    mean = minimum(mean, -float(np.finfo(mean.dtype).eps))
    return mean - log(-expm1(mean))


def odds_ratio(p: Pair) -> Tensor:
    odds = log_odds(p.c / p.n_c) - log_odds(p.r / p.n_r)
    return -p.c / p.n_c + p.beta * minus_log_sigmoid(odds)


def desirable(p: Pair) -> Tensor:
    return sigmoid(p.beta * (p.kl - p.c))  # 1 - σ(x) = σ(-x), without the loss of digits


def undesirable(p: Pair) -> Tensor:
    return sigmoid(p.beta * (p.r - p.kl))


def both(size: Any) -> Slope:
    return Slope(-size, size)


def by_length(size: Any, p: Pair) -> Slope:
    return Slope(-size / p.n_c, size / p.n_r)


def orpo_slope(p: Pair) -> Slope:
    less_sure = p.beta / 2 / -np.expm1(p.c.data / p.n_c)  # d log(p / (1-p)) / d log p = 1 / (1-p)
    return Slope(-(1 + less_sure) / p.n_c, less_sure / p.n_r)


LN2 = math.log(2)
LOSSES = {
    "sigmoid": Loss(
        lambda p: smoothed(p.margin, p.epsilon),
        "-(1-ε) log σ(β(c - r)) - ε log σ(-β(c - r))",
        "DPO: Rafailov et al. 2023, arXiv 2305.18290; ε: Mitchell 2023, A note on DPO with noisy preferences",
        start=lambda p: LN2,
        slope=lambda p: both(p.beta / 2 * (1 - 2 * p.epsilon)),
        smoothing=True,
    ),
    "ipo": Loss(
        lambda p: (p.mean_margin - 1 / (2 * p.beta)) ** 2,
        "(c/n_c - r/n_r - 1/(2β))²",
        "IPO: Azar et al. 2023, arXiv 2310.12036; with means, as its authors told those of TRL",
        start=lambda p: 1 / (4 * p.beta**2),
        slope=lambda p: by_length(1 / p.beta, p),
        lengths=True,
    ),
    "hinge": Loss(
        lambda p: relu(1 - p.margin),
        "max(0, 1 - β(c - r))",
        "SLiC: Zhao et al. 2023, arXiv 2305.10425; with a reference: RSO, Liu et al. 2023, arXiv 2309.06657",
        start=lambda p: 1.0,
        slope=lambda p: both(p.beta),
    ),
    "robust": Loss(
        lambda p: (
            ((1 - p.epsilon) * minus_log_sigmoid(p.margin) - p.epsilon * minus_log_sigmoid(-p.margin))
            / (1 - 2 * p.epsilon)
        ),
        "(-(1-ε) log σ(β(c - r)) + ε log σ(-β(c - r))) / (1 - 2ε)",
        "robust DPO: Chowdhury et al. 2024, arXiv 2403.00409",
        start=lambda p: LN2,
        slope=lambda p: both(p.beta / 2 / (1 - 2 * p.epsilon)),
        smoothing=True,
    ),
    "exo_pair": Loss(
        exo,
        "q log(q / (1-ε)) + (1-q) log((1-q) / ε) for q = σ(β(c - r)); ε is at least 0.001",
        "EXO: Ji et al. 2024, arXiv 2402.00856, equation 16",
        start=lambda p: -LN2 - sum(smoothed_label(p)) / 2,
        slope=lambda p: both(p.beta / 4 * (smoothed_label(p)[0] - smoothed_label(p)[1])),
        smoothing=True,
    ),
    "nca_pair": Loss(
        lambda p: (
            minus_log_sigmoid(p.beta * p.c) + (minus_log_sigmoid(-p.beta * p.c) + minus_log_sigmoid(-p.beta * p.r)) / 2
        ),
        "-log σ(βc) - ½ log σ(-βc) - ½ log σ(-βr)",
        "NCA: Chen et al. 2024, arXiv 2402.05369",
        start=lambda p: 2 * LN2,
        slope=lambda p: both(p.beta / 4),
    ),
    "sppo_hard": Loss(
        lambda p: (p.c - 0.5 / p.beta) ** 2 + (p.r + 0.5 / p.beta) ** 2,
        "(c - 1/(2β))² + (r + 1/(2β))²",
        "SPPO: Wu et al. 2024, arXiv 2405.00675, equation 4.7, with probability 1 that the chosen one is better",
        start=lambda p: 1 / (2 * p.beta**2),
        slope=lambda p: both(1 / p.beta),
    ),
    "apo_zero": Loss(
        lambda p: sigmoid(-p.beta * p.c) + sigmoid(p.beta * p.r),
        "1 - σ(βc) + σ(βr)",
        "APO-zero: D'Oosterlinck et al. 2024, arXiv 2408.06266, equation 7",
        start=lambda p: 1.0,
        slope=lambda p: both(p.beta / 4),
    ),
    "sigmoid_norm": Loss(
        lambda p: minus_log_sigmoid(p.beta * p.mean_margin),
        "-log σ(β(c/n_c - r/n_r))",
        "DPO with means per token: Lambert et al. 2024 (Tülu 3), arXiv 2411.15124",
        start=lambda p: LN2,
        slope=lambda p: by_length(p.beta / 2, p),
        lengths=True,
    ),
    "simpo": Loss(
        lambda p: smoothed(p.beta * p.mean_margin - p.gamma, p.epsilon),
        "-(1-ε) log σ(x) - ε log σ(-x) for x = β(c/n_c - r/n_r) - γ",
        "SimPO: Meng et al. 2024, arXiv 2405.14734",
        start=lambda p: math.log1p(math.exp(-p.gamma)) + p.gamma * (1 - p.epsilon),
        slope=lambda p: by_length(p.beta * (1 / (1 + math.exp(-p.gamma)) - p.epsilon), p),
        reference=False,
        lengths=True,
        smoothing=True,
    ),
    "orpo": Loss(
        odds_ratio,
        "-c/n_c - β log σ(odds(c/n_c) - odds(r/n_r)) for odds(m) = m - log(1 - e^m)",
        "ORPO: Hong et al. 2024, arXiv 2403.07691. (TRL's first term also counts the tokens of the prompt.)",
        start=lambda p: -p.c.data / p.n_c + p.beta * LN2,
        slope=orpo_slope,
        reference=False,
        lengths=True,
    ),
    "kto": Loss(
        lambda p: (desirable(p) + undesirable(p)) / 2,
        "(1 - σ(β(c - kl)) + 1 - σ(β(kl - r))) / 2; of a completion alone, its own term",
        "KTO: Ethayarajh et al. 2024, arXiv 2402.01306",
        start=lambda p: 0.5,
        slope=lambda p: both(p.beta / 8),
    ),
}


def preference_loss(
    policy_chosen: Any,
    policy_rejected: Any,
    reference_chosen: Any = None,
    reference_rejected: Any = None,
    *,
    kind: str = "sigmoid",
    beta: float = 0.1,
    label_smoothing: float = 0.0,
    chosen_tokens: Any = None,
    rejected_tokens: Any = None,
    gamma: float = 0.5,
    kl: Any = 0.0,
) -> Tensor:
    """The loss (B,) of each of B pairs, from the summed log-probabilities (B,) of their completions.

    `kind`: a row of LOSSES. simpo and orpo need no reference. `chosen_tokens` and `rejected_tokens`: how many tokens
    each completion has, for ipo, sigmoid_norm, simpo and orpo, which divide by them.
    `gamma`: of simpo. `kl`: of kto, a constant: the mean of log p - log p_ref over completions of *other* prompts.

    kto needs no pairs. Give None for what is not there: preference_loss(policy, None, reference, None, kind="kto") is
    the loss (B,) of B desirable completions, preference_loss(None, policy, None, reference, kind="kto") that of
    undesirable ones. With pairs, it is the mean of the two.
    """
    loss = LOSSES.get(kind)
    if loss is None:
        raise ValueError(f"there is no kind {kind!r} of preference loss; use one of {', '.join(LOSSES)}")
    check_options(kind, loss, beta, label_smoothing)
    chosen, rejected, formula = (policy_chosen, reference_chosen), (policy_rejected, reference_rejected), loss.formula
    if kind == "kto" and policy_rejected is None:
        rejected, formula = chosen, desirable
    elif kind == "kto" and policy_chosen is None:
        chosen, formula = rejected, undesirable
    check_given(kind, loss, chosen, rejected, (chosen_tokens, rejected_tokens))
    if not loss.reference:
        chosen, rejected = (chosen[0], None), (rejected[0], None)
    c, r = log_ratio(*chosen, "chosen"), log_ratio(*rejected, "rejected")
    if c.shape != r.shape:
        alone = "; of either side alone, with None for the other, kto takes any number" if kind == "kto" else ""
        raise ValueError(f"each chosen completion needs a rejected one; got {len(c)} and {len(r)}{alone}")
    n_c, n_r = token_counts(chosen_tokens, c, "chosen"), token_counts(rejected_tokens, r, "rejected")
    kl = for_each(c, kl, "kl").data.astype(c.dtype) if np.ndim(kl) else float(kl)
    return formula(Pair(c, r, n_c, n_r, beta, label_smoothing, gamma, kl))


def check_given(kind: str, loss: Loss, chosen: tuple[Any, Any], rejected: tuple[Any, Any], tokens: tuple) -> None:
    """Raise ValueError if something is None that the loss needs."""
    needed = {
        "policy_chosen": chosen[0], "policy_rejected": rejected[0],
        **({"reference_chosen": chosen[1], "reference_rejected": rejected[1]} if loss.reference else {}),
        **({"chosen_tokens": tokens[0], "rejected_tokens": tokens[1]} if loss.lengths else {}),
    }  # fmt: skip
    if missing := [name for name, value in needed.items() if value is None]:
        raise ValueError(f"{kind} needs {' and '.join(missing)}: a number for each pair, (B,)")


def check_options(kind: str, loss: Loss, beta: float, label_smoothing: float) -> None:
    """Raise ValueError for numbers that are not possible."""
    if not 0 < beta < math.inf:
        raise ValueError(f"beta must be a number above 0, got {beta}")
    if not 0 <= label_smoothing < 0.5:
        raise ValueError(
            f"label_smoothing must be at least 0 and below 0.5, got {label_smoothing}: it is the probability that the "
            "rejected completion is the better one"
        )
    if label_smoothing and not loss.smoothing:
        known = ", ".join(name for name, other in LOSSES.items() if other.smoothing)
        raise ValueError(f"{kind} has no label_smoothing; leave it out, or use one of {known}")
