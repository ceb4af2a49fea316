"""What the losses of losses.py read of pairs of completions. The letters are explained there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from minigrad.backend import Array, to_device
from minigrad.tensor import Tensor, as_tensor


@dataclass(frozen=True)
class Pair:
    """Arrays (B,) for B pairs, and the numbers of a loss."""

    c: Tensor
    r: Tensor
    n_c: Array
    n_r: Array
    beta: float
    epsilon: float
    gamma: float  # simpo: by how much the mean reward of the chosen completion should be higher
    kl: Array | float  # kto: how far the policy is from the reference, a constant

    @property
    def margin(self) -> Tensor:
        return self.beta * (self.c - self.r)

    @property
    def mean_margin(self) -> Tensor:
        return self.c / self.n_c - self.r / self.n_r


def log_ratio(policy: Any, reference: Any, name: str) -> Tensor:
    """log p - log p_ref (B,), or log p if there is no reference. `name`: "chosen" or "rejected"."""
    logps = as_tensor(policy)
    if logps.ndim != 1:
        raise ValueError(f"policy_{name} must be sums of log-probabilities, one for each pair, (B,); got {logps.shape}")
    return logps if reference is None else logps - for_each(logps, reference, f"reference_{name}")


def token_counts(tokens: Any, logps: Tensor, name: str) -> Array:
    """n_c or n_r (B,); 1 if they are not given."""
    counts = (
        np.ones(logps.shape) if tokens is None else to_device(for_each(logps, tokens, f"{name}_tokens").data, "cpu")
    )
    # Nothing may be left of a completion that was cut off. Its sum is 0, and then so is its mean.
    return to_device(np.maximum(counts, 1).astype(logps.dtype), logps.device)


def for_each(logps: Tensor, values: Any, name: str) -> Tensor:
    """The values as a tensor. Raises ValueError unless there is one for each of the log-probabilities."""
    values = as_tensor(values)
    if values.shape != logps.shape:
        raise ValueError(f"{name} must have a number for each pair, {logps.shape}; got {values.shape}")
    return values
