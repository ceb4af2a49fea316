"""Modules that hold a sequence of modules; their names are the positions "0", "1", ..."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from minigrad.nn.module import Module


class ModuleList(Module):
    """A list of modules that takes part in names, states and moves. It is not called itself: iterate over it."""

    def __init__(self, modules: Iterable[Module] = ()):
        for module in modules:
            self.append(module)

    def append(self, module: Module) -> None:
        if not isinstance(module, Module):
            raise TypeError(f"{type(self).__name__} holds modules, not {type(module).__name__}")
        setattr(self, str(len(self)), module)
        self._rename(self._name)

    def __len__(self) -> int:
        return sum(1 for _ in self.named_children())

    def __iter__(self) -> Iterator[Module]:
        return (module for _, module in self.named_children())

    def __getitem__(self, index: Any) -> Any:
        """The module at a position; for a slice a plain list of modules."""
        return list(self)[index]

    def _rename(self, name: str) -> None:
        super()._rename(name)
        for position, module in self.named_children():  # the list is not called, so they stand for both on the path
            module._rename(f"{name}.{position}" if name else position)


class Sequential(ModuleList):
    """Modules called one after the other, each with what the one before it returned."""

    def __init__(self, *modules: Module):
        super().__init__(modules)

    def forward(self, x: Any) -> Any:
        for module in self:
            x = module(x)
        return x

    def _rename(self, name: str) -> None:
        Module._rename(self, name)  # it is called, so it stands on the path before its modules
