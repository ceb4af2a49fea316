"""Kernels that give a block of threads to each row of a matrix (N, C): norms, softmax, the loss of logits.

All arrays are in C order and have one dtype. With half types, numbers of a whole row are float32, and so are
the scores of attention. The maths is in the file of minigrad/fused that a docstring names.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from minigrad.backend import Array, array_module
from minigrad.cuda.compiler import NULL, launch_rows, real_of

# --- norm (fused/norm.py) ---------------------------------------------------------------------------------------------


def normalize(x: Array, weight: Array, bias: Array | None, eps: float, *, centered: bool) -> tuple:
    """y = (x − mean) r weight + bias (N, C); the mean (N,), None unless `centered`; and r = 1 / deviation (N,)."""
    xp, (N, C) = array_module(x), x.shape
    real = real_of(x.dtype)
    y, mean, r = xp.empty_like(x), xp.empty(N, real) if centered else None, xp.empty(N, real)
    launch_rows("norm_forward", x, weight, _or_null(bias), y, _or_null(mean), r, np.int32(C), real.type(eps))
    return y, mean, r


def norm_gradients(dy: Array, x: Array, weight: Array, mean: Array | None, r: Array) -> tuple[Array, Array]:
    """dx (N, C), and dy x̂ (N, C), whose sum over the rows is the gradient of weight."""
    dx, dy_xhat = array_module(x).empty_like(x), array_module(x).empty_like(x)
    launch_rows("norm_backward", x, dy, weight, _or_null(mean), r, dx, dy_xhat, np.int32(x.shape[1]))
    return dx, dy_xhat


# --- softmax (fused/attention_gpu.py) ---------------------------------------------------------------------------------


class CausalWindow(NamedTuple):
    """Which keys are visible to the queries of a matrix of scores (N, S).

    Row n belongs to query i = n % queries, and query i is at the same position as key i + offset. With `causal`, later
    keys are hidden; with a `window`, keys at that distance or farther.
    """

    queries: int
    offset: int
    causal: bool
    window: int | None

    def arguments(self) -> tuple:
        return tuple(np.int32(number or 0) for number in self)


def softmax_numerators(scores: Array, visible: CausalWindow) -> tuple[Array, Array]:
    """Turn scores (N, S) into exp(score − maximum of the row), in place, and into 0 where a key is hidden.

    Returns the maxima and the sums of the rows, (N, 1) both. A sum is 1 if all keys of its row are hidden.
    """
    (N, S), xp = scores.shape, array_module(scores)
    maximum, total = xp.empty((N, 1), scores.dtype), xp.empty((N, 1), scores.dtype)
    launch_rows("softmax_numerators", scores, maximum, total, np.int32(S), *visible.arguments())
    return maximum, total


def softmax_from_lse(scores: Array, lse: Array, visible: CausalWindow) -> None:
    """Turn scores (N, S) into weights exp(score − lse), in place, and into 0 where a key is hidden; lse (N, 1)."""
    launch_rows("softmax_from_lse", scores, lse, np.int32(scores.shape[1]), *visible.arguments())


# --- loss (fused/cross_entropy.py) ------------------------------------------------------------------------------------


def softmax_loss(z: Array, targets: Array, smoothing: float, z_loss: float, row_weights: Array | None = None) -> Array:
    """The losses (N,) of the rows of logits z (N, V).

    With `row_weights` (N,), the gradients of the losses with respect to the logits, times these weights, replace z.
    """
    (N, V), real = z.shape, real_of(z.dtype)
    losses = array_module(z).empty(N, real)
    options = real.type(smoothing), real.type(z_loss)
    launch_rows("softmax_loss", z, targets, _or_null(row_weights), losses, np.int32(V), *options)
    return losses


def _or_null(a: Array | None) -> Any:
    return NULL if a is None else a
