"""The graph behind the tensors: its nodes, and whether this thread records any.

Nodes are numbered as they are made, so creation order is a topological order: an op is always newer than what it was made from.
"""
from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from minigrad.backend import array_module

_numbers = count(1)


class _Mode(threading.local):
    """What this thread does with results. `watch(data, inputs, vjp) -> vjp` lets debugging tools look at every op."""
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


def no_grad():
    """`with no_grad():` (or as a decorator): results inside remember nothing and need no gradient."""
    return recording(False)


class Node:
    """One recorded op: its place in time, the sources of its inputs (None where no gradient is needed), and its rule."""
    __slots__ = ("number", "parents", "vjp", "output", "shape", "dtype")

    def __init__(self, parents: tuple, vjp: Callable, data: Any, keep_output: bool):
        self.number = next(_numbers)
        self.parents, self.vjp = parents, vjp
        self.output = data if keep_output else None     # the array, not the Tensor: a Tensor knows its node, and would make a cycle
        self.shape, self.dtype = data.shape, data.dtype

    @property
    def op(self) -> str:
        """The name of the function that made it, such as "exp"."""
        return op_name(self.vjp)

    def free(self) -> None:
        self.parents, self.vjp, self.output = (), freed, None


def op_name(vjp: Callable) -> str:
    """The name of the function in which a rule was written."""
    return vjp.__qualname__.split(".<locals>")[0].split(".")[-1].rstrip("_")


class Deferred:
    """A gradient not computed yet: `fill(out)` writes it into `out`, which may be the parameter's place in the flat gradient."""
    __slots__ = ("like", "fill")

    def __init__(self, like: Any, fill: Callable[[Any], object]):
        self.like, self.fill = like, fill

    def write(self, out: Any) -> None:
        self.fill(out)

    @property
    def data(self) -> Any:
        out = array_module(self.like).empty(self.like.shape, self.like.dtype)
        self.fill(out)
        return out


def freed(g: Any, out: Any) -> tuple:
    raise RuntimeError("backward() a second time through a graph that was freed; pass retain_graph=True the first time")
