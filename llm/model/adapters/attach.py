"""How an adapter is attached to a model: in place, so that all who hold the model see it, and without a second model.

The weights of the model are frozen: they get no gradient, and an optimizer leaves them out. The adapter has parameters
of its own, and they are what `model.named_trainable()` lists. A module that an adapter changes becomes an instance of a
subclass of its own class, which computes what the adapter does besides what the class did:

    Linear  ->  LoRALinear(LoRA, Linear)          GPT  ->  PrefixOnGPT(PrefixOn, GPT)

So names of weights, and everything that knows the model, stay as they are; and where an adapter is off, what runs is
the method of the class, to the bit. The same works for every other class of linear layers, such as stored ones.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

from llm.model.gpt import GPT
from minigrad.nn import Module

M = TypeVar("M", bound=Module)


class Switch(threading.local):
    """Whether an adapter is on, for each thread: one may compute with the adapter while another one does without."""

    on = True

    def __reduce__(self) -> tuple:
        return Switch, ()  # how a copy of a model gets a switch: values of threads cannot be copied


class AdaptedGPT(GPT):
    """What a GPT with an adapter has besides: `settings`, which say what adapter it is, and its `switch`."""

    settings: Any
    switch: Switch


def attach(model: GPT, mixin: type[AdaptedGPT], settings: Any) -> Switch:
    """Freeze the weights, and let the model be one with an adapter. Returns the switch of the adapter.

    Raises ValueError if the model has an adapter already.
    """
    if isinstance(model, AdaptedGPT):
        raise ValueError("the model has an adapter already; merge it into the weights first, or load the model again")
    model.requires_grad_(False)
    become(model, mixin, settings=settings, switch=(switch := Switch()))
    return switch


def become(module: Module, mixin: type[Module], **attributes: Any) -> None:
    """Make `module` an instance of a class that joins `mixin` with its own class."""
    module.__class__ = _joined(mixin, type(module))  # type: ignore[arg-type]  # mypy doubts that classes are hashable
    for name, value in attributes.items():
        setattr(module, name, value)


def restore(module: Module, *attributes: str) -> None:
    """Undo `become`."""
    module.__class__ = type(module).__bases__[1]
    for name in attributes:
        delattr(module, name)


@cache
def _joined(mixin: type[Module], base: type[Module]) -> type[Module]:
    return type(mixin.__name__ + base.__name__, (mixin, base), {"__doc__": mixin.__doc__})


@contextmanager
def adapter_off(model: Module) -> Iterator[None]:
    """Inside the block, and in this thread, the model computes what it would without its adapter.

    `model`: a GPT, or what has one inside, such as a classifier. Without an adapter, the block changes nothing.
    """
    adapted = (module for _, module in model.named_modules() if isinstance(module, AdaptedGPT))
    switch = next((module.switch for module in adapted), Switch())
    before, switch.on = switch.on, False
    try:
        yield
    finally:
        switch.on = before


def sharing_weights(module: M) -> M:
    """The same model a second time, with the same parameters: another adapter can be attached to it.

    So what changes the weights of one, such as merging, changes those of both.
    """
    twin = copy.copy(module)
    for name, child in module.named_children():
        setattr(twin, name, sharing_weights(child))
    return twin
