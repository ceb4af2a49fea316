"""Clipping gradients by their global norm (Pascanu, Mikolov and Bengio 2013, arXiv:1211.5063)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from minigrad.backend import array_module
from minigrad.optim.flat import alone, blocks
from minigrad.optim.optimizer import Optimizer, named_parameters
from minigrad.profiler import span
from minigrad.tensor import Tensor


def clip_grad_norm(parameters: Optimizer | Iterable, max_norm: float, share: Callable = alone) -> Tensor:
    """Scale all gradients so that the norm of them together is at most `max_norm`; returns the norm before, a float64
    Tensor of shape ().

    `parameters`: an optimizer (a loop over its flat gradient; the fast way), or parameters. As in
    torch.nn.utils.clip_grad_norm_ the factor is max_norm / (norm + 1e-6). If the norm is not finite, the gradients
    stay as they are. `float(norm)` waits for the GPU; nothing here does. `share`: as in Optimizer.step.
    """
    if not max_norm > 0:
        raise ValueError(f"max_norm must be above 0 (or infinity, only to measure), not {max_norm}")
    found = parameters.gradients() if isinstance(parameters, Optimizer) else _own_gradients(parameters)
    grads = [g for g in found if g.size]  # the norm of nothing would be on no device
    with np.errstate(all="ignore"):  # the result tells of infinities and NaN
        norm = global_norm(grads, share)
        factor = np.where(np.isfinite(norm), np.minimum(1.0, max_norm / (norm + 1e-6)), 1.0)
    for g in grads:
        if array_module(g) is not np or factor < 1:  # on a GPU, looking would mean waiting
            _scale(g.reshape(-1), factor.astype(g.dtype), share)
    return Tensor(norm)


def global_norm(arrays: Iterable, share: Callable = alone) -> Any:
    """The square root of the sum of the squares of all elements, in float64, on the device of the arrays.

    However the blocks are shared, their sums are added in one order: the same bits.
    """
    pieces = [flat[block] for flat in (array.reshape(-1) for array in arrays) for block in blocks(flat)]
    squares: list[Any] = [None] * len(pieces)

    @span("clip_grad_norm")
    @np.errstate(all="ignore")  # each thread has its own
    def add_up(part: slice) -> None:
        # each block is summed in its own dtype, the sums in float64: exact enough for float32 of any length
        squares[part] = [(g @ g).astype(np.float64) for g in pieces[part]]

    share(add_up, len(pieces))
    return np.sqrt(sum(squares))


def _scale(g: Any, factor: Any, share: Callable) -> None:
    @span("clip_grad_norm")
    def scale(part: slice) -> None:
        g[part] *= factor

    share(scale, g.size)


def _own_gradients(parameters: Iterable) -> list:
    """The gradient arrays, after replacing by a copy each that may be somebody else's, too."""
    grads = []
    for p in named_parameters(parameters).values():
        if p.grad is not None:
            if p.grad.data is not p.grad_buffer:
                p.grad = Tensor(p.grad.data.copy())
            grads.append(p.grad.data)
    return grads
