"""Problems of reading, for a command that does not write them to a file: the first are told, all are counted."""

from __future__ import annotations

from collections import Counter

from llm.console import say
from llm.data.problems import Problem

MOST_TOLD = 5  # of each name


class ProblemCount:
    """Called for each problem, as `read_documents` does."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def __call__(self, problem: Problem) -> None:
        self.counts[problem.name] += 1
        if self.counts[problem.name] <= MOST_TOLD:
            say(f"left out: {problem}")

    def tell(self) -> None:
        """Say how many there were, if some were not told."""
        for name, count in self.counts.items():
            if count > MOST_TOLD:
                say(f"left out: {count:,} in all with the problem {name}")
