"""The affine map of a layer, `x @ weight.T + bias`. In training, nearly all the arithmetic is here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minigrad.backend import array_module
from minigrad.fused.record import record_fused
from minigrad.fused.rows import column_sum, rows
from minigrad.lazy import LazyGradient
from minigrad.tensor import Tensor, tensor

FEW = 32  # rows; with so few, a product waits for the weight to be read from memory, not for arithmetic
ONE_THREAD = 460_000  # elements; OpenBLAS takes a smaller matrix times a vector on one thread, if the numbers are real
SMALL = 1 << 21  # multiplications; with few rows, one thread takes for so many as long as two that share them
TALL = 4096  # rows of a weight, of which two threads take as long as one in strips, or longer: heads
STRIP = 16  # rows of a weight; OpenBLAS multiplies so few without copying them into another order first
PAIRS = {np.dtype(np.float32): np.complex64, np.dtype(np.float64): np.complex128}


def linear(x: Any, weight: Any, bias: Any = None) -> Tensor:
    """x (..., in), weight (out, in), bias (out,) or None -> (..., out). As torch.nn.functional.linear.

    y = x Wᵀ + b     dx = dy W     dW = dyᵀ x     db = Σ dy     (x and dy as matrices, a row for each vector)
    """
    x, weight = tensor(x), tensor(weight)
    inputs: tuple[Tensor, ...] = (x, weight) if bias is None else (x, weight, tensor(bias))
    check(*inputs)
    y = product(rows(x.data), weight.data)  # (N, out); two-dimensional, which is what CuPy's matmul is best at
    if bias is not None:
        y += inputs[2].data

    def vjp(g: Any, needs: tuple) -> tuple:
        return linear_gradients(rows(g), inputs, needs)

    return record_fused(y.reshape(*x.shape[:-1], weight.shape[0]), inputs, vjp, linear_reference)


def linear_reference(x: Any, weight: Any, bias: Any = None) -> Tensor:
    y = tensor(x) @ tensor(weight).swapaxes(0, 1)
    return y if bias is None else y + bias


def product(x: Any, weight: Any) -> Any:
    """x Wᵀ for x (N, in), in the form that is fastest for so many rows: (N, out), in C order."""
    if len(x) > FEW or array_module(x) is not np:
        return x @ weight.T
    if len(x) == 1:  # vecdot goes through the weight from its first element to its last, as memory likes it
        return np.vecdot(weight, x)[None] if weight.size < ONE_THREAD else x @ weight.T
    if (len(x) * weight.size <= SMALL or len(weight) >= TALL) and len(weight) % STRIP == 0:
        return _in_strips(x, weight)
    return np.ascontiguousarray((weight @ x.T).T)


def _in_strips(x: Any, weight: Any) -> Any:
    """x Wᵀ, STRIP rows of the weight at a time, each product written to its place."""
    N, (out, width) = len(x), weight.shape
    y = np.empty((N, out), np.promote_types(x.dtype, weight.dtype))
    strips = weight.reshape(out // STRIP, STRIP, width).swapaxes(1, 2)  # (n, in, STRIP)
    np.matmul(x, strips, out=y.reshape(N, out // STRIP, STRIP).swapaxes(0, 1))  # (n, N, STRIP)
    return y


def matvec_as_complex(x: Any, weight: Any) -> Any:
    """`product`, faster for one row, but NaN where an infinite number takes part.

    Neighbours are taken for complex numbers: ac + bd is the real part of (a + bi)(c − di). The imaginary part is made
    for nothing, but it is reading the weight that takes time, and OpenBLAS shares that among its threads from 4,096
    complex numbers on.
    """
    if len(x) > 1 or weight.size >= ONE_THREAD or not _in_pairs(x, weight):
        return product(x, weight)
    pairs = PAIRS[weight.dtype]
    return np.ascontiguousarray((x.view(pairs).conj() @ weight.view(pairs).T).real)


def _in_pairs(x: Any, weight: Any) -> bool:
    """Whether the numbers of both lie in pairs of neighbours."""
    return (
        weight.shape[1] % 2 == 0
        and weight.dtype in PAIRS
        and x.dtype == weight.dtype
        and x.flags.c_contiguous
        and weight.flags.c_contiguous
    )


def linear_gradients(dy: Any, inputs: Sequence[Tensor], needs: Sequence[bool]) -> tuple:
    """Gradients of x, weight and perhaps bias where they are needed, given dy (N, out)."""
    x, weight, xp = inputs[0].data, inputs[1].data, array_module(dy)
    dx = (dy @ weight).reshape(x.shape) if needs[0] else None
    dw = LazyGradient(weight, lambda out: xp.matmul(dy.T, rows(x), out=out)) if needs[1] else None
    db = LazyGradient(inputs[2].data, lambda out: column_sum(dy, out)) if needs[2:] == (True,) else None
    return (dx, dw, db)[: len(needs)]


def check(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> None:
    if weight.ndim != 2 or x.ndim == 0 or x.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"linear maps x (..., in) with weight (out, in), but x has shape {x.shape} and weight {weight.shape}; "
            f"the last axes must be equal"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(
            f"linear with weight {weight.shape} needs a bias of shape {weight.shape[:1]}, this one has {bias.shape}"
        )
