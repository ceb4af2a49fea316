"""The two kinds of steps that clean a text: a limit keeps or drops it, a change edits it.

limit = Limit("gopher_short_doc", word_count, "at least", 50, "Gopher")
limit("Two words")                # Verdict(kept=False, rule="gopher_short_doc", number=2, threshold=50)
limit.at(1)("Two words").kept     # True: the same rule with another threshold
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from llm.data.lab.verdict import Edited, Verdict


@dataclass(frozen=True)
class Limit:
    """A rule: a text is kept if the number measured in it is at least, or at most, the threshold."""

    name: str
    measure: Callable[[str], float]
    bound: Literal["at least", "at most"]
    threshold: float
    source: str  # who uses this rule with this threshold

    def __call__(self, text: str) -> Verdict:
        number = self.measure(text)
        kept = number >= self.threshold if self.bound == "at least" else number <= self.threshold
        return Verdict(kept, self.name, number, self.threshold)

    @property
    def about(self) -> str:
        """What is measured: the first sentence of the measure's docstring."""
        measure = self.measure.func if isinstance(self.measure, partial) else self.measure
        return (measure.__doc__ or "").split("\n")[0]

    def at(self, threshold: float) -> Limit:
        """The same rule with another threshold."""
        return replace(self, threshold=threshold)


@dataclass(frozen=True)
class Change:
    """An edit with its name. To edit an edited text changes nothing."""

    name: str
    edit: Callable[[str], Edited]
    source: str
    about: str = ""  # what is edited, and by which name that is counted, if not by that of the edit

    def __call__(self, text: str) -> Edited:
        return self.edit(text)


Step = Limit | Change


def ratio(part: float, whole: float) -> float:
    """part / whole, and 0 where there is no whole, as in an empty text."""
    return part / whole if whole else 0.0
