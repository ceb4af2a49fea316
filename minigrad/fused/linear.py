"""The linear map of a layer, x Wᵀ + b. Nearly all arithmetic of training is in here.

    y = x Wᵀ + b     dx = dy W     dW = dyᵀ x     db = Σ dy     (x and dy as matrices, with one row for each vector)

`product` computes x Wᵀ. For many rows that is one matrix product. For few rows, as in generating text, most of the time
is spent on reading the weight from memory, and the form of the product decides how fast it is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from minigrad.backend import Array, array_module, at_least_float32
from minigrad.cuda.products import is_ours, matmul
from minigrad.cuda.products import linear as linear_on_gpu
from minigrad.fused.record import Needs, record_fused
from minigrad.fused.rows import as_rows, column_sum
from minigrad.lazy import LazyGradient
from minigrad.precision import FP32, Precision, current_precision
from minigrad.tensor import Tensor, as_tensor


def linear_reference(x: Any, weight: Any, bias: Any = None) -> Tensor:
    """The definition of `linear`."""
    y = as_tensor(x) @ as_tensor(weight).swapaxes(0, 1)
    return y if bias is None else y + bias


def linear(x: Any, weight: Any, bias: Any = None) -> Tensor:
    """x (..., in), weight (out, in), bias (out,) or None -> (..., out). As torch.nn.functional.linear."""
    x, weight = as_tensor(x), as_tensor(weight)
    inputs: tuple[Tensor, ...] = (x, weight) if bias is None else (x, weight, as_tensor(bias))
    check_shapes(*inputs)
    precision = current_precision()
    rows = precision.factor(as_rows(x.data))  # (N, in), rounded once for both passes; two axes are best for CuPy
    y = _with_bias(precision, rows, *inputs[1:])  # (N, out)

    def vjp(g: Array, needs: Needs) -> tuple:
        return linear_gradients(as_rows(g), rows, inputs, needs, precision)

    return record_fused(y.reshape(*x.shape[:-1], weight.shape[0]), inputs, vjp, linear_reference)


def _with_bias(precision: Precision, x: Array, weight: Tensor, bias: Tensor | None = None) -> Array:
    """x Wᵀ + b for x (N, in), a factor."""
    if bias is not None and fits_epilogue(precision, x, weight, bias):
        return linear_on_gpu(x, precision.weight(weight), bias.data)
    y = product_in(precision, x, weight)
    if bias is not None:
        y += bias.data
    return y


def fits_epilogue(precision: Precision, x: Array, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether cublasLt computes the product, and can add the bias, if there is one, before it is written."""
    if precision.dtype is None or x.dtype != precision.dtype:
        return is_ours(x, weight.data, None if bias is None else bias.data)
    return array_module(x) is not np and {t.dtype for t in (weight, bias) if t is not None} == {np.dtype(np.float32)}


def linear_gradients(dy: Array, x: Array, inputs: Sequence[Tensor], needs: Needs, precision: Precision = FP32) -> tuple:
    """Gradients of x, weight and perhaps bias, where they are needed, from dy (N, out) and x as a factor (N, in)."""
    weight, factor = inputs[1].data, precision.factor(dy)  # rounded once for both products
    dx = precision.matmul(factor, precision.weight(inputs[1])).reshape(inputs[0].shape) if needs[0] else None
    # Lazy, so that the product is written straight into the optimizer's array of gradients.
    dw = LazyGradient(weight, lambda out: precision.matmul(factor.T, x, out)) if needs[1] else None
    db = LazyGradient(inputs[2].data, lambda out: column_sum(dy, out)) if needs[2:] == (True,) else None
    return (dx, dw, db)[: len(needs)]


