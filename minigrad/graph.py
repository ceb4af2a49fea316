"""The graph behind the tensors: its nodes, and whether this thread records any.

Nodes are numbered as they are made, so creation order is a topological order: an op is always newer than what it was
made from.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any

from minigrad.backend import array_module

_numbers = count(1)


class _Mode(threading.local):
    """What this thread does with results. `watch(data, inputs, vjp) -> vjp` lets debugging tools look at every op.

    A thread without a watch of its own goes by that of the class, which is for all threads.
    """

    recording = True
    watch: Callable | None = None


mode = _Mode()


@contextmanager
def recording(on: bool) -> Iterator[None]:
    """Turn the recording of the graph on or off in this thread."""
    before, mode.recording = mode.recording, on
    try:
        yield
    finally:
        mode.recording = before


@contextmanager
def watching(watch: Callable) -> Iterator[None]:
    """Have `watch(data, inputs, vjp) -> vjp` look at every op of this thread, along with who looks already."""
    before, own = mode.watch, vars(mode).get("watch")
    mode.watch = watch if before is None else lambda data, inputs, vjp: before(data, inputs, watch(data, inputs, vjp))
    try:
        yield
    finally:
        if own is None:
            del mode.watch  # what looks at all threads is seen again
        else:
            mode.watch = own


@contextmanager
def watching_all_threads(watch: Callable) -> Iterator[None]:
    """Like `watching`, and every other thread is looked at, too, unless somebody is looking at that one alone."""
    with watching(watch):
        _Mode.watch = watch
        try:
            yield
        finally:
            _Mode.watch = None


def no_grad():
    """`with no_grad():` (or as a decorator): results inside remember nothing and need no gradient."""
    return recording(False)


class Node:
    """One recorded op: its place in time, the sources of its inputs (None where no gradient is needed), and its
    rule.
    """

    __slots__ = ("number", "parents", "vjp", "output", "shape", "dtype")

    def __init__(self, inputs: Sequence, vjp: Callable, data: Any, keep_output: bool):
        self.number = next(_numbers)
        self.parents = [x.node or (x if x.requires_grad else None) for x in inputs]
        self.vjp = vjp
        self.output = (
            data if keep_output else None
        )  # the array, not the Tensor: a Tensor knows its node, and would make a cycle
        self.shape, self.dtype = data.shape, data.dtype

    @property
    def op(self) -> str:
        """The name of the function that made it, such as "exp"."""
        return op_name(self.vjp)

    def free(self) -> None:
        self.parents, self.vjp, self.output = [], freed, None


def op_name(vjp: Callable) -> str:
    """The name of the function in which a rule was written."""
    return vjp.__qualname__.split(".<locals>")[0].split(".")[-1].rstrip("_")


class LazyGradient:
    """A gradient not computed yet: it can be computed in the place where it will stay, such as the parameter's part of
    a flat gradient.

    `fill(out)` sets all elements of `out`, or `add(out)` adds to them, which is for gradients that are zero in most
    places; one of the two is enough; `out` is in C order. The dtype and device are those of the array `like`, and the
    shape too unless `shape` says another.
    """

    __slots__ = ("like", "fill", "add", "shape")

    def __init__(
        self,
        like: Any,
        fill: Callable[[Any], object] | None = None,
        *,
        add: Callable[[Any], object] | None = None,
        shape: tuple[int, ...] | None = None,
    ):
        self.like, self.fill, self.add = like, fill, add
        self.shape = like.shape if shape is None else shape

    def write(self, out: Any) -> None:
        if self.fill is not None:
            self.fill(out)
        else:
            out[...] = 0
            self.add_to(out)

    def add_to(self, out: Any) -> None:
        if self.add is not None:
            self.add(out)
        else:
            out += self.data

    @property
    def data(self) -> Any:
        out = array_module(self.like).empty(self.shape, self.like.dtype)
        self.write(out)
        return out


def materialize(g: Any) -> Any:
    """A gradient that may be LazyGradient, computed."""
    return g.data if type(g) is LazyGradient else g


def write(g: Any, out: Any) -> None:
    """Copy a gradient, an array or LazyGradient, into the array `out`."""
    if type(g) is LazyGradient:
        g.write(out)
    else:
        out[...] = g


def add_to(g: Any, out: Any) -> None:
    """Add a gradient, an array or LazyGradient, to the array `out`."""
    if type(g) is LazyGradient:
        g.add_to(out)
    else:
        out += g


def freed(g: Any, out: Any) -> tuple:
    raise RuntimeError("backward() a second time through a graph that was freed; pass retain_graph=True the first time")
