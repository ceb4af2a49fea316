"""Which arrays of a computation are alive: results of ops, arrays that gradient rules save, gradients on their way.

Each array is tracked by a weak reference, whose callback tells at once when the array is freed. A view counts as the
array that owns its memory. Not counted: temporaries inside an op; parameters and other arrays that existed before,
except constants that a rule saves; Python's own objects.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterable
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from minigrad.backend import Array
from minigrad.graph import Node, Rule
from minigrad.nn.module import Module
from minigrad.profiler.report import Change
from minigrad.tensor import Tensor


class Memory:
    """The live memory as a list of its changes. `clock` tells the time."""

    def __init__(self, clock: Callable[[], float]):
        self.clock = clock
        self.changes: list[Change] = []
        self._alive: dict[int, weakref.ref] = {}  # by id of the owner of the memory

    def track(self, array: Array, label: str) -> int:
        """Count the memory of an array until it is freed; returns its bytes, or 0 if they are counted already."""
        memory = owner(array)
        key, size = id(memory), memory.nbytes
        if size == 0 or key in self._alive:
            return 0

        def freed(reference: Any) -> None:
            del self._alive[key]
            self.changes.append((self.clock(), label, -size))

        self._alive[key] = weakref.ref(memory, freed)
        self.changes.append((self.clock(), label, size))
        return size

    def merge(self, changes: Iterable[Change]) -> None:
        """Add the changes of another process."""
        self.changes = sorted([*self.changes, *changes], key=lambda change: change[0])


def owner(array: Array) -> Array:
    """The array that owns the memory of `array`: itself, or the one that it is a view of."""
    while is_array(base := getattr(array, "base", None)):
        array = base
    return array


def is_array(x: Any) -> bool:
    return isinstance(x, np.ndarray) or hasattr(x, "__cuda_array_interface__")


def saved_by(rule: Rule) -> list[Array]:
    """The arrays that a gradient rule keeps alive.

    They are found by following references, from the variables of the rule's closure on. Nodes are not followed, because
    the arrays that they save belong to other ops.
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
        elif isinstance(x, FunctionType):  # its defaults and its closure, but not the globals of its module
            waiting += [x.__defaults__, *(cell.cell_contents for cell in x.__closure__ or ())]
        else:
            waiting += gc.get_referents(x)
    return found
