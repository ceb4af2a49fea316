"""Primitives that rearrange elements: reshape, transpose, join, cut, pad. NumPy's names and signatures.

Most results are views of their input. The gradient of a rearrangement is the opposite rearrangement.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from minigrad.tensor import Tensor, record, tensor

# fmt: off
__all__ = ["reshape", "transpose", "swapaxes", "expand_dims", "squeeze", "broadcast_to", "concatenate", "stack",
           "split", "pad", "flip",
           "roll", "tril", "triu"]
# fmt: on

Axes = int | tuple[int, ...] | None


def reshape(x: Any, shape: int | tuple[int, ...]) -> Tensor:
    """The same elements in another shape; one length may be -1, which means whatever is left."""
    x = tensor(x)
    before = x.shape
    return record(x.data.reshape(shape), (x,), lambda g, out: (g.reshape(before),))


def transpose(x: Any, axes: Sequence[int] | None = None) -> Tensor:
    """Axis i of the result is axis axes[i] of `x`; None reverses them all."""
    x = tensor(x)

    def vjp(g: Any, out: None) -> tuple:
        inverse = None if axes is None else sorted(range(g.ndim), key=[a % g.ndim for a in axes].__getitem__)
        return (g.transpose(inverse),)

    return record(x.data.transpose(axes), (x,), vjp)


def swapaxes(x: Any, axis1: int, axis2: int) -> Tensor:
    x = tensor(x)
    return record(x.data.swapaxes(axis1, axis2), (x,), lambda g, out: (g.swapaxes(axis1, axis2),))


def expand_dims(x: Any, axis: int | tuple[int, ...]) -> Tensor:
    """New axes of length 1 at these places of the result."""
    x = tensor(x)
    before = x.shape
    return record(np.expand_dims(x.data, axis), (x,), lambda g, out: (g.reshape(before),))


def squeeze(x: Any, axis: Axes = None) -> Tensor:
    """Without these axes of length 1; None: without any."""
    x = tensor(x)
    before = x.shape
    return record(x.data.squeeze(axis), (x,), lambda g, out: (g.reshape(before),))


def broadcast_to(x: Any, shape: int | tuple[int, ...]) -> Tensor:
    """A read-only view of this shape, in which elements repeat."""
    x = tensor(x)
    return record(np.broadcast_to(x.data, shape), (x,), lambda g, out: (g,))  # the engine sums it back


def concatenate(tensors: Sequence[Any], axis: int | None = 0) -> Tensor:
    """Join along an axis that is there already; with axis None, all flattened."""
    xs = [tensor(x) if axis is not None else reshape(x, -1) for x in tensors]
    data = np.concatenate([x.data for x in xs], 0 if axis is None else axis)
    ends = list(accumulate(x.shape[axis or 0] for x in xs[:-1]))
    return record(data, xs, lambda g, out: _cut(g, ends, axis or 0))


def stack(tensors: Sequence[Any], axis: int = 0) -> Tensor:
    """Join along a new axis, which stands at `axis` in the result."""
    xs = [tensor(x) for x in tensors]
    data, count = np.stack([x.data for x in xs], axis), len(xs)
    before = (slice(None),) * normalize_axis_index(axis, data.ndim)
    return record(data, xs, lambda g, out: [g[(*before, i)] for i in range(count)])


def split(x: Any, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[Tensor]:
    """A list of views: so many equal parts, or cut before each of the given indices."""
    return _cut(tensor(x), indices_or_sections, axis)


def _cut(x: Any, at: int | Sequence[int], axis: int) -> list:
    whole, length = (slice(None),) * normalize_axis_index(axis, x.ndim), x.shape[axis]
    if isinstance(at, int):
        if at < 1 or length % at:
            raise ValueError(
                f"split: axis {axis} of shape {x.shape} cannot be cut into {at} equal parts; "
                f"give the indices to cut at instead"
            )
        at = [length // at * i for i in range(1, at)]
    return [x[(*whole, slice(a, b))] for a, b in zip([0, *at], [*at, length])]


def pad(x: Any, pad_width: Any, constant_values: Any = 0) -> Tensor:
    """`x` framed with constants. `pad_width`: a number for all sides, (before, after) for all axes, or a pair for each
    axis.
    """
    x = tensor(x)
    inner = tuple(
        slice(before, before + n) for (before, _), n in zip(np.broadcast_to(pad_width, (x.ndim, 2)).tolist(), x.shape)
    )
    return record(np.pad(x.data, pad_width, constant_values=constant_values), (x,), lambda g, out: (g[inner],))


def flip(x: Any, axis: Axes = None) -> Tensor:
    """The elements in reverse order along these axes; None: along all."""
    x = tensor(x)
    return record(np.flip(x.data, axis), (x,), lambda g, out: (flip(g, axis),))


def roll(x: Any, shift: int | tuple[int, ...], axis: Axes = None) -> Tensor:
    """Elements moved on by `shift`, those that fall off the end coming in at the front; axis None: as if flattened."""
    x = tensor(x)
    back = tuple(-s for s in shift) if isinstance(shift, tuple) else -shift
    return record(np.roll(x.data, shift, axis), (x,), lambda g, out: (roll(g, back, axis),))


def tril(x: Any, k: int = 0) -> Tensor:
    """The last two axes with zeros above the diagonal (k > 0: above the k-th diagonal over it)."""
    x = tensor(x)
    return record(np.tril(x.data, k), (x,), lambda g, out: (tril(g, k),))


def triu(x: Any, k: int = 0) -> Tensor:
    """The last two axes with zeros below the diagonal (k > 0: below the k-th diagonal over it)."""
    x = tensor(x)
    return record(np.triu(x.data, k), (x,), lambda g, out: (triu(g, k),))
