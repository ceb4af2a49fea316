"""The one exception of this folder, so that a command can print its sentence instead of a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

LONGEST = 80  # characters of a value from a file that a message repeats
LONGEST_REASON = 300  # of a message of another part of the program that a message repeats


class HubError(ValueError):
    """A model that cannot be used. The message names the file, and says what was found and what to do."""


def shown(value: object) -> str:
    """A value from a file for a message: its repr, shortened. A file may hold a name of a million characters."""
    text = repr(value[:LONGEST] if isinstance(value, str) else value)
    # With the quote or bracket at its end, so that a message that ends with the value does not end in a full stop.
    return text if len(text) <= LONGEST + 2 else f"{text[:LONGEST]}...{text[-1]}"


@contextmanager
def possible_model(where: object) -> Iterator[None]:
    """An error of the block, which makes a GPTConfig of what the file `where` says, becomes a HubError."""
    try:
        yield
    except HubError:
        raise
    except (ValueError, TypeError, KeyError, OverflowError, ZeroDivisionError) as error:
        text = str(error)  # it may repeat a value from the file
        reason = text if len(text) <= LONGEST_REASON else text[:LONGEST_REASON] + "..."
        raise HubError(f"{where} describes no possible model (in the names of GPTConfig: {reason})") from None
