"""Ranks that are threads of this process. Nothing is copied between them, and nothing has to be installed.

It is the communicator of the tests. Hypothesis can draw a model and a split, run it here a thousand times, and shrink
what fails. Under MPI each of them would start processes.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from llm.parallel.communicators.communicator import Communicator, RankError, Wait
from minigrad.backend import Array

PATIENCE = 60.0  # seconds that a rank waits for another one


def run_ranks(size: int, f: Callable[[Communicator], Any]) -> list[Any]:
    """`[f(communicator of rank 0), ...]`, computed in `size` threads. If a rank raises, so does this."""
    mailboxes = _Mailboxes()
    with ThreadPoolExecutor(size, thread_name_prefix="rank") as pool:

        def run(rank: int) -> Any:
            try:
                return f(Threads(rank, range(size), mailboxes))
            except BaseException:
                mailboxes.abandon()
                raise

        futures = [pool.submit(run, rank) for rank in range(size)]
    errors = [error for future in futures if (error := future.exception()) is not None]
    # The others have failed because this one has.
    cause = next((error for error in errors if not isinstance(error, RankError)), None)
    if errors:
        raise cause or errors[0]
    return [future.result() for future in futures]


class _Mailboxes:
    """A queue for each pair of ranks and each group, made when it is first used."""

    def __init__(self) -> None:
        self._queues: dict[Any, queue.SimpleQueue] = {}
        self._lock, self.failed = threading.Lock(), False

    def __getitem__(self, key: Any) -> queue.SimpleQueue:
        with self._lock:
            if self.failed:
                raise RankError("another rank has failed")
            return self._queues.setdefault(key, queue.SimpleQueue())

    def abandon(self) -> None:
        """Wake all ranks that wait: what they wait for will never come."""
        with self._lock:
            self.failed = True
            for each in self._queues.values():
                each.put(RankError("another rank has failed"))


class Threads(Communicator):
    """The communicator of one of the threads. `members`: the numbers of the group's ranks in the first group."""

    def __init__(self, rank: int, members: Sequence[int], mailboxes: _Mailboxes, group: tuple = ()):
        super().__init__(rank, len(members))
        self._members, self._mailboxes, self._group = list(members), mailboxes, group
        self._splits = 0

    def _put(self, kind: str, to: int, value: Any) -> None:
        self._mailboxes[kind, self._group, self._members[self.rank], self._members[to]].put(value)

    def _get(self, kind: str, source: int) -> Any:
        mailbox = self._mailboxes[kind, self._group, self._members[source], self._members[self.rank]]
        try:
            value = mailbox.get(timeout=PATIENCE)
        except queue.Empty:
            raise RankError(f"rank {self.rank} has waited {PATIENCE:.0f} seconds for rank {source}") from None
        if isinstance(value, RankError):
            raise value
        return value

    def _exchange(self, parts: Sequence[Array], shapes: Sequence[tuple[int, ...]]) -> Wait:
        for rank, part in enumerate(parts):
            self._put("exchange", rank, part.copy())
        return lambda: [self._received("exchange", rank, shape) for rank, shape in enumerate(shapes)]

    def _received(self, kind: str, source: int, shape: tuple[int, ...]) -> Array:
        array: Array = self._get(kind, source)
        if array.shape != shape:
            raise RankError(f"rank {self.rank} expected {shape} from rank {source}, which has sent {array.shape}")
        return array

    def send(self, array: Array, to: int) -> None:
        self.sent += array.nbytes
        self._put("send", to, array)

    def receive(self, source: int, shape: tuple[int, ...], dtype: Any) -> Array:
        array = self._received("send", source, shape)
        if array.dtype != dtype:
            raise RankError(f"rank {self.rank} expected {dtype} from rank {source}, which has sent {array.dtype}")
        return array

    def exchange_objects(self, values: Sequence[Any]) -> list[Any]:
        for rank, value in enumerate(values):
            self._put("object", rank, value)
        return [self._get("object", rank) for rank in range(self.size)]

    def split(self, color: int) -> Threads:
        colors = self.exchange_objects([color] * self.size)
        chosen = [rank for rank in range(self.size) if colors[rank] == color]
        self._splits += 1
        group = (*self._group, self._splits, color)
        return Threads(chosen.index(self.rank), [self._members[rank] for rank in chosen], self._mailboxes, group)
