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


class HostSync(RuntimeError):
    """Raised at a sync inside `no_sync()`: the traceback shows which code made the host wait."""


def sync(what: str) -> None:
    if _forbidding:
        raise HostSync(f"{what} makes the host wait for the GPU, inside no_sync()")
    syncs.append(what)


def upload(what: str) -> None:
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
