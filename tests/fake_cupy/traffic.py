"""What crosses between host and device: downloads, which make the host wait for the GPU ("syncs"), and uploads.

A sync costs the GPU its queue of work, so ops and backward passes must do without. Every place where CuPy waits calls
`sync`; every place where it quietly copies host data to the GPU calls `upload`. Tests read the two lists, or forbid
syncs with `no_sync()`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

syncs: list[str] = []
uploads: list[str] = []
_forbidding = 0


class HostSync(RuntimeError):
    """Raised at a sync inside `no_sync()`: the traceback shows who made the host wait."""


def sync(what: str) -> None:
    if _forbidding:
        raise HostSync(f"{what} makes the host wait for the GPU, inside no_sync()")
    syncs.append(what)


def upload(what: str) -> None:
    uploads.append(what)


@contextmanager
def no_sync() -> Iterator[None]:
    """Inside, a sync is an error (as it is in CuPy while a stream is being captured into a graph)."""
    global _forbidding
    _forbidding += 1
    try:
        yield
    finally:
        _forbidding -= 1


def reset() -> None:
    syncs.clear()
    uploads.clear()
