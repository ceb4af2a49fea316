"""Ranks that note, in order, what they compute and what they send.

`Recorded` is a communicator that passes everything on to another one. `mark` lets the layers of a model note when they
begin to compute, in the forward pass and in the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from llm.model.experts import Experts
from llm.model.gpt import GPT
from llm.parallel.communicators.communicator import Communicator, Operation, Wait
from minigrad.backend import Array
from minigrad.tensor import Tensor, record


@dataclass(frozen=True)
class Event:
    """Something that a rank does. `shape` and `sent` (bytes) are those of a message; () and 0 for computing."""

    phase: str
    name: str
    shape: tuple[int, ...] = ()
    sent: int = 0
    is_message: bool = False


@dataclass
class Log:
    """The events of one rank. `phase`: "forward", "backward" or "update"."""

    phase: str = "forward"
    events: list[Event] = field(default_factory=list)

    def compute(self, name: str) -> None:
        event = Event(self.phase, name)
        if self.events[-1:] != [event]:  # several experts of a layer are one event
            self.events.append(event)

    def message(self, name: str, shape: tuple[int, ...], sent: int) -> None:
        self.events.append(Event(self.phase, name, shape, sent, is_message=True))

    @property
    def messages(self) -> list[Event]:
        return [event for event in self.events if event.is_message]


class Recorded(Communicator):
    """As `inner`. Each message is noted once: an all-reduce, not the two exchanges that it is made of."""

    def __init__(self, inner: Communicator, log: Log):
        super().__init__(inner.rank, inner.size)
        self._inner, self._log, self._inside = inner, log, False

    def _exchange(self, parts: Sequence[Array], shapes: Sequence[tuple[int, ...]]) -> Wait:
        return self._inner._exchange(parts, shapes)

    def receive(self, source: int, shape: tuple[int, ...], dtype: Any) -> Array:
        return self._inner.receive(source, shape, dtype)

    def exchange_objects(self, values: Sequence[Any]) -> list[Any]:
        return self._inner.exchange_objects(values)  # some Python numbers, which nobody counts

    def split(self, color: int) -> Recorded:
        return Recorded(self._inner.split(color), self._log)

    @contextmanager
    def _noted(self, name: str, shape: tuple[int, ...]) -> Iterator[None]:
        if self._inside:
            yield
            return
        self._inside, before = True, self.sent
        try:
            yield
        finally:
            self._inside = False
        self._log.message(name, shape, self.sent - before)

    def send(self, array: Array, to: int) -> None:
        with self._noted("send", array.shape):
            self._inner.send(array, to)
            self.sent += array.nbytes

    def begin_all_to_all(self, parts: Sequence[Array], shapes: Sequence[tuple[int, ...]] | None = None) -> Wait:
        # Called by itself only where the owner of a part adds up what arrives (llm/parallel/data/reduction.py).
        with self._noted("reduce-scatter", _joined(parts)):
            return super().begin_all_to_all(parts, shapes)

    def all_to_all(self, parts: Sequence[Array], shapes: Sequence[tuple[int, ...]] | None = None) -> list[Array]:
        with self._noted("all-to-all", _joined(parts)):
            return super().all_to_all(parts, shapes)

    def all_gather(self, array: Array, shapes: Sequence[tuple[int, ...]] | None = None) -> list[Array]:
        with self._noted("all-gather", array.shape):
            return super().all_gather(array, shapes)

    def reduce_scatter(self, parts: Sequence[Array], operation: Operation = "sum") -> Array:
        with self._noted("reduce-scatter", parts[self.rank].shape):
            return super().reduce_scatter(parts, operation)

    def all_reduce(self, array: Array, operation: Operation = "sum") -> Array:
        with self._noted("all-reduce", array.shape):
            return super().all_reduce(array, operation)


def _joined(parts: Sequence[Array]) -> tuple[int, ...]:
    return (sum(len(part) for part in parts), *np.shape(parts[0])[1:])


def mark(model: GPT, log: Log, *, sublayers: bool = True) -> None:
    """Let the layers of the model note what they compute: attention and MLP, or whole layers.

    The marks are at the first and the last matrix product. So what a layer sends before or after them is noted there.
    """
    if "embedding" in vars(model) and getattr(model, "is_first", True):
        _before(model.embedding, lambda: _note(log, "forward", "embedding"))
    block: Any
    expert: Any
    for layer, block in zip(model.layers, model.blocks):
        attention, mlp = (f"attention {layer}", f"MLP {layer}") if sublayers else (f"layer {layer}",) * 2
        _mark_products(log, attention, block.attention.qkv, block.attention.out)
        if isinstance(block.mlp, Experts):
            for expert in block.mlp.experts:
                _mark_products(log, "own experts", expert.up, expert.down)
        else:
            _mark_products(log, mlp, block.mlp.up, block.mlp.down)
    if getattr(model, "is_last", True):
        _mark_loss(model, log)


def _mark_products(log: Log, name: str, first: Any, last: Any) -> None:
    _before(first, lambda: _note_layer(log, name))
    _after(last, lambda: _note(log, "backward", name))


def _mark_loss(model: GPT, log: Log) -> None:
    loss = model._head_loss

    def noted_loss(*arguments: Any, **options: Any) -> Tensor:
        _note(log, "forward", "head and loss")
        return _noting(loss(*arguments, **options), lambda: _note(log, "backward", "head and loss"))

    setattr(model, "_head_loss", noted_loss)  # noqa: B010  mypy knows that it is a method


def _note(log: Log, phase: str, name: str) -> None:
    log.phase = phase
    log.compute(name)


def _note_layer(log: Log, name: str) -> None:
    """What is computed after the backward pass has begun, and before the next embedding, is computed again."""
    log.compute(name if log.phase == "forward" else f"{name} again")


def _before(module: Any, note: Callable[[], None]) -> None:
    forward = module.forward

    def noted(*arguments: Any, **options: Any) -> Any:
        note()
        return forward(*arguments, **options)

    module.forward = noted


def _after(module: Any, note: Callable[[], None]) -> None:
    forward = module.forward
    module.forward = lambda *arguments, **options: _noting(forward(*arguments, **options), note)


def _noting(x: Tensor, note: Callable[[], None]) -> Tensor:
    """x; `note` is called when its gradient comes."""

    def rule(g: Array, out: Any) -> tuple[Array]:
        note()
        return (g,)

    return record(x.data, (x,), rule)
