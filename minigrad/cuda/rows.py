"""Kernels that give a block of threads to each row: norms, softmax, the loss of logits.

Arrays lie in C order here, as matrices (N, C); all have one dtype.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from minigrad.backend import array_module
from minigrad.cuda.compiler import NULL, start_rows


def normalize(x: Any, weight: Any, bias: Any, eps: float, centred: bool) -> tuple:
    """y = (x − mean) r weight + bias (N, C), mean (N,) or None, r (N,); see fused/norm.py. `bias` may be None."""
    xp, (N, C) = array_module(x), x.shape
    y, mean, r = xp.empty_like(x), xp.empty(N, x.dtype) if centred else None, xp.empty(N, x.dtype)
    start_rows("norm_forward", x, weight, _or_null(bias), y, _or_null(mean), r, np.int32(C), x.dtype.type(eps))
    return y, mean, r


def norm_gradients(dy: Any, x: Any, weight: Any, mean: Any, r: Any) -> tuple[Any, Any]:
    """dx, and dy x̂, whose sum over the rows is the gradient of weight: (N, C) both."""
    dx, part = array_module(x).empty_like(x), array_module(x).empty_like(x)
    start_rows("norm_backward", dy, x, weight, _or_null(mean), r, dx, part, np.int32(x.shape[1]))
    return dx, part


class Sight(NamedTuple):
    """Which keys the queries of (N, S) scores see: row n is that of query n % queries, who stands at the key `place` +
    that.
    """

    queries: int
    place: int
    causal: bool
    window: int | None

    def arguments(self) -> tuple:
        return tuple(np.int32(number or 0) for number in self)


def exponentials(scores: Any, sight: Sight) -> tuple[Any, Any]:
    """Puts exp(scores − top) in the place of the scores (N, S), 0 where a key is not seen; top and the sums of the rows
    (N, 1). The sum is 1 where nothing is seen.
    """
    (N, S), xp = scores.shape, array_module(scores)
    top, total = xp.empty((N, 1), scores.dtype), xp.empty((N, 1), scores.dtype)
    start_rows("exponentials", scores, top, total, np.int32(S), *sight.arguments())
    return top, total


def weights(scores: Any, lse: Any, sight: Sight) -> None:
    """Puts exp(scores − lse) in the place of the scores (N, S), 0 where a key is not seen; lse (N, 1)."""
    start_rows("weights", scores, lse, np.int32(scores.shape[1]), *sight.arguments())


def softmax_loss(z: Any, targets: Any, smoothing: float, z_loss: float, worth: Any = None) -> Any:
    """The losses (N,) of the rows of logits z (N, V), and in the place of z, if the rows are `worth` something (N,),
    their gradients.
    """
    (N, V), real = z.shape, z.dtype.type
    losses = array_module(z).empty(N, z.dtype)
    start_rows("softmax_loss", z, targets, _or_null(worth), losses, np.int32(V), real(smoothing), real(z_loss))
    return losses


def _or_null(a: Any) -> Any:
    return NULL if a is None else a
