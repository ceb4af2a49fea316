"""Operations that rearrange elements: reshape, transpose, join, split, pad. NumPy's names and signatures.

No element changes its value. So the gradient of each operation is the opposite rearrangement: what moved an element
from position i to position j moves the gradient from j back to i. Most results are views of their input.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from minigrad.lazy import Gradient
from minigrad.ops.arguments import Axes, as_axes, as_axis, as_int, as_ints, described, refuse_variable
from minigrad.tensor import Tensor, as_tensor, record

# fmt: off
__all__ = ["reshape", "transpose", "swapaxes", "expand_dims", "squeeze", "broadcast_to", "concatenate", "stack",
           "split", "pad", "flip", "roll", "tril", "triu"]
# fmt: on

# The rules below use the shape of the input, `before`, and not the input itself, which they would keep in memory.

# --- another shape ----------------------------------------------------------------------------------------------------


def reshape(x: Any, shape: int | tuple[int, ...]) -> Tensor:
    """The same elements in another shape, in C order. One length may be -1: it follows from the others."""
    x = as_tensor(x)
    before = x.shape
    try:
        data = x.data.reshape(shape)
    except TypeError:
        as_ints(shape, "shape")  # says what is wrong
        raise
    return record(data, (x,), lambda g, out: (g.reshape(before),))


def transpose(x: Any, axes: int | Sequence[int] | None = None) -> Tensor:
    """Axis i of the result is axis axes[i] of `x`; None reverses the order of the axes."""
    x = as_tensor(x)
    if type(axes) is not tuple:
        axes = as_axes(axes)
        axes = (axes,) if isinstance(axes, int) else axes  # a number is the only axis of a vector
    try:
        data = x.data.transpose(axes)
    except TypeError:
        as_axes(axes)  # says what is wrong
        raise

    def vjp(g: Gradient, out: None) -> tuple[Gradient]:
        if axes is None:  # reversing the order again undoes it
            return (g.transpose(),)
        # The inverse permutation: for each axis of `x`, its position in the result.
        order = [int(a) % g.ndim for a in axes]
        return (g.transpose([order.index(axis) for axis in range(g.ndim)]),)

    return record(data, (x,), vjp)


def swapaxes(x: Any, axis1: int, axis2: int) -> Tensor:
    """`x` with two axes exchanged."""
    x, axis1, axis2 = as_tensor(x), as_int(axis1, "axis1"), as_int(axis2, "axis2")
    # Exchanging the same two axes again undoes it.
    return record(x.data.swapaxes(axis1, axis2), (x,), lambda g, out: (g.swapaxes(axis1, axis2),))


def expand_dims(x: Any, axis: int | tuple[int, ...]) -> Tensor:
    """`x` with new axes of length 1, at these positions of the result."""
    x = as_tensor(x)
    before = x.shape
    return record(np.expand_dims(x.data, as_ints(axis, "axis")), (x,), lambda g, out: (g.reshape(before),))


def squeeze(x: Any, axis: Axes = None) -> Tensor:
    """`x` without these axes, whose length must be 1; None: without all axes of length 1."""
    x = as_tensor(x)
    before = x.shape
    return record(x.data.squeeze(as_axes(axis)), (x,), lambda g, out: (g.reshape(before),))


def broadcast_to(x: Any, shape: int | tuple[int, ...]) -> Tensor:
    """A read-only view of this shape, in which elements repeat as in NumPy's broadcasting."""
    x = as_tensor(x)
    # The gradient of a repeated element is a sum. The engine does that for all operations that broadcast.
    try:
        data = np.broadcast_to(x.data, as_ints(shape, "shape"))
    except ValueError:
        raise ValueError(f"a tensor of shape {x.shape} cannot be broadcast to shape {shape}") from None
    return record(data, (x,), lambda g, out: (g,))


# --- joining and splitting --------------------------------------------------------------------------------------------


def concatenate(tensors: Sequence[Any], axis: int | None = 0) -> Tensor:
    """The tensors joined along an existing axis; only their lengths along it may differ.

    With axis None, all are flattened first.
    """
    axis = as_axis(axis)
    xs = [as_tensor(x) if axis is not None else reshape(x, -1) for x in tensors]
    data = np.concatenate([x.data for x in xs], 0 if axis is None else axis)
    ends = list(accumulate(x.shape[axis or 0] for x in xs[:-1]))  # where each tensor but the last ends in the result
    return record(data, xs, lambda g, out: _split(g, ends, axis or 0))


def stack(tensors: Sequence[Any], axis: int = 0) -> Tensor:
    """The tensors, all of one shape, joined along a new axis; `axis` is its position in the result."""
    xs, axis = [as_tensor(x) for x in tensors], as_int(axis, "axis")
    data, count = np.stack([x.data for x in xs], axis), len(xs)
    before = (slice(None),) * normalize_axis_index(axis, data.ndim)
    # Tensor i is at index i of the new axis: g[:, ..., :, i].
    return record(data, xs, lambda g, out: [g[(*before, i)] for i in range(count)])


