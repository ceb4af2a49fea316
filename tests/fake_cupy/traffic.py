"""The traffic between host and device: "syncs", in which the host waits for the GPU, and uploads.

After a sync the GPU has an empty queue of work and idles, so ops and backward passes must not sync. Every function
calls `sync` where CuPy waits, and `upload` where CuPy silently copies data to the GPU. Tests read the two lists, or
forbid syncs with `no_sync()`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

syncs: list[str] = []
uploads: list[str] = []
_forbidding = 0
_capturing = False


class HostSync(RuntimeError):
    """Raised at a sync inside `no_sync()`: the traceback shows which code made the host wait."""


def set_capturing(capturing: bool) -> None:
    """While a stream is captured (launches.py), the host can neither wait nor send data."""
    global _capturing
    _capturing = capturing


def sync(what: str) -> None:
    if _capturing:
        raise HostSync(f"cudaErrorStreamCaptureUnsupported: {what} while a stream is captured")
    if _forbidding:
        raise HostSync(f"{what} makes the host wait for the GPU, inside no_sync()")
    syncs.append(what)


def upload(what: str) -> None:
    if _capturing:
        raise HostSync(f"cudaErrorStreamCaptureUnsupported: {what} while a stream is captured")
    uploads.append(what)


@contextmanager
def no_sync() -> Iterator[None]:
    """Inside, a sync raises HostSync."""
    global _forbidding
    _forbidding += 1
    try:
        yield
    finally:
        _forbidding -= 1


def reset() -> None:
    syncs.clear()
    uploads.clear()
