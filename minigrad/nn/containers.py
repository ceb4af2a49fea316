"""Modules that hold a sequence of modules, whose names are their positions "0", "1", ..."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from minigrad.nn.module import Module


class ModuleList(Module):
    """A list of modules, whose parameters are named and saved with the rest. It computes nothing: iterate over it.

    `first`: the name of the first one, if this is a part of a longer list.
    """

    first = 0

    def __init__(self, modules: Iterable[Module] = (), *, first: int = 0):
        if isinstance(modules, Module):
            raise TypeError(f"{type(self).__name__} takes a list of modules; put this {type(modules).__name__} in one")
        self.first = first
        for module in modules:
            self.append(module)

    def append(self, module: Module) -> None:
        """Add a module at the end. Raises TypeError for anything else."""
        if not isinstance(module, Module):
            raise TypeError(f"{type(self).__name__} holds modules, not {_wrong_module(module)}")
        setattr(self, str(self.first + len(self)), module)  # as an attribute "0", "1", ..., which registers it
        self._set_name(self._name)  # again, so that the new module gets its name too

    def __len__(self) -> int:
        # Modules are plain attributes, so they are counted.
        return sum(1 for _ in self.named_children())

    def __iter__(self) -> Iterator[Module]:
        return (module for _, module in self.named_children())

    def __getitem__(self, index: Any) -> Any:
        """The module at a position; for a slice, a plain list of modules."""
        return list(self)[index]

    def _set_name(self, name: str) -> None:
        super()._set_name(name)
        # The list itself is never called, so `current_path` would miss its name. Its modules carry both: "blocks.3".
        for position, module in self.named_children():
            module._set_name(f"{name}.{position}" if name else position)


def _wrong_module(x: Any) -> str:
    """For the error message: what was given in place of a module, and what to do."""
    if isinstance(x, type) and issubclass(x, Module):
        return f"class {x.__name__}; make a module of it, {x.__name__}()"
    if isinstance(x, (list, tuple)):
        return f"{type(x).__name__}; unpack it with *"
    if not callable(x):
        return type(x).__name__
    name = getattr(x, "__name__", type(x).__name__)
    return f"function {name}; use its module, such as nn.ReLU() for relu, or write one whose forward calls {name}"


class Sequential(ModuleList):
    """Modules that are called one after the other, each with the result of the one before."""

    def __init__(self, *modules: Module):
        super().__init__(modules)

    def forward(self, x: Any) -> Any:
        """The result of the last module."""
        for module in self:
            x = module(x)
        return x

    def _set_name(self, name: str) -> None:
        Module._set_name(self, name)  # not as in ModuleList: it is called, so `current_path` has its name already