def check_shapes(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> None:
    """Raise ValueError if the shapes do not fit together."""
    if weight.ndim != 2 or x.ndim == 0 or x.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"linear maps x (..., in) with weight (out, in), but x has shape {x.shape} and weight {weight.shape}; "
            f"the last axes must be equal"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(
            f"linear with weight {weight.shape} needs a bias of shape {weight.shape[:1]}, this one has {bias.shape}"
        )


# --- the product, in the form that is fastest -------------------------------------------------------------------------


class ProductLimits(NamedTuple):
    """Which form of the product is fastest, as measured with OpenBLAS on two threads."""

    few_rows: int = 32  # x with at most this many rows: reading the weight takes longer than the arithmetic
    one_thread_elements: int = 460_000  # weight below this size: BLAS multiplies a (real) vector on one thread only
    one_thread_multiplications: int = 1 << 21  # up to this many, one thread is as fast as two that share them
    tall_weight: int = 4096  # weight with this many rows or more (a head): one thread with strips beats two without
    strip_rows: int = 16  # of the weight; BLAS multiplies this few without first copying them into another order


LIMITS = ProductLimits()


def product_in(precision: Precision, x: Array, weight: Tensor) -> Array:
    """x Wᵀ in this precision."""
    return array_product_in(precision, x, precision.weight(weight))


def array_product_in(precision: Precision, x: Array, weight: Array) -> Array:
    """The same for an array."""
    return product(x, weight) if precision.dtype is None else precision.matmul(x, weight.T)


def product(x: Array, weight: Array, limits: ProductLimits = LIMITS) -> Array:
    """x Wᵀ for x (N, in) and W (out, in): (N, out), in C order."""
    if array_module(x) is not np and (x.dtype.itemsize >= 4 or x.dtype == weight.dtype):
        return matmul(x, weight.T)
    if x.dtype.itemsize < 4:  # NumPy has no fast product of float16, and gives that of bfloat16 in float32
        y = product(at_least_float32(x), at_least_float32(weight), limits)
        return y.astype(np.promote_types(x.dtype, weight.dtype), copy=False)
    if len(x) > limits.few_rows:
        return x @ weight.T  # the ordinary matrix product; training hardly ever needs another one
    if len(x) == 1:
        if weight.size < limits.one_thread_elements:
            return np.vecdot(weight, x)[None]  # reads the weight once, in the order in which it lies in memory
        return x @ weight.T  # BLAS uses all its threads here
    one_thread = len(x) * weight.size <= limits.one_thread_multiplications or len(weight) >= limits.tall_weight
    if one_thread and len(weight) % limits.strip_rows == 0:
        return _product_in_strips(x, weight, limits.strip_rows)
    # With few rows of x, BLAS is faster if the large matrix comes first: (W xᵀ)ᵀ = x Wᵀ.
    return np.ascontiguousarray((weight @ x.T).T)


def _product_in_strips(x: Array, weight: Array, strip_rows: int) -> Array:
    """x Wᵀ as a batch of small products, one for each strip of rows of the weight."""
    N, (out, width) = len(x), weight.shape
    y = np.empty((N, out), np.promote_types(x.dtype, weight.dtype))
    strips = weight.reshape(out // strip_rows, strip_rows, width).swapaxes(1, 2)  # (strips, in, strip_rows)
    y_strips = y.reshape(N, out // strip_rows, strip_rows).swapaxes(0, 1)  # (strips, N, strip_rows), a view of y
    np.matmul(x, strips, out=y_strips)
    return y


def matvec_as_complex(x: Array, weight: Array, limits: ProductLimits = LIMITS) -> Array:
    """`product`, faster for one row, but all numbers must be finite: infinity times 0 would give nan.

    Two neighbouring numbers a, b of the weight are read as the complex number a + bi, and c, d of x as c − di. The real
    part of their product is ac + bd. The imaginary part is not needed, but computing it costs little: most of the time
    goes into reading the weight. OpenBLAS divides complex products among its threads from 4,096 numbers on, real ones
    only if they are much larger.
    """
    if len(x) > 1 or weight.size >= limits.one_thread_elements or not _can_be_complex(x, weight):
        return product(x, weight, limits)
    dtype = _COMPLEX[weight.dtype]
    return np.ascontiguousarray((x.view(dtype).conj() @ weight.view(dtype).T).real)


_COMPLEX = {np.dtype(np.float32): np.complex64, np.dtype(np.float64): np.complex128}


def _can_be_complex(x: Array, weight: Array) -> bool:
    """Whether the numbers of both can be read in pairs of neighbours."""
    return (
        weight.shape[1] % 2 == 0
        and weight.dtype in _COMPLEX
        and x.dtype == weight.dtype
        and x.flags.c_contiguous
        and weight.flags.c_contiguous
    )
