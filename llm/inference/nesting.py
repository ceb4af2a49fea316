"""Values that are nested too deeply, such as a JSON text of 100,000 brackets, are bad input as any other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class TooDeep(ValueError):
    """A value is nested deeper than Python's functions can follow it."""


@contextmanager
def nesting_checked() -> Iterator[None]:
    """Raise TooDeep where the block raises RecursionError."""
    try:
        yield
    except RecursionError:
        raise TooDeep("it is nested too deeply") from None
