"""Parameters laid end to end in one flat array, and their gradients in another.

Each parameter's `data` becomes a view of the flat data, its `grad_buffer` a view of the flat gradient, into which
backward() writes. Clipping, updates, checkpoints and all-reduce are then loops over one array, however many
parameters there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, groupby, pairwise
from typing import Any

import numpy as np

from minigrad.backend import array_module, device_of
from minigrad.nn.module import Parameter
from minigrad.tensor import Tensor

CPU_BLOCK = 262_144  # five arrays of 1 MiB: few operations, between which threads hand each other the interpreter lock
GPU_BLOCK = 16_777_216  # a GPU wants few, large kernels; this bounds the scratch memory


class FlatParameters:
    """`data` and `grad`, flat arrays that hold `parameters` (of one dtype, on one device) and their gradients, in the
    order given."""

    def __init__(self, parameters: Sequence[Parameter]):
        self.parameters = list(parameters)
        self.bounds = [0, *accumulate(p.size for p in self.parameters)]
        self.data = np.concatenate([p.data.reshape(-1) for p in self.parameters])
        self.grad = np.zeros_like(self.data)
        self._data_views, self._grad_views = self.views(self.data), self.views(self.grad)
        self.gather()

    def views(self, flat: Any) -> list:
        """`flat`, an array of the same size, cut into one view for each parameter, in its shape."""
        return [flat[start:stop].reshape(p.shape) for p, (start, stop) in zip(self.parameters, pairwise(self.bounds))]

    def gather(self) -> None:
        """Bring home what is elsewhere: data assigned by hand or taken over by another optimizer, gradients assigned
        by hand or made with create_graph. What is at home already, as in ordinary training, is not touched."""
        self._check()
        for p, data, grad in zip(self.parameters, self._data_views, self._grad_views):
            if p.data is not data:
                data[...] = p.data
                p.data = data
            p.grad_buffer = grad
            if p.grad is not None and p.grad.data is not grad:
                grad[...] = p.grad.data
                p.grad = Tensor(grad)

    def _check(self) -> None:
        """Refuse what would be broadcast, rounded or moved to another device behind the user's back."""
        for p, home in zip(self.parameters, self._data_views):
            if p.data is not home and _kind(p.data) != _kind(home):
                raise RuntimeError(
                    f"a parameter was {_kind(home)} and is now {_kind(p.data)}; build the optimizer after "
                    f"to(), astype() or any other such change"
                )
            if p.grad is not None and p.grad.shape != p.shape:
                raise ValueError(f"a parameter has shape {p.shape}, but the gradient it was given {p.grad.shape}")

    def runs(self, key: Callable[[int], Any] = lambda i: None) -> list[tuple[range, slice]]:
        """Neighbours that have a gradient and the same `key(index)`: (their indices, their slice of the flat
        arrays).
        """
        alike = groupby(range(len(self.parameters)), key=lambda i: (self.parameters[i].grad is not None, key(i)))
        runs = [list(run) for (has_grad, _), run in alike if has_grad]
        return [(range(run[0], run[-1] + 1), slice(self.bounds[run[0]], self.bounds[run[-1] + 1])) for run in runs]

    def gradients(self) -> list:
        """The stretches of the flat gradient that have been written since zero_grad()."""
        self.gather()
        return [self.grad[where] for _, where in self.runs()]


def alone(work: Callable[[slice], object], size: int) -> None:
    """How work on `range(size)` is shared unless somebody has threads for it: the whole of it is done here."""
    work(slice(0, size))


def _kind(array: Any) -> str:
    return f"{array.dtype.name} {array.shape} on {device_of(array)}"


def block_size(array: Any) -> int:
    return CPU_BLOCK if array_module(array) is np else GPU_BLOCK


def blocks(array: Any) -> Iterator[slice]:
    """Slices that go through a flat array in pieces for which temporaries are cheap."""
    size = block_size(array)
    return (slice(start, min(start + size, array.size)) for start in range(0, array.size, size))
