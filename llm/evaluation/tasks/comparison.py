"""Two models on the same items: is one of them better, or are the differences those of chance?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from llm.evaluation.statistics import Paired, aligned, paired
from llm.evaluation.tasks.results import TRANSFORMS, Result, finite


@dataclass(frozen=True)
class Comparison:
    """A result beside that of another model."""

    result: Result
    other: Result

    @cached_property
    def measures(self) -> dict[str, Paired]:
        """Each measure of an item minus that of the other model. Perplexities are compared by their log-likelihoods."""
        names = {"loglikelihood" if name in TRANSFORMS else name: name for name in self.result.measures}
        return {shown: paired(self.result.values(name), self.other.values(name)) for shown, name in names.items()}

    def lines(self, path: str) -> Iterator[str]:
        """The comparison as text; `path` names the other model."""
        yield f"  against {path}:"
        yield from aligned(self.other.measures, indent=4)
        yield "  difference, above 0 if the first model is better:"
        yield from aligned(self.measures, indent=4)

    def to_json(self) -> dict[str, Any]:
        return finite({name: asdict(each) for name, each in self.measures.items()})
