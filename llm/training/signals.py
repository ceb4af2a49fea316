"""Ctrl-C and SIGTERM during training: the update that is under way is finished first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_requests() -> Iterator[list[int]]:
    """A list to which the first Ctrl-C or SIGTERM appends its number. It interrupts nothing; a second one does."""
    received: list[int] = []
    # Python delivers signals to the main thread, and only there lets handlers be set.
    signals = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.getsignal(number) for number in signals}

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)
        signal.signal(number, before[signal.Signals(number)])  # so the next one interrupts as usual

    try:
        for number in signals:
            signal.signal(number, note)
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
