"""The one exception of this folder, so that a command can print its sentence instead of a traceback."""

from __future__ import annotations

LONGEST = 80  # characters of a value from a file that a message repeats


class HubError(ValueError):
    """A model that cannot be used. The message names the file, and says what was found and what to do."""


def shown(value: object) -> str:
    """A value from a file for a message: its repr, shortened. A file may hold a name of a million characters."""
    text = repr(value[:LONGEST] if isinstance(value, str) else value)
    return text if len(text) <= LONGEST + 2 else text[:LONGEST] + "..."
