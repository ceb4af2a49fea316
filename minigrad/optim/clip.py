"""Limiting the norm of the gradient (Pascanu, Mikolov and Bengio 2013, arXiv:1211.5063).

The gradients of all parameters together are one long vector. If it is longer than max_norm, it is scaled down to that
length: the direction of the step stays the same, and one unusual batch cannot throw the parameters far away.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from minigrad.backend import Array, array_module
from minigrad.cuda import update as kernels
from minigrad.cuda.compiler import has_real_kernels
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
        if isinstance(parameters, Optimizer):
            norm = parameters.whole_norm(global_norm(parameters.counted_once(grads), parallel))
        else:
            norm = global_norm(grads, parallel)
        if grads and all(map(_has_norm_kernel, grads)):
            for g in grads:
                kernels.clip(g, norm, max_norm)
            return Tensor(norm)
        factor = np.where(np.isfinite(norm), np.minimum(1.0, max_norm / (norm + 1e-6)), 1.0)
    for g in grads:
        # Where the factor is 1, nothing needs to be done. But asking a GPU for it would mean waiting, so there the
        # gradients are always multiplied.
        if array_module(g) is not np or factor < 1:
            _scale(g.reshape(-1), factor, parallel)
    return Tensor(norm)


def _has_norm_kernel(g: Array) -> bool:
    # The squares of float64 could overflow in the kernel, which adds them in double.
    return has_real_kernels(g) and g.dtype == np.float32 and g.flags.c_contiguous


def global_norm(arrays: Iterable[Array], parallel: Parallel = run_serially) -> Array:
    """The square root of the sum of the squares of all elements, in float64, on the device of the arrays.

    The norms of the blocks are put together in one fixed order. So the result is the same to the bit, whatever
    `parallel` does.
    """
    arrays = list(arrays)
    if arrays and all(map(_has_norm_kernel, arrays)):  # one launch for each array
        return kernels.norm(arrays)
    flat_blocks = [flat[block] for flat in (array.reshape(-1) for array in arrays) for block in blocks(flat)]
    norms: list[Array] = [None] * len(flat_blocks)

    @span("clip_grad_norm")
    @np.errstate(all="ignore")  # here too, because NumPy has this setting for each thread
    def measure(chosen: slice) -> None:
        norms[chosen] = [_norm_of_block(g) for g in flat_blocks[chosen]]

    parallel(measure, len(flat_blocks))
    if not norms:
        return np.zeros(())
    return _scaled_norm(array_module(norms[0]).stack(norms))  # the norm of a vector is that of the norms of its parts


def _norm_of_block(g: Array) -> Array:
    """The norm of a flat array, in float64."""
    if array_module(g) is np:  # on a GPU, the comparison would have to wait for the sum
        # The squares are added in the dtype of `g`, which is exact enough for a block. In float32, the square of 1e20
        # is infinite and that of 1e-23 is 0. A sum in the middle of the range has no such squares that matter.
        total, limits = g @ g, np.finfo(g.dtype)
        if limits.tiny / limits.eps**2 < total < np.inf:
            return np.sqrt(total.astype(np.float64))
    return _scaled_norm(g)


def _scaled_norm(a: Array) -> Array:
    """The norm of a flat array, in float64: divided by its largest element, so that no square overflows."""
    largest = np.abs(a).max()
    unit = np.where((largest > 0) & (largest < np.inf), largest, 1)  # if the largest is infinite or NaN, so is the norm
    scaled = a / unit
    # A product is faster on the CPU; on a GPU, those of CuPy cannot be part of a captured graph.
    total = scaled @ scaled if array_module(a) is np else (scaled * scaled).sum()
    return np.sqrt(total.astype(np.float64)) * unit


def _scale(g: Array, factor: Array, parallel: Parallel) -> None:
    """Multiply a flat gradient by the factor, in place."""
    # A factor below the normal numbers of the dtype would have few digits in it. It stays in float64.
    if array_module(g) is not np or factor > np.finfo(g.dtype).tiny:
        factor = factor.astype(g.dtype)

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
