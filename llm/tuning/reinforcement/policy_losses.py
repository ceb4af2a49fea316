"""What is minimised, token by token: each formula beside the one that it is made from.

Let lp be the log-probability of a sampled token under the weights of now, `old` that under the weights that sampled it,
A its advantage, and r = exp(lp - old) the ratio of the two probabilities.

    plain     -A lp                                      REINFORCE: its gradient is the policy gradient
    ratio     -A r                                       the same gradient where r = 1, and right for older samples
    clipped   -min(A r, A clip(r, 1 - low, 1 + high))    PPO (arXiv 1707.06347): no reward for going further than that

At the first update after sampling, r is exactly 1, and `ratio` and `clipped` are -A. The advantages of a group add up
to 0: so the mean loss that is printed is 0, or near it, at every step, and the model learns all the same. It is the
*gradient* of -A r that matters, -A ∇lp, and it is not 0. Look at the reward and at the norm of the gradient instead.

The ratio is that of the token, or one for the whole completion: the geometric mean over its tokens (`sequence`, GSPO:
arXiv 2507.18071), or their product (`product`, RLOO: the ratio of the probabilities of the completions).

Kullback-Leibler divergence from a reference policy (Schulman, "Approximating KL divergence", 2020), d = reference - lp:

    k1   -d                  unbiased, but noisy. Its gradient has the mean 0: of use in a reward, not in a loss
    k3   exp(d) - d - 1      unbiased, never negative, less noisy. In a loss, as in GRPO, it pulls the policy to the
                             reference too: its gradient has the mean of that of the divergence the other way round

All arrays are (R, T): R completions, T places of a row. `mask`: True at the tokens that count.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from llm.tuning.reinforcement.algorithms import Algorithm, Estimator, Normalization, Ratio
from minigrad.ops import clip, exp, minimum, stop_gradient, where
from minigrad.tensor import Tensor


def plain_loss(logprobs: Tensor, advantages: Any) -> Tensor:
    """-A lp."""
    return -(logprobs * advantages)


def ratio_loss(log_ratio: Tensor, advantages: Any) -> Tensor:
    """-A r."""
    return -(exp(log_ratio) * advantages)


def clipped_loss(log_ratio: Tensor, advantages: Any, low: float, high: float) -> Tensor:
    """-min(A r, A clip(r, 1 - low, 1 + high))."""
    ratio = exp(log_ratio)
    return -minimum(ratio * advantages, clip(ratio, 1 - low, 1 + high) * advantages)


def log_ratio_of(logprobs: Tensor, old: Any, mask: np.ndarray, ratio: Ratio) -> Tensor:
    """The logarithm of the ratio of each token (R, T), or of each completion (R, 1)."""
    difference = logprobs - old
    if ratio in ("token", "none"):
        return difference
    total = where(mask, difference, 0).sum(axis=1, keepdims=True)  # (R, 1)
    if ratio == "sequence":
        total = total / np.maximum(mask.sum(axis=1, keepdims=True), 1).astype(total.dtype)
    return total


def policy_loss(logprobs: Tensor, old: Any, advantages: Any, mask: np.ndarray, algorithm: Algorithm) -> Tensor:
    """The loss of each token (R, T). `old` is None if these weights have sampled the tokens: then r = 1."""
    a = algorithm
    if a.ratio == "none":
        return plain_loss(logprobs, advantages)
    # Not the number 1: a constant has no gradient, and this one has that of lp.
    old = stop_gradient(logprobs) if old is None else old
    return clipped_loss(log_ratio_of(logprobs, old, mask, a.ratio), advantages, a.low, a.high)


def is_clipped(
    logprobs: np.ndarray, old: np.ndarray, advantages: np.ndarray, mask: np.ndarray, algorithm: Algorithm
) -> np.ndarray:
    """The tokens (R, T) whose loss is that of the clip, so that they have no gradient."""
    a = algorithm
    if a.ratio == "none":  # plain_loss has no clip
        return np.zeros_like(mask)
    r = np.exp(log_ratio_of(Tensor(logprobs), old, mask, a.ratio).data)
    return (r < 1 - a.low) & (advantages < 0) | (r > 1 + a.high) & (advantages > 0)


def divergence(logprobs: Any, reference: Any, estimator: Estimator) -> Any:
    """An estimate, for each token, of the divergence of the policy from the reference; arrays or tensors."""
    difference = -(logprobs - reference)
    return -difference if estimator == "k1" else np.exp(difference) - difference - 1


# --- from the losses of tokens to one number --------------------------------------------------------------------------


def token_weights(mask: np.ndarray, normalization: Normalization) -> np.ndarray:
    """The factor of each token's loss (R, T). A token outside of the mask has 0."""
    weights = mask.astype(np.float64)
    if normalization == "sequence":
        weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1)
    return weights


def divisor(mask: np.ndarray, normalization: Normalization, max_tokens: int) -> float:
    """What the weighted sum over the whole batch is divided by.

    token       all tokens of the batch that count: each has the same weight (DAPO, arXiv 2503.14476)
    sequence    the completions: each has the same weight, so a token of a short one counts more (GRPO)
    constant    completions times the largest length. It depends on no sample, so the gradient has no bias (Dr. GRPO,
                arXiv 2503.20783)
    """
    tokens = {"token": int(mask.sum()), "sequence": len(mask), "constant": len(mask) * max_tokens}[normalization]
    return float(max(tokens, 1))  # a batch of which nothing counts has the loss 0, not 0 / 0
