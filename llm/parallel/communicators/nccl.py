"""Ranks with a GPU each: NCCL carries the arrays from GPU to GPU, without a copy to the host.

NCCL knows nothing of processes. MPI starts them, and carries what is small: the key of a group, shapes, objects.

A group has a stream of its own, on which its messages wait for their partners while the rank computes. Otherwise two
stages of a pipeline that send to each other would wait for ever. Events say what must be complete before what.
It has not run on several GPUs yet: tests/llm/test_parallel_nccl.py has a stand-in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from llm.parallel.communicators.communicator import Communicator, Wait
from minigrad.backend import Array, cupy_module


class GPUs(Communicator):
    """The ranks of `host`, a group that exchanges Python objects. Each rank has called `use_own_device`."""

    def __init__(self, host: Communicator):
        super().__init__(host.rank, host.size)
        self._host, self._cupy = host, cupy_module()
        self._nccl = self._cupy.cuda.nccl
        key = host.broadcast_object(self._nccl.get_unique_id() if host.rank == 0 else None)
        self._group = self._nccl.NcclCommunicator(host.size, key, host.rank)
        self._stream = self._cupy.cuda.Stream(non_blocking=True)
        self._sending: list[tuple[Any, Array]] = []  # arrays must live until the event after their messages

    def _exchange(self, parts: Sequence[Array], shapes: Sequence[tuple[int, ...]]) -> Wait:
        parts = [self._cupy.asarray(part) for part in parts]  # an empty one may be of NumPy
        received = [self._cupy.empty(shape, parts[self.rank].dtype) for shape in shapes]
        received[self.rank][...] = parts[self.rank]
        self._begin()
        self._nccl.groupStart()  # all of these at the same time: one after the other, they would wait for each other
        for rank in range(self.size):
            if rank != self.rank:
                self._carry(self._group.send, parts[rank], rank)
                self._carry(self._group.recv, received[rank], rank)
        self._nccl.groupEnd()
        end = self._stream.record()

        def wait() -> list[Array]:
            self._cupy.cuda.get_current_stream().wait_event(end)  # the GPU waits, not this program
            parts.clear()
            return received

        return wait

    def _begin(self) -> None:
        """What was computed before is complete when the messages begin."""
        self._stream.wait_event(self._cupy.cuda.get_current_stream().record())

    def _carry(self, method: Callable[..., None], array: Array, partner: int) -> None:
        if array.size:  # both sides know which arrays are empty
            method(array.data.ptr, array.nbytes, self._nccl.NCCL_UINT8, partner, self._stream.ptr)

    def send(self, array: Array, to: int) -> None:
        self.sent += (array := self._cupy.ascontiguousarray(array)).nbytes
        self._begin()
        self._carry(self._group.send, array, to)
        self._sending = [each for each in self._sending if not each[0].done] + [(self._stream.record(), array)]

    def finish_sends(self) -> None:
        self._stream.synchronize()
        self._sending = []

    def receive(self, source: int, shape: tuple[int, ...], dtype: Any) -> Array:
        array = self._cupy.empty(shape, np.dtype(dtype))
        self._begin()
        self._carry(self._group.recv, array, source)
        self._cupy.cuda.get_current_stream().wait_event(self._stream.record())
        return array

    def exchange_objects(self, values: Sequence[Any]) -> list[Any]:
        return self._host.exchange_objects(values)

    def split(self, color: int) -> GPUs:
        return GPUs(self._host.split(color))


def use_own_device(rank: int) -> None:
    """Choose the GPU of a rank. `rank`: its number on this machine. Raises ValueError if there are fewer GPUs."""
    count = (cupy := cupy_module()).cuda.runtime.getDeviceCount()
    if rank >= count:
        raise ValueError(f"rank {rank} of this machine needs a GPU of its own, but there are {count}; use fewer ranks")
    cupy.cuda.Device(rank).use()
