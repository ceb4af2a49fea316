"""A group of one rank. It sends nothing and costs nothing, so what is split needs no `if size > 1`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from llm.parallel.communicators.communicator import Communicator, Operation, Wait
from minigrad.backend import Array


class Alone(Communicator):
    """The group of one rank. Its methods return the arrays that they are given: nothing is copied."""

    def __init__(self) -> None:
        super().__init__(0, 1)
        self._sent_to_itself: list[Array] = []

    def all_gather(self, array: Array, shapes: Sequence[tuple[int, ...]] | None = None) -> list[Array]:
        return [array]

    def reduce_scatter(self, parts: Sequence[Array], operation: Operation = "sum") -> Array:
        return parts[0]

    def all_reduce(self, array: Array, operation: Operation = "sum") -> Array:
        return array

    def broadcast(self, array: Array | None, root: int = 0) -> Array:
        assert array is not None
        return array

    def _exchange(self, parts: Sequence[Array], shapes: Sequence[tuple[int, ...]]) -> Wait:
        return lambda: list(parts)

    def send(self, array: Array, to: int) -> None:
        self._sent_to_itself.append(array)

    def receive(self, source: int, shape: tuple[int, ...], dtype: Any) -> Array:
        array = self._sent_to_itself.pop(0)
        assert array.shape == shape and array.dtype == np.dtype(dtype)
        return array

    def exchange_objects(self, values: Sequence[Any]) -> list[Any]:
        return list(values)

    def split(self, color: int) -> Alone:
        return Alone()
