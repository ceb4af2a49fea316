"""Ctrl-C, SIGTERM and a closed terminal: training finishes its update; before training, files are cleaned up."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from llm.console import STOP_SIGNALS

Handler = Any  # a function of (number, frame), or one of the constants of the module `signal`


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP, as an exception: `finally` blocks clean up, as after Ctrl-C."""

    def __init__(self, number: int):
        super().__init__(f"signal {number}")
        self.number = number


@contextmanager
def cleaning_up() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise Terminated in the block. Elsewhere they end the process where it stands."""
    parent = os.getpid()

    def end(number: int, frame: FrameType | None) -> None:
        if os.getpid() != parent:  # this process is a fork. Its parent does the cleaning up
            os._exit(128 + number)
        raise Terminated(number)

    # Neither Ctrl-C, which raises KeyboardInterrupt, nor signals that are ignored, such as SIGHUP under `nohup`.
    before = {number: handler for number, handler in _handlers().items() if handler == signal.SIG_DFL}
    with _handled(before, end):
        yield


@contextmanager
def stop_requests() -> Iterator[list[int]]:
    """A list to which the first signal to stop appends its number. It interrupts nothing; a second one does."""
    received: list[int] = []
    # Signals that are ignored stay ignored: SIGHUP under `nohup`, Ctrl-C for a script in the background.
    before = {number: handler for number, handler in _handlers().items() if handler != signal.SIG_IGN}

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)
        signal.signal(number, before[number])  # so the next one interrupts as usual

    with _handled(before, note):
        yield received


def _handlers() -> dict[int, Handler]:
    """The handlers of the signals to stop. None in other threads: only the main thread gets signals."""
    main = threading.current_thread() is threading.main_thread()
    return {number: signal.getsignal(number) for number in STOP_SIGNALS} if main else {}


@contextmanager
def _handled(before: dict[int, Handler], handler: Handler) -> Iterator[None]:
    """Let `handler` handle the signals in `before` during the block, and what is in `before` after it."""
    try:
        for number in before:
            signal.signal(number, handler)
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