def split(x: Any, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[Tensor]:
    """`x` split along `axis` into a list of views: into n equal parts, or before each of the given indices.

    Raises ValueError if the length of the axis is not a multiple of n.
    """
    return _split(as_tensor(x), as_ints(indices_or_sections, "indices_or_sections"), as_int(axis, "axis"))


def _split(x: Any, indices_or_sections: int | Sequence[int], axis: int) -> list:
    """`split` for an array or a Tensor; no rule is needed, because the slices have theirs (see indexing.py)."""
    before, length = (slice(None),) * normalize_axis_index(axis, x.ndim), x.shape[axis]
    if isinstance(indices_or_sections, int):
        n = indices_or_sections
        if n < 1 or length % n:
            raise ValueError(
                f"split: axis {axis} of shape {x.shape} cannot be cut into {n} equal parts; "
                f"give the indices to cut at instead"
            )
        indices = [length // n * i for i in range(1, n)]
    else:
        indices = list(indices_or_sections)
    return [x[(*before, slice(start, stop))] for start, stop in zip([0, *indices], [*indices, length])]


# --- padding, reversing, shifting, triangles --------------------------------------------------------------------------


def pad(x: Any, pad_width: Any, constant_values: Any = 0) -> Tensor:
    """`x` surrounded by constants.

    `pad_width`: how many constants. One number for all sides, a pair (before, after) for all axes, a pair for each
    axis, or a dict from axes to pairs.
    """
    x = as_tensor(x)
    refuse_variable(constant_values, "constant_values")
    widths = _pad_widths(pad_width, x.ndim)
    inner = tuple(slice(before, before + n) for (before, _), n in zip(widths, x.shape))
    data = np.pad(x.data, widths, constant_values=constant_values) if widths else x.data
    # The constants have no gradient: that of `x` is the inner part of `g`.
    return record(data, (x,), lambda g, out: (g[inner],))


def _pad_widths(pad_width: Any, ndim: int) -> list[list[int]]:
    """A pair [before, after] for each axis."""
    widths = np.zeros((ndim, 2), np.intp)
    # In a dict, the keys are axes, and the axes that are not in it are not padded. All else is for all axes at once.
    parts = pad_width if isinstance(pad_width, dict) else {...: pad_width}
    try:
        for axes, pair in parts.items():
            widths[axes] = np.asarray(pair).astype(np.intp, casting="same_kind")  # refuses fractions
        if (widths < 0).any():
            raise ValueError
    except (TypeError, ValueError, IndexError):
        raise ValueError(
            f"pad_width={described(pad_width)} does not fit {ndim} axes; give a number from 0, a pair (before, after), "
            f"or a pair for each axis"
        ) from None
    return widths.tolist()


def flip(x: Any, axis: Axes = None) -> Tensor:
    """The elements in reverse order along these axes; None: along all."""
    x, axis = as_tensor(x), as_axes(axis)
    # The rule calls the operation itself. If `g` is an array, that returns a Tensor, and the engine takes its array.
    return record(np.flip(x.data, axis), (x,), lambda g, out: (flip(g, axis),))


def roll(x: Any, shift: int | tuple[int, ...], axis: Axes = None) -> Tensor:
    """The elements moved by `shift` positions; those moved beyond the last position go to the first ones.

    With axis None, as if `x` were flattened.
    """
    x, shift, axis = as_tensor(x), as_ints(shift, "shift"), as_axes(axis)
    back = tuple(-s for s in shift) if isinstance(shift, tuple) else -shift
    return record(np.roll(x.data, shift, axis), (x,), lambda g, out: (roll(g, back, axis),))


def tril(x: Any, k: int = 0) -> Tensor:
    """The lower triangle of the last two axes: zeros above diagonal k. 0 is the main one, 1 the next one above it."""
    x, k = _with_axes("tril", x), as_int(k, "k")
    # The elements that were replaced by zeros get the gradient 0.
    return record(np.tril(x.data, k), (x,), lambda g, out: (tril(g, k),))


def triu(x: Any, k: int = 0) -> Tensor:
    """The upper triangle of the last two axes: zeros below diagonal k. 0 is the main one, 1 the next one above it."""
    x, k = _with_axes("triu", x), as_int(k, "k")
    return record(np.triu(x.data, k), (x,), lambda g, out: (triu(g, k),))


def _with_axes(name: str, x: Any) -> Tensor:
    """`x` as a Tensor. Raises ValueError if it has no axes; `name` is that of the operation."""
    x = as_tensor(x)
    if not x.ndim:
        raise ValueError(f"{name} needs a tensor with at least one axis, not a single number")
    return x
