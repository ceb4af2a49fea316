"""Ranks that are processes: mpiexec -n 4 python train.py ...

MPI carries the messages, through mpi4py. This module is imported only under mpiexec.

No rank waits for ever. MPI itself would: a rank that hangs, or that has left the others, would let them wait until
somebody looks. So every wait here has an end, `patience`, and the error names the rank that has sent nothing.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from mpi4py import MPI

from llm.parallel.communicators.communicator import Communicator, RankError, Wait
from minigrad.backend import Array

SPIN = 1e-3  # seconds in which a rank asks again and again whether a message has come. Then it sleeps in between:
LONGEST_SLEEP = 1e-3  # seconds. Another process, perhaps the one that is waited for, can have the core meanwhile


class Processes(Communicator):
    """`group`: a communicator of MPI; default: all processes that mpiexec has started.

    `members`: the numbers that its ranks have among all processes.
    """

    def __init__(self, group: MPI.Comm = MPI.COMM_WORLD, members: Sequence[int] | None = None):
        super().__init__(group.Get_rank(), group.Get_size())
        self._group = group
        self._members = list(range(self.size)) if members is None else list(members)
        self._sending: list[tuple[MPI.Request, Array, int]] = []  # the arrays must live until they are received

    def _exchange(self, parts: Sequence[Array], shapes: Sequence[tuple[int, ...]]) -> Wait:
        dtype = parts[self.rank].dtype
        received = [np.empty(shape, dtype) for shape in shapes]
        received[self.rank][...] = parts[self.rank]
        others = [rank for rank in range(self.size) if rank != self.rank]
        # Both sides know which arrays are empty: those are not sent.
        sources, targets = ([r for r in others if arrays[r].size] for arrays in (received, parts))
        requests = [self._group.Irecv(_bytes(received[rank]), rank) for rank in sources]
        requests += [self._group.Isend(_bytes(parts[rank]), rank) for rank in targets]

        def wait() -> list[Array]:
            self._wait(requests, [*sources, *targets])
            return received

        return wait

    def send(self, array: Array, to: int) -> None:
        array = np.ascontiguousarray(array)
        self.sent += array.nbytes
        self._sending = [each for each in self._sending if not each[0].Test()]
        self._sending.append((self._group.Isend(_bytes(array), to, tag=1), array, to))

    def finish_sends(self) -> None:
        self._wait([request for request, _, _ in self._sending], [to for _, _, to in self._sending])
        self._sending = []

    def receive(self, source: int, shape: tuple[int, ...], dtype: Any) -> Array:
        array = np.empty(shape, dtype)
        self._wait([self._group.Irecv(_bytes(array), source, tag=1)], [source])
        return array

    def exchange_objects(self, values: Sequence[Any]) -> list[Any]:
        data = [np.frombuffer(pickle.dumps(value), np.uint8) for value in values]
        sizes = self._exchange([np.array([each.size]) for each in data], [(1,)] * self.size)()
        received = self._exchange(data, [(int(size[0]),) for size in sizes])()
        return [pickle.loads(each.tobytes()) for each in received]

    def split(self, color: int) -> Processes:
        colors = self.exchange_objects([color] * self.size)  # with its patience, which MPI's own Split has not
        members = [member for member, each in zip(self._members, colors) if each == color]
        part = Processes(self._group.Split(color, self.rank), members)
        part.patience = self.patience
        return part

    def _wait(self, requests: list[MPI.Request], partners: list[int]) -> None:
        """Wait for the end of all requests; `partners[i]` is the rank at the other end of request i."""
        began, sleep = time.monotonic(), 1e-5
        while not MPI.Request.Testall(requests):
            waited = time.monotonic() - began
            if waited > self.patience:
                self._give_up(requests, partners)
            if waited > SPIN:
                time.sleep(sleep)
                sleep = min(2 * sleep, LONGEST_SLEEP)

    def _give_up(self, requests: list[MPI.Request], partners: list[int]) -> None:
        late = sorted({self._members[rank] for request, rank in zip(requests, partners) if not request.Test()})
        names = ", ".join(f"rank {rank}" for rank in late)
        raise RankError(f"rank {self._members[self.rank]} has waited {self.patience:g} seconds for {names}")


def _bytes(array: Array) -> Array:
    """The array as bytes: MPI need not know its dtype (it has no bfloat16)."""
    return array.reshape(-1).view(np.uint8)
