"""Which arrays of a computation are alive: what ops return, what gradient rules keep, and gradients on their way.

Arrays are followed by weak references, so it is known to the moment when each goes. Views are the array they look at.
Not counted: temporaries inside an op, parameters and what else was there before, unless it is a constant that a rule
keeps; Python's own objects.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterable
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from minigrad.graph import Node
from minigrad.nn.module import Module
from minigrad.tensor import Tensor


class Memory:
    """The bytes alive, as a list of changes: (time, label, bytes more or less)."""

    def __init__(self, now: Callable[[], float]):
        self.now = now
        self.changes: list[tuple[float, str, int]] = []
        self._alive: dict[int, weakref.ref] = {}

    def follow(self, array: Any, label: str) -> int:
        """Count the memory of an array until it is freed; returns the bytes, or 0 for memory that is counted
        already.
        """
        memory = owner(array)
        key, size = id(memory), memory.nbytes
        if size == 0 or key in self._alive:
            return 0

        def gone(reference: Any) -> None:
            del self._alive[key]
            self.changes.append((self.now(), label, -size))

        self._alive[key] = weakref.ref(memory, gone)
        self.changes.append((self.now(), label, size))
        return size

    def adopt(self, changes: Iterable[tuple[float, str, int]]) -> None:
        """Count the changes in the memory of another process, too."""
        self.changes = sorted([*self.changes, *changes], key=lambda change: change[0])

    @property
    def peak(self) -> int:
        return max(np.cumsum([0, *(change for _, _, change in self.changes)]).tolist())


def owner(array: Any) -> Any:
    """The array whose memory this one looks at, perhaps itself."""
    while is_array(base := getattr(array, "base", None)):
        array = base
    return array


def is_array(x: Any) -> bool:
    return isinstance(x, np.ndarray) or hasattr(x, "__cuda_array_interface__")


def kept_by(rule: Callable) -> list:
    """The arrays that a gradient rule keeps alive: all that can be reached from what it closes over, without the rest
    of the graph.
    """
    found, seen = [], set()
    waiting: list[Any] = [rule]
    while waiting:
        x = waiting.pop()
        if id(x) in seen or isinstance(x, (type, ModuleType, Module, Node)):
            continue
        seen.add(id(x))
        if is_array(x):
            found.append(x)
        elif isinstance(x, Tensor):
            waiting.append(x.data)
        elif isinstance(x, FunctionType):  # not its globals
            waiting += [x.__defaults__, *(cell.cell_contents for cell in x.__closure__ or ())]
        else:
            waiting += gc.get_referents(x)
    return found
