"""Parameters laid end to end in one flat array, and their gradients in another.

    parameters          weight (2, 3)         bias (2,)   scale (1,)
                        |                     |           |
    data (9,)           w  w  w  w  w  w      b  b        s
    grad (9,)           dw dw dw dw dw dw     db db       ds

Each parameter's `data` becomes a view of the flat data, in its own shape. Its `grad_buffer` is a view of the flat
gradient, into which backward() writes. Views share memory: an update of the flat array is an update of every parameter.

Why: a model has hundreds of parameters, many of them small, and a NumPy operation takes about a microsecond to begin.
Updates, clipping and sums over workers are then loops over one array, however many parameters there are. An array
has one dtype and one device, so there is one pair of flat arrays for each of these (see optimizer.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, groupby, pairwise
from typing import Any

import numpy as np

from minigrad.backend import Array, device_of
from minigrad.nn.module import Parameter
from minigrad.tensor import Tensor


class FlatParameters:
    """The flat arrays `data` and `grad` for these parameters, in this order; all of one dtype and on one device."""

    def __init__(self, parameters: Sequence[Parameter]):
        self.parameters = list(parameters)
        # Parameter i is data[bounds[i] : bounds[i + 1]].
        self.bounds = [0, *accumulate(p.size for p in self.parameters)]
        # A copy of all data. `sync_views` then makes the parameters views of it, which frees their own arrays.
        self.data = np.concatenate([p.data.reshape(-1) for p in self.parameters])
        self.grad = np.zeros_like(self.data)
        self._data_views, self._grad_views = self.views(self.data), self.views(self.grad)
        self.sync_views()

    @property
    def size(self) -> int:
        """The number of elements of all parameters."""
        return self.bounds[-1]

    def views(self, flat: Array) -> list[Array]:
        """One view of `flat`, an array of the same size, for each parameter, in the parameter's shape."""
        # pairwise gives (bounds[0], bounds[1]), (bounds[1], bounds[2]), ...: one pair for each parameter.
        return [flat[start:stop].reshape(p.shape) for p, (start, stop) in zip(self.parameters, pairwise(self.bounds))]

    def sync_views(self) -> None:
        """Make every parameter and its gradient views of the flat arrays again, where something replaced them.

        Data is replaced by an assignment, or by another optimizer with the same parameter; a gradient by an assignment,
        or by backward(create_graph=True). The new values are copied into the flat arrays. In ordinary training nothing
        was replaced, and nothing is copied.
        """
        self._check_replacements()  # of all parameters, before anything is changed
        for p, data_view, grad_view in zip(self.parameters, self._data_views, self._grad_views):
            if p.data is not data_view:  # a comparison of objects: no array is read
                data_view[...] = p.data
                p.data = data_view
            p.grad_buffer = grad_view  # from now on, backward() writes here
            if p.grad is not None and p.grad.data is not grad_view:
                # `.grad` becomes a new Tensor: the old one, and its array, may belong to the caller.
                grad_view[...] = p.grad.data
                p.grad = Tensor(grad_view)

    def _check_replacements(self) -> None:
        """Refuse what copying would silently broadcast, round, or move to another device."""
        for p, data_view in zip(self.parameters, self._data_views):
            if p.data is not data_view and _description(p.data) != _description(data_view):
                raise RuntimeError(
                    f"a parameter was {_description(data_view)} and is now {_description(p.data)}; "
                    f"build the optimizer after to(), astype() or any other such change"
                )
            if p.grad is not None and p.grad.shape != p.shape:
                raise ValueError(f"a parameter of shape {p.shape} was given a gradient of shape {p.grad.shape}")

    def shards(self, count: int) -> list[slice]:
        """The flat arrays in so many slices, one after the other, for those who divide the work."""
        return even_slices(self.size, count)

    def has_gradient(self, i: int) -> bool:
        return self.parameters[i].grad is not None

    def runs(self, key: Callable[[int], Any] = lambda i: None) -> list[tuple[range, slice]]:
        """The longest runs of neighbouring parameters that all have a gradient and the same `key(index)`.

        Each run is a pair: the indices of its parameters, and the slice of the flat arrays that holds them.
        """
        # Parameters without a gradient end a run: the step must not touch them.
        grouped = groupby(range(len(self.parameters)), key=lambda i: (self.has_gradient(i), key(i)))
        # groupby joins neighbours with equal keys: parameters 0, 1, 2, 5 become the runs 0-2 and 5.
        runs = [list(indices) for (has_gradient, _), indices in grouped if has_gradient]
        return [(range(run[0], run[-1] + 1), slice(self.bounds[run[0]], self.bounds[run[-1] + 1])) for run in runs]

    def fill_missing(self, parameters: Iterable[Parameter]) -> None:
        """Write zeros where a gradient of these parameters is missing: what is there is an old one."""
        for p in parameters:
            if p.grad is None and p.grad_buffer is not None:
                p.grad_buffer[...] = 0

    def gradients(self) -> list[Array]:
        """The slices of the flat gradient that were written since zero_grad()."""
        self.sync_views()
        return [self.grad[elements] for _, elements in self.runs()]  # without a key, only a missing gradient ends a run


class WholeParameters(FlatParameters):
    """Flat parameters whose shards consist of whole parameters: for optimizers that cannot divide a matrix."""

    def shards(self, count: int) -> list[slice]:
        return whole_slices(self.bounds, count)


def even_slices(size: int, count: int) -> list[slice]:
    """range(size) in so many slices, one after the other. Their lengths differ by at most one."""
    bounds = [size * i // count for i in range(count + 1)]
    return [slice(*ends) for ends in pairwise(bounds)]


def whole_slices(bounds: Sequence[int], count: int) -> list[slice]:
    """The same for range(bounds[-1]), but each slice ends at the nearest of the bounds."""
    ends = [min(bounds, key=lambda bound: abs(bound - each.stop)) for each in even_slices(bounds[-1], count)]
    return [slice(*each) for each in pairwise([0, *ends])]


def _description(array: Array) -> str:
    return f"{array.dtype.name} {array.shape} on {device_of(array)}"
