"""What a group of ranks can do together. The words are those of MPI and torch.distributed.

    all_gather        each rank gives an array, and gets those of all ranks
    all_to_all        each rank gives an array for each rank, and gets what each rank gave it
    reduce_scatter    the same, and what it gets is added up: rank r has the sum of part r
    all_reduce        each rank gets the sum of all arrays: reduce_scatter, then all_gather of the sums
    broadcast         all ranks get the array of one of them

All ranks of a group must call the same functions in the same order. A kind of communicator knows how to exchange arrays
(`_exchange`), to send one and to split the group; everything else is made of these, here.

Sums are added in the order of the ranks, each by the one rank that owns it. So they have the same bits every time, and
on all ranks. MPI's own Allreduce chooses its order by the size of the message and the number of ranks.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np

from minigrad.backend import Array, array_module

Operation = Literal["sum", "max"]
Wait = Callable[[], list[Array]]  # waits for the end of an exchange, and returns its result

REDUCE = {"sum": np.add, "max": np.maximum}


class RankError(RuntimeError):
    """A rank waits for another one that has failed, or that sends nothing."""


class Communicator(ABC):
    """A group of `size` ranks, of which this is number `rank`."""

    rank: int
    size: int

    def __init__(self, rank: int, size: int):
        self.rank, self.size = rank, size
        self.sent = 0  # bytes that this rank has sent to others
        self.patience = math.inf  # seconds that this rank waits for another one

    @contextmanager
    def patient(self) -> Iterator[None]:
        """Inside, this rank waits as long as it takes: another one does something that may take long."""
        before, self.patience = self.patience, math.inf
        try:
            yield
        finally:
            self.patience = before

    # --- what a kind of communicator must know ------------------------------------------------------------------------

    @abstractmethod
    def _exchange(self, parts: Sequence[Array], shapes: Sequence[tuple[int, ...]]) -> Wait:
        """Begin to send `parts[r]` to rank r, and to receive an array of `shapes[r]` and the same dtype from rank r."""

    @abstractmethod
    def send(self, array: Array, to: int) -> None:
        """Send an array, and do not wait until it is received. It must not be changed before that: give a copy."""

    def finish_sends(self) -> None:
        """Return when all that was sent has been received."""
        return  # here nothing waits: a kind whose `send` keeps arrays until then has more to do

    @abstractmethod
    def receive(self, source: int, shape: tuple[int, ...], dtype: Any) -> Array:
        """The next array that rank `source` sends to this one."""

    @abstractmethod
    def exchange_objects(self, values: Sequence[Any]) -> list[Any]:
        """As all_to_all, for small Python objects such as shapes."""

    @abstractmethod
    def split(self, color: int) -> Communicator:
        """The group of the ranks that give the same color, in the same order."""

    # --- what is made of it -------------------------------------------------------------------------------------------

    def all_to_all(self, parts: Sequence[Array], shapes: Sequence[tuple[int, ...]] | None = None) -> list[Array]:
        """`parts[r]` goes to rank r. Returns what rank 0, 1, 2 ... gave this one.

        `shapes`: of the arrays that will be received, if the caller knows them. Otherwise they are sent before.
        """
        return self.begin_all_to_all(parts, shapes)()

    def begin_all_to_all(self, parts: Sequence[Array], shapes: Sequence[tuple[int, ...]] | None = None) -> Wait:
        """`all_to_all` that goes on while the caller computes. Call the result, on all ranks, to wait for its end."""
        # An array in Fortran's order would arrive transposed.
        parts = [array_module(part).asarray(part, order="C") for part in parts]
        if shapes is None:
            shapes = self.exchange_objects([part.shape for part in parts])
        self.sent += sum(part.nbytes for rank, part in enumerate(parts) if rank != self.rank)
        return self._exchange(parts, shapes)

    def all_gather(self, array: Array, shapes: Sequence[tuple[int, ...]] | None = None) -> list[Array]:
        """The arrays of rank 0, 1, 2 ... `shapes`: as in all_to_all; None: all have the same."""
        return self.all_to_all([array] * self.size, shapes or [array.shape] * self.size)

    def reduce_scatter(self, parts: Sequence[Array], operation: Operation = "sum") -> Array:
        """The sum of what all ranks gave for this one: of their `parts[rank]`, which have the same shape."""
        received = self.all_to_all(parts, [parts[self.rank].shape] * self.size)
        return reduced(received, operation)

    def all_reduce(self, array: Array, operation: Operation = "sum") -> Array:
        """The sum of the arrays of all ranks, a new array."""
        owned = [part.copy() for part in np.array_split(array.reshape(-1), self.size)]  # rank r adds up part r
        total = self.reduce_scatter(owned, operation)
        return np.concatenate(self.all_gather(total, [part.shape for part in owned])).reshape(array.shape)

    def broadcast(self, array: Array | None, root: int = 0) -> Array:
        """The array of rank `root`. The others give None."""
        shape, dtype = self.broadcast_object(None if array is None else (array.shape, array.dtype), root)
        nothing = np.empty(0, dtype)
        gives = [array if self.rank == root else nothing] * self.size
        return self.all_to_all(gives, [shape if rank == root else (0,) for rank in range(self.size)])[root]

    def broadcast_object(self, value: Any, root: int = 0) -> Any:
        return self.exchange_objects([value] * self.size)[root]

    def barrier(self) -> None:
        """Return when all ranks have called this."""
        self.exchange_objects([None] * self.size)


def reduced(arrays: Sequence[Array], operation: Operation) -> Array:
    """The sum of the arrays, or their largest elements, in their order."""
    total = arrays[0].copy()
    for array in arrays[1:]:
        REDUCE[operation](total, array, out=total)
    return total
