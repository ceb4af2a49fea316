"""A text ends before a stop string. It may be spread over several tokens, so what may be its beginning has to wait."""

from __future__ import annotations

from collections.abc import Sequence


class StopStrings:
    """Give the pieces of a text to `feed`, and show what it returns, until a stop string is `found`.

    For example, with the stop string "END" and the pieces "at the E", "ND": "at the " is returned at once, and "E" has
    to wait. Raises ValueError if `stop` is not a list of strings of at least one character.
    """

    def __init__(self, stop: Sequence[str] = ()):
        if isinstance(stop, str) or not all(isinstance(each, str) and each for each in stop):
            raise ValueError(f"stop must be a list of strings of at least one character, got {stop!r}")
        self.stop = stop
        self.found = False
        self.waiting = ""  # text that has not been returned

    def feed(self, piece: str) -> str:
        """The text that can be shown now; may be empty."""
        self.waiting += piece
        place = find_stop(self.waiting, self.stop)
        self.found = place is not None
        # What can be shown: the text before a stop string, or what cannot be a part of one.
        ready = len(self.waiting) - length_of_possible_stop(self.waiting, self.stop) if place is None else place
        shown, self.waiting = self.waiting[:ready], self.waiting[ready:]
        return shown

    def finish(self) -> str:
        """The rest of a text that ends without a stop string."""
        rest, self.waiting = self.waiting, ""
        return rest


def find_stop(text: str, stop: Sequence[str]) -> int | None:
    """Where in `text` the first stop string begins; None if there is none."""
    found = [(begin + len(s), begin) for s in stop if (begin := text.find(s)) >= 0]
    # The first is the one that is complete first. If two end at the same place, it is the one that begins earlier.
    return min(found)[1] if found else None


def length_of_possible_stop(text: str, stop: Sequence[str]) -> int:
    """The length of the longest suffix of `text` that is the beginning of a stop string, but not the whole of it."""
    longest = min(len(text), max(map(len, stop), default=1) - 1)
    return next((n for n in range(longest, 0, -1) if any(s.startswith(text[-n:]) for s in stop)), 0)
