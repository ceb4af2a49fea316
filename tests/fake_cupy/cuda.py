"""`cupy.cuda`: one device and one stream, which can be chosen and waited for."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

from tests.fake_cupy.array import cupy
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


class Stream:
    null: Stream

    def synchronize(self) -> None:
        sync("Stream.synchronize()")


Stream.null = Stream()

cuda = ModuleType("cupy.cuda")
cuda.__dict__.update(
    Device=Device,
    Stream=Stream,
    get_current_stream=lambda: Stream.null,
    is_available=lambda: True,
    runtime=SimpleNamespace(getDeviceCount=lambda: DEVICES, getDevice=lambda: 0, CUDARuntimeError=CUDARuntimeError),
)
cupy.__dict__.update(cuda=cuda, is_available=cuda.is_available)
