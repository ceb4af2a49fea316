"""The account of the lab: how many documents came in, and what became of them. It is the content of report.json.

documents in = kept + dropped + problems, always.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llm.data.lab.verdict import Verdict
from llm.data.problems import Problem

NO_EDITS: Mapping[str, int] = {}


def size_of(text: str) -> int:
    """The bytes of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


@dataclass
class Account:
    """Counts of documents and bytes, and of the numbers that rules have measured."""

    documents: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(("in", "kept", "dropped"), 0)))
    bytes: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(("in", "kept", "dropped"), 0)))
    problems: Counter[str] = field(default_factory=Counter)  # by name
    edits: Counter[str] = field(default_factory=Counter)  # by name
    dropped: dict[str, Counter[str]] = field(default_factory=dict)  # by rule: documents and bytes
    thresholds: dict[str, float] = field(default_factory=dict)  # by rule
    numbers: dict[str, Counter[float]] = field(default_factory=dict)  # by rule: how often each number was measured
    first_problems: dict[str, str] = field(default_factory=dict)  # by name: where the first one is, and what it is

    def problem(self, problem: Problem) -> None:
        self.documents["in"] += 1
        self.problems[problem.name] += 1
        self.first_problems.setdefault(problem.name, str(problem))

    def document(
        self,
        text: str,
        verdicts: Sequence[Verdict] = (),
        edited: str | None = None,
        edits: Mapping[str, int] = NO_EDITS,
    ) -> Verdict | None:
        """Count a document. It is dropped if the last verdict says so, which is then returned."""
        size, dropped = size_of(text), verdicts[-1] if verdicts and not verdicts[-1].kept else None
        for verdict in verdicts:
            self.measured(verdict)
        if dropped:
            self.dropped.setdefault(dropped.rule, Counter()).update(documents=1, bytes=size)
        end = "dropped" if dropped else "kept"
        self.documents.update(("in", end))
        self.bytes["in"] += size
        self.bytes[end] += size if dropped or edited is None else size_of(edited)
        self.edits.update(edits)
        return dropped

    def measured(self, verdict: Verdict) -> None:
        self.thresholds[verdict.rule] = verdict.threshold
        self.numbers.setdefault(verdict.rule, Counter())[two_digits(verdict.number)] += 1

    def to_json(self) -> dict[str, Any]:
        return {
            "documents": {**self.documents, "problems": self.problems.total()},
            "bytes": dict(self.bytes),
            "dropped": {rule: dict(counts) for rule, counts in self.dropped.items()},
            "problems": dict(self.problems),
            "first_problems": self.first_problems,
            "edits": dict(self.edits),
            "numbers": {
                rule: {"threshold": self.thresholds[rule], "histogram": sorted(map(list, counts.items()))}
                for rule, counts in self.numbers.items()
            },
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Account:
        documents = {name: count for name, count in data["documents"].items() if name != "problems"}
        return cls(
            Counter(documents),
            Counter(data["bytes"]),
            Counter(data["problems"]),
            Counter(data["edits"]),
            {rule: Counter(counts) for rule, counts in data["dropped"].items()},
            {rule: numbers["threshold"] for rule, numbers in data["numbers"].items()},
            {rule: Counter(dict(numbers["histogram"])) for rule, numbers in data["numbers"].items()},
            dict(data.get("first_problems", {})),
        )

    def __str__(self) -> str:
        documents, sizes = self.documents, self.bytes
        lines = [
            f"documents  {documents['in']:,} = {documents['kept']:,} kept + {documents['dropped']:,} dropped + "
            f"{self.problems.total():,} problems",
            f"bytes      {sizes['in']:,}, of which {sizes['kept']:,} are kept",
        ]
        dropped = Counter({rule: counts["documents"] for rule, counts in self.dropped.items()})
        lines += [f"dropped    {count:>9,}  {rule}" for rule, count in dropped.most_common()]
        for name, count in self.problems.most_common():
            first = f", the first in {self.first_problems[name]}" if name in self.first_problems else ""
            lines.append(f"problems   {count:>9,}  {name}{first}")
        if "no_text" in self.problems:
            lines.append(f"{'':22}--field NAME says in which field the text is")
        lines += [f"edited     {count:>9,}  times {name}" for name, count in self.edits.most_common()]
        return "\n".join(lines)


def two_digits(number: float) -> float:
    """Rounded to two significant digits, so that a histogram is short whatever is measured."""
    return float(f"{number:.1e}")
