"""Products of matrices on a GPU: by CuPy, or by cublasLt with a handle of our own (cublaslt.py).

CuPy is the plain way, and the one for float32 and float64. Ours is for half types, which CuPy multiplies slowly or not
at all in batches, and for CUDA graphs. Where cublasLt is missing or refuses, CuPy computes the product, and a warning
says so once.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import local
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from minigrad.backend import Array, array_module
from minigrad.cuda import cublaslt
from minigrad.cuda.cublaslt import Failed, Matrices, Product

MOST_ALIGNED = 16  # bytes: the most that is read at once

_ours = local()  # .always: whether all products of this thread are ours


@contextmanager
def our_products() -> Iterator[None]:
    """Inside, all products of this thread that `matmul` is asked for are computed by cublasLt."""
    before, _ours.always = getattr(_ours, "always", False), True
    try:
        yield
    finally:
        _ours.always = before


def matmul(a: Array, b: Array, out: Array | None = None) -> Array:
    """a @ b by NumPy, CuPy or cublasLt. Both have equal leading axes, or `a` is a vector and b a matrix."""
    if isinstance(a, np.ndarray):  # asked first: for small arrays on the CPU, each question takes a part of the time
        return np.matmul(a, b, out=out)
    xp = array_module(a)
    if not is_ours(a, b, out):
        return xp.matmul(a, b, out=out)
    if a.ndim == 1:
        rows = None if out is None else out[None]
        return matmul(a[None], b, rows)[0]
    try:
        return fused_product(a, b, out)
    except Failed as failure:
        _warn(str(failure))
        return xp.matmul(a, b, out=out)


def add_product(a: Array, b: Array, out: Array) -> None:
    """out += a @ b"""
    if not is_ours(a, b, out):
        out += a @ b
        return
    try:
        fused_product(a, b, out, add=True)
    except Failed as failure:
        _warn(str(failure))
        out += a @ b


def half_product(a: Array, b: Array, out: Array | None = None, *, add: bool = False) -> Array:
    """a @ b of one half type in float32, in `out` or in a new array; `add`: + what is in `out`."""
    try:
        return fused_product(a, b, out, dtype=np.float32, add=add)
    except Failed as failure:
        _warn(str(failure))
    y = matmul(a, b).astype(np.float32)
    if out is None:
        return y
    out[...] = out + y if add else y
    return out


def linear(x: Array, weight: Array, bias: Array) -> Array:
    """x weightᵀ + bias in one launch, if cublasLt can: x (N, in), weight (out, in), bias (out,) -> (N, out).

    The result has the dtype of the bias: that of x and weight too, or float32 where these are of a half type.
    """
    try:
        return fused_product(x, weight.T, dtype=bias.dtype, bias=bias)
    except Failed as failure:
        _warn(str(failure))
        return matmul(x, weight.T).astype(bias.dtype, copy=False) + bias


def linear_gelu(x: Array, weight: Array, bias: Array | None, dtype: Any) -> tuple[Array, Array] | None:
    """The tanh form of gelu of z = x weightᵀ + bias, and z, in one launch: (N, out) of `dtype`. As `linear`.

    None if cublasLt cannot: then it is computed in several.
    """
    z = array_module(x).empty((len(x), len(weight)), dtype)
    try:
        return fused_product(x, weight.T, dtype=dtype, bias=bias, before_gelu=z), z
    except Failed as failure:
        _warn(f"gelu is computed after its product, not with it: {failure}")
        return None


def fused_product(
    a: Array,
    b: Array,
    out: Array | None = None,
    *,
    dtype: Any = None,
    bias: Array | None = None,
    before_gelu: Array | None = None,
    add: bool = False,
) -> Array:
    """gelu(a @ b + bias), by cublasLt. (..., r, k), (..., k, c), (c,) -> (..., r, c).

    `dtype` of a new result: that of a, unless given; float32 for half types. `before_gelu`, an array for it, gets what
    gelu is applied to; without it, there is no gelu. `add`: + what is in `out`. Raises Failed if cublasLt cannot.
    """
    xp, shape = array_module(a), (*a.shape[:-1], b.shape[-1])
    left, right = _operand(a), _operand(b)
    d = xp.empty(shape, dtype or a.dtype) if out is None else out
    if not d.flags.c_contiguous or not d.size or not a.shape[-1]:
        raise Failed("the result of a product must be in C order, and nothing may be empty")
    batch = math.prod(shape[:-2])
    result = Matrices(d.dtype.name, shape[-1], shape[-2], shape[-1], batch, shape[-1] * shape[-2])
    arrays = right.array, left.array, d  # bᵀ comes first: cublasLt counts in columns
    if bias is not None and _alignment(bias) < MOST_ALIGNED:
        bias = bias.copy()
    alignments = tuple(map(_alignment, arrays))
    epilogue = cublaslt.epilogue(bias=bias is not None, gelu=before_gelu is not None)
    product = Product(right.layout, left.layout, result, right.transposed, left.transposed, epilogue, alignments)
    plan = cublaslt.plan(product, a.device.id)
    if isinstance(plan, Failed):
        raise Failed(*plan.args)
    plan.run(
        *map(_address, arrays),
        beta=float(add),
        bias=_address(bias),
        before_gelu=_address(before_gelu),
        workspace=_address(_workspace(xp, a.device.id)),
        stream=xp.cuda.get_current_stream().ptr,
    )
    return d


class _Operand(NamedTuple):
    array: Array  # kept alive until the product is launched
    layout: Matrices
    transposed: bool  # whether cublasLt must transpose what it sees


def _operand(a: Array) -> _Operand:
    """How cublasLt can read `a` (..., r, c). It is copied only if neither its rows nor its columns are contiguous."""
    transposed = not _has_contiguous_rows(a)
    if transposed and not _has_contiguous_rows(a.swapaxes(-1, -2)):
        a, transposed = array_module(a).ascontiguousarray(a), False
    rows_of = a.swapaxes(-1, -2) if transposed else a  # as it lies in memory
    r, c = rows_of.shape[-2:]
    leading = rows_of.strides[-2] // a.itemsize if r > 1 else c
    batch = math.prod(a.shape[:-2])
    stride = _batch_strides(rows_of)[-1] // a.itemsize if batch > 1 else 0
    return _Operand(a, Matrices(a.dtype.name, c, r, leading, batch, stride), transposed)


def _has_contiguous_rows(a: Array) -> bool:
    """Whether the matrices of a batch have contiguous rows, and are evenly apart."""
    r, c = a.shape[-2:]
    row, number = a.strides[-2:]
    if (c > 1 and number != a.itemsize) or (r > 1 and (row < c * a.itemsize or row % a.itemsize)):
        return False
    sizes = [n for n in a.shape[:-2] if n > 1]
    strides = [*_batch_strides(a)]
    return all(outer == inner * n for outer, inner, n in zip(strides, strides[1:], sizes[1:]))


def _batch_strides(a: Array) -> list[int]:
    """The strides of the leading axes that are longer than 1."""
    return [stride for stride, n in zip(a.strides[:-2], a.shape[:-2]) if n > 1]


def is_ours(a: Array, b: Array, out: Array | None = None) -> bool:
    """Whether this product is for cublasLt: on a GPU, of half types or inside `our_products`."""
    if isinstance(a, np.ndarray) or not (a.dtype.itemsize == 2 or getattr(_ours, "always", False)):
        return False
    dtypes = {x.dtype.name for x in (a, b, out) if x is not None}
    fits = b.ndim == 2 if a.ndim == 1 else a.ndim == b.ndim and a.shape[:-2] == b.shape[:-2]
    return len(dtypes) == 1 and dtypes <= set(cublaslt.DATA_TYPES) and fits


def _alignment(a: Array) -> int:
    """The largest power of two, up to 16, that divides the address."""
    return math.gcd(_address(a), MOST_ALIGNED)


def _address(a: Array | None) -> int:
    return 0 if a is None else a.__cuda_array_interface__["data"][0]


@cache
def _workspace(xp: ModuleType, device: int) -> Array:
    return xp.empty(cublaslt.WORKSPACE, np.uint8)


@cache
def _warn(reason: str) -> None:
    """Once for each reason."""
    warnings.warn(f"cublasLt does less than it could: {reason}", RuntimeWarning, stacklevel=4)
