"""Limiting the norm of the gradient (Pascanu, Mikolov and Bengio 2013, arXiv:1211.5063).

The gradients of all parameters together are one long vector. If it is longer than max_norm, it is scaled down to that
length: the direction of the step stays the same, and one unusual batch cannot throw the parameters far away.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from minigrad.backend import Array, array_module
from minigrad.optim.blocks import Parallel, blocks, run_serially
from minigrad.optim.optimizer import Optimizer, named_parameters
from minigrad.profiler import span
from minigrad.tensor import Tensor


def clip_grad_norm(parameters: Optimizer | Iterable, max_norm: float, parallel: Parallel = run_serially) -> Tensor:
    """Scale all gradients so that their common norm is at most `max_norm`; returns the norm before that.

    `parameters`: an optimizer (the fast way: a loop over its flat gradient) or parameters. The norm is a float64 Tensor
    of shape (). If it is not finite, the gradients stay as they are. The factor is max_norm / (norm + 1e-6), as in
    torch.nn.utils.clip_grad_norm_. `parallel`: as in Optimizer.step.

    On a GPU nothing here waits for the result; `float(norm)` does.
    """
    if not max_norm > 0:
        raise ValueError(f"max_norm must be above 0 (or infinity, only to measure), not {max_norm}")
    # An optimizer has one or a few long arrays of gradients; a list of parameters has an array for each.
    arrays = parameters.gradients() if isinstance(parameters, Optimizer) else _own_gradients(parameters)
    grads = [g for g in arrays if g.size]  # a gradient without elements adds nothing
    with np.errstate(all="ignore"):  # no warnings about infinities and NaN: the result shows them
        norm = global_norm(grads, parallel)
        factor = np.where(np.isfinite(norm), np.minimum(1.0, max_norm / (norm + 1e-6)), 1.0)
    for g in grads:
        # Where the factor is 1, nothing needs to be done. But asking a GPU for it would mean waiting, so there the
        # gradients are always multiplied.
        if array_module(g) is not np or factor < 1:
            _scale(g.reshape(-1), factor.astype(g.dtype), parallel)
    return Tensor(norm)


def global_norm(arrays: Iterable[Array], parallel: Parallel = run_serially) -> Array:
    """The square root of the sum of the squares of all elements, in float64, on the device of the arrays.

    The sums of the blocks are added in one fixed order. So the result is the same to the bit, whatever `parallel` does.
    """
    flat_blocks = [flat[block] for flat in (array.reshape(-1) for array in arrays) for block in blocks(flat)]
    squares: list[Array] = [None] * len(flat_blocks)

    @span("clip_grad_norm")
    @np.errstate(all="ignore")  # here too, because NumPy has this setting for each thread
    def add_squares(chosen: slice) -> None:
        # Each block is summed in its own dtype, and their sums in float64. That is exact enough for float32 of any
        # length.
        squares[chosen] = [(g @ g).astype(np.float64) for g in flat_blocks[chosen]]

    parallel(add_squares, len(flat_blocks))
    return np.sqrt(sum(squares))  # Python's sum, from first to last


def _scale(g: Array, factor: Array, parallel: Parallel) -> None:
    @span("clip_grad_norm")
    def scale(elements: slice) -> None:
        g[elements] *= factor

    parallel(scale, g.size)


def _own_gradients(parameters: Iterable) -> list[Array]:
    """The gradient arrays of these parameters, safe to be changed in place.

    A gradient that is not in the buffer may be an array of the caller, or shared by two parameters. So it is replaced
    by a copy.
    """
    grads = []
    for p in named_parameters(parameters).values():
        if p.grad is not None:
            if p.grad.data is not p.grad_buffer:
                p.grad = Tensor(p.grad.data.copy())
            grads.append(p.grad.data)
    return grads
