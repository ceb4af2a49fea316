"""The one exception of this folder, so that a command can print its sentence instead of a traceback."""

from __future__ import annotations


class RunError(ValueError):
    """A run that cannot be used. The message says what was found, what was expected and what to do."""
