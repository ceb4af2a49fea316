"""`cupy.cuda`: one device, and streams, which can be chosen, waited for and captured in a graph."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from tests.fake_cupy.array import cupy
from tests.fake_cupy.launches import Recording, begin, end, launch
from tests.fake_cupy.traffic import sync

DEVICES = 1


class CUDARuntimeError(RuntimeError):
    pass


class Device:
    """`with Device(0): ...` makes it the current device."""

    def __init__(self, device: int = 0):
        self.id = int(device)

    def use(self) -> Device:
        if not 0 <= self.id < DEVICES:
            raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
        return self

    def synchronize(self) -> None:
        sync("Device.synchronize()")

    def __enter__(self) -> Device:
        return self.use()

    def __exit__(self, *error: Any) -> None:
        pass

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)


class Graph:
    """What a stream was captured in: `launch` starts all of it, which counts as one launch."""

    def __init__(self, recording: Recording):
        self._recording = recording

    def launch(self, stream: Stream | None = None) -> None:
        def run() -> None:
            for work in self._recording.work:
                work()

        launch("graph", run, writes=[np.empty(0)])


class Stream:
    """`with stream: ...` makes it the current one. The null stream cannot be captured."""

    null: Stream
    ptr = 0

    def __init__(self, null: bool = False, non_blocking: bool = False):
        self._is_null = null

    def synchronize(self) -> None:
        sync("Stream.synchronize()")

    def begin_capture(self, mode: int | None = None) -> None:
        if self._is_null or _current[-1] is not self:
            raise CUDARuntimeError("cudaErrorStreamCaptureUnsupported: only a stream of one's own, `with stream:`")
        begin()

    def end_capture(self) -> Graph:
        return Graph(end())

    def __enter__(self) -> Stream:
        _current.append(self)
        return self

    def __exit__(self, *error: Any) -> None:
        _current.pop()


Stream.null = Stream(null=True)
_current = [Stream.null]


class MemoryPool:
    """Only to be named as an allocator: the arrays are NumPy's."""

    malloc = None


@contextmanager
def using_allocator(allocator: Any = None) -> Iterator[None]:
    yield


cuda = ModuleType("cupy.cuda")
cuda.__dict__.update(
    Device=Device,
    Stream=Stream,
    Graph=Graph,
    MemoryPool=MemoryPool,
    using_allocator=using_allocator,
    get_current_stream=lambda: _current[-1],
    is_available=lambda: True,
    runtime=SimpleNamespace(getDeviceCount=lambda: DEVICES, getDevice=lambda: 0, CUDARuntimeError=CUDARuntimeError),
)
cupy.__dict__.update(cuda=cuda, is_available=cuda.is_available)
