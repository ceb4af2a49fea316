"""The one exception of this folder, so that a command can print its sentence instead of a traceback."""

from __future__ import annotations


class DataError(ValueError):
    """Data that cannot be used. The message says what was given, what was expected and what to do."""
