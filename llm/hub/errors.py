"""The one exception of this folder, so that a command can print its sentence instead of a traceback."""

from __future__ import annotations

LONGEST = 80  # characters of a value from a file that a message repeats

LONGEST_REASON = 300  # of a message of another part of the program that a message repeats


class HubError(ValueError):
    """A model that cannot be used. The message names the file, and says what was found and what to do."""


def shown(value: object) -> str:
    """A value from a file for a message: its repr, shortened. A file may hold a name of a million characters."""
    # The mark is no full stop: a message may end with the value.
    text = repr(value[:LONGEST] if isinstance(value, str) else value)
    return text if len(text) <= LONGEST + 2 else text[:LONGEST] + "[...]"


def reason(error: Exception) -> str:
    """The message of an error of GPTConfig, shortened: it may repeat a value from a file."""
    text = str(error)
    return text if len(text) <= LONGEST_REASON else text[:LONGEST_REASON] + "[...]"
