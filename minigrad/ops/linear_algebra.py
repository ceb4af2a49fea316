"""Products of matrices: `matmul` for every combination of ranks, and `einsum`. Their gradients are products, too.

For Y = X W and a loss L, with the gradient G = dL/dY: Y_ij = sum_k X_ik W_kj, so X_ik acts on L through all Y_ij of its
row, and W_kj through all Y_ij of its column:

    dL/dX_ik = sum_j G_ij W_kj          dX = G W^T
    dL/dW_kj = sum_i X_ik G_ij          dW = X^T G
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minigrad.backend import Array, array_module, at_least_float32, is_bfloat16
from minigrad.lazy import Gradient
from minigrad.ops.indexing import getitem
from minigrad.ops.reduction import sum
from minigrad.ops.shape import broadcast_to
from minigrad.ops.subscripts import letters_of_lists, parse_subscripts
from minigrad.tensor import Tensor, as_tensor, like, record

__all__ = ["matmul", "einsum"]


def matmul(x: Any, y: Any) -> Tensor:
    """x @ y: (..., m, k) @ (..., k, n) -> (..., m, n), where `...` broadcasts; either may be a vector (k,)."""
    x, y = as_tensor(x), as_tensor(y)
    try:
        data = _in_common_dtype(x.data @ y.data, x.data, y.data)
    except ValueError:
        raise ValueError(_shape_error(x, y)) from None
    x_ndim, y_ndim = x.data.ndim, y.data.ndim
    # The gradient of x needs y, and that of y needs x. Each is saved only if it will be asked for.
    saved_x, saved_y = x if y.requires_grad else None, y if x.requires_grad else None

    def vjp(g: Gradient, out: None) -> tuple[Gradient, Gradient]:
        dx = None if saved_y is None else _gradient_of_left(g, like(g, saved_y), x_ndim)
        dy = None if saved_x is None else _gradient_of_right(g, like(g, saved_x), y_ndim)
        return dx, dy

    return record(data, (x, y), vjp)


def _in_common_dtype(product: Array, x: Array, y: Array) -> Array:
    """The product in the dtype of its factors. NumPy gives the product of bfloat16 in float32."""
    return product.astype(x.dtype) if is_bfloat16(x.dtype) and x.dtype == y.dtype else product


# A vector has no second axis, so `@` drops one from the result. The rules below put an axis of length 1 in its place,
# for which the formulas of matrices hold.


def _gradient_of_left(g: Gradient, y: Gradient, x_ndim: int) -> Gradient:
    """dX = G Y^T, with `g` and `y` as arrays or as Tensors."""
    if y.ndim == 1:
        return g[..., None] * y  # (..., m, 1) * (k,) -> (..., m, k)
    if x_ndim == 1:
        return (y @ g[..., None])[..., 0]  # (..., k, n) @ (..., n, 1) -> (..., k)
    return g @ y.swapaxes(-1, -2)  # (..., m, n) @ (..., n, k) -> (..., m, k)


def _gradient_of_right(g: Gradient, x: Gradient, y_ndim: int) -> Gradient:
    """dY = X^T G, with `g` and `x` as arrays or as Tensors."""
    if y_ndim == 1:
        # All rows of x are multiplied by the same y. So dy = sum_i g_i x_i over the rows: a vector times a matrix.
        return (g if g.ndim == 1 else g.reshape(-1)) @ _merge_batch_axes(x)  # (rows,) @ (rows, k) -> (k,)
    if x.ndim == 1:
        return x[:, None] * g[..., None, :]  # (k, 1) * (..., 1, n) -> (..., k, n)
    if y_ndim == 2:
        # y is shared by all matrices of the batch. One large product also sums over the batch.
        return _merge_batch_axes(x).swapaxes(0, 1) @ _merge_batch_axes(g)  # (k, rows) @ (rows, n) -> (k, n)
    return x.swapaxes(-1, -2) @ g  # (..., k, m) @ (..., m, n) -> (..., k, n)


def _merge_batch_axes(x: Gradient) -> Gradient:
    """(..., k) as (rows, k)."""
    return x if x.ndim == 2 else x.reshape((math.prod(x.shape[:-1]), x.shape[-1]))


def _shape_error(x: Tensor, y: Tensor) -> str:
    """What is wrong with the shapes, in one sentence."""
    if x.ndim == 0 or y.ndim == 0:
        return f"matmul of {x.shape} and {y.shape}: each needs at least one axis; multiply by a number with *"
    inner = y.shape[-2:][0]  # the last axis but one; of a vector, its only axis
    if x.shape[-1] != inner:
        position = "last but one" if y.ndim > 1 else "only"
        return (
            f"matmul of {x.shape} and {y.shape}: the last axis of the first ({x.shape[-1]}) must equal "
            f"the {position} axis of the second ({inner})"
        )
    return f"matmul of {x.shape} and {y.shape}: the axes before the last two must be equal or 1, to broadcast"


# --- einsum -----------------------------------------------------------------------------------------------------------


def einsum(subscripts: Any, *tensors: Any) -> Tensor:
    """Sums of products in Einstein's notation, such as "bij,bjk->bik" for a batch of matrix products.

    A letter that appears twice in one input means its diagonal. `...`, leaving out the result, and lists of numbers in
    place of letters, einsum(x, [0, 1], y, [1, 2]), work as in NumPy. Raises ValueError if the subscripts do not fit the
    shapes.
    """
    if not isinstance(subscripts, str):
        subscripts, tensors = letters_of_lists(subscripts, *tensors)
    xs = [as_tensor(x) for x in tensors]
    inputs, output = parse_subscripts(subscripts, tuple([x.ndim for x in xs]))
    dtype = np.result_type(*[x.data for x in xs])
    # With diagonals in place of the inputs that repeat a letter, all that follows can take each letter as one axis.
    # float16 is added up in float32; NumPy has no einsum of bfloat16.
    xs, letters = [list(parts) for parts in zip(*map(_diagonal, map(at_least_float32, xs), inputs))]
    every = "".join([*letters, output])
    xs, letters = [list(parts) for parts in zip(*[_sum_alone(x, part, every) for x, part in zip(xs, letters)])]
    try:
        data = np.einsum(f"{','.join(letters)}->{output}", *[x.data for x in xs], optimize=True)
    except ValueError as error:
        shapes = ", ".join(str(as_tensor(x).shape) for x in tensors)
        raise ValueError(f"einsum {subscripts!r} of shapes {shapes} does not work: {error}") from None

    def vjp(g: Gradient, out: None) -> list[Gradient]:
        return [_einsum_gradient(g, i, xs, letters, output) if x.requires_grad else None for i, x in enumerate(xs)]

    return record(data.astype(dtype, copy=False), xs, vjp)


def _diagonal(x: Tensor, letters: str) -> tuple[Tensor, str]:
    """`x` with one axis for each different letter: the elements whose indices agree wherever the letters do."""
    unique = "".join(dict.fromkeys(letters))
    if len(unique) == len(letters):
        return x, letters
    length = dict(zip(letters, x.shape))
    if any(length[c] != n for c, n in zip(letters, x.shape)):
        raise ValueError(f"einsum: the axes of shape {x.shape} with one letter in {letters!r} must be equally long")
    # x[i, i, j] for all i, j: an array of indices for each letter, along the axis that the letter has in the result.
    arange = array_module(x.data).arange
    indices = {c: arange(length[c]).reshape((-1,) + (1,) * (len(unique) - 1 - k)) for k, c in enumerate(unique)}
    return getitem(x, tuple(indices[c] for c in letters)), unique


def _sum_alone(x: Tensor, letters: str, every: str) -> tuple[Tensor, str]:
    """`x` summed along the axes whose letters occur nowhere else; `every`: the letters of all inputs and of the result.

    `sum` adds more exactly than np.einsum, and no letter is left that the rule below could not see in another input.
    """
    axes = tuple([axis for axis, c in enumerate(letters) if every.count(c) == 1])
    if not axes:
        return x, letters
    # NumPy adds small integers as int64, but in einsum in their own dtype.
    return sum(x, axes).astype(x.dtype), "".join([c for c in letters if every.count(c) > 1])


def _einsum_gradient(g: Gradient, i: int, xs: Sequence[Tensor], inputs: Sequence[str], output: str) -> Tensor:
    """The gradient of input number i: `g` takes its place, and its letters become those of the result.

    For C = einsum("ij,jk->ik", A, B) that is dA = einsum("ik,jk->ij", g, B), which is G B^T.
    """
    others = [output, *inputs[:i], *inputs[i + 1 :]]
    dx = einsum(f"{','.join(others)}->{inputs[i]}", at_least_float32(g), *xs[:i], *xs[i + 1 :])
    # Where the others have length 1 along an axis, the gradient is the same everywhere along it.
    return broadcast_to(dx, np.broadcast_shapes(dx.shape, xs[i].shape))
