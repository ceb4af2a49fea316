"""Kernels for flat arrays of parameters and gradients: AdamW, the norm of the gradient, and clipping.

All of a flat array is one launch, however large it is, and nothing waits for the GPU. The maths is in optim/adamw.py
and optim/clip.py, which do the same with array operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from minigrad.backend import Array, array_module
from minigrad.cuda.compiler import NULL, blocks_of_elements, launch_block, launch_elements


class AdamWSettings(NamedTuple):
    """The numbers of a step."""

    t: int  # the number of the step: 1, 2, ...
    lr: float
    betas: tuple[float, float]
    eps: float
    weight_decay: float


def adamw(
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    settings: AdamWSettings,
    *,
    t_and_lr: Array | None = None,
    guard: Array | None = None,
) -> None:
    """A step of AdamW, in place: parameters p, gradients g, first and second moments m and v.

    `t_and_lr`: a float64 array (2,) that replaces `t` and `lr`, for a captured graph, whose arguments stay as they are.
    `guard`: float64 (); if it is not finite, nothing changes.
    """
    t, lr, betas, eps, weight_decay = settings
    numbers = map(np.float64, (t, lr, *betas, eps, weight_decay))
    optional = (NULL if a is None else a for a in (t_and_lr, guard))
    launch_elements("adamw", p, g, m, v, np.int64(p.size), *numbers, *optional)


def norm(grads: Sequence[Array]) -> Array:
    """The norm of all elements of these float32 arrays, at least one of them not empty: float64 ()."""
    grads = [g for g in grads if g.size]
    xp, counts = array_module(grads[0]), [blocks_of_elements(g) for g in grads]
    totals, result = xp.empty(sum(counts), np.float64), xp.empty((), np.float64)
    for g, end, count in zip(grads, np.cumsum(counts), counts):
        launch_elements("squares", g, np.int64(g.size), totals[end - count : end])
    launch_block("norm_of_squares", grads[0].dtype, totals, np.int32(totals.size), result)
    return result


def clip(g: Array, norm: Array, max_norm: float) -> None:
    """g times min(1, max_norm / (norm + 1e-6)), in place; as it is if the norm, float64 (), is not finite."""
    launch_elements("clip", g, np.int64(g.size), norm, np.float64(max_norm))
