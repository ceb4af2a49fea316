"""What the page shows, collected from a folder of the lab. A folder of any size takes bounded memory.

Examples are drawn by their source (sample.py): so the same folder always gives the same page, and all documents of a
cluster are drawn together.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llm.data.errors import DataError
from llm.data.lab.folder import REPORT
from llm.data.lab.sample import Sample
from llm.data.names import refuse_unfinished
from llm.runs.files import read_json

MOST_RULES = 80
EXAMPLES = 4  # of each rule
SAMPLED = 5  # documents before, and documents after
CLUSTERS = 8
SHOWN_OF_CLUSTER = 3  # its duplicates
LONGEST = 20_000  # characters that are kept of a text
LONGEST_NAME = 300  # characters of a source or the name of a rule

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Example:
    """A document, with why it was dropped, if it was."""

    text: str  # its beginning
    source: str
    characters: int
    number: float = 0.0
    duplicate_of: str | None = None
    similarity: float | None = None


@dataclass
class RuleFindings:
    """What a rule did."""

    name: str
    threshold: float | None = None
    histogram: list[tuple[float, int]] = field(default_factory=list)  # numbers, and how many documents had them
    documents: int = 0  # that it took
    bytes: int = 0
    below: int = 0  # of the documents that it took: how many had a number below the threshold
    above: int = 0
    examples: Sample[Example] = field(default_factory=lambda: Sample(EXAMPLES))

    @property
    def reached(self) -> int:
        """How many documents came as far as this rule."""
        return max(self.documents, sum(count for _, count in self.histogram))

    @property
    def takes_below(self) -> bool | None:
        """Whether it takes numbers below the threshold, or those above; None if that cannot be seen."""
        # Not of all documents alike: one that a chain of near duplicates leads to may be below their threshold.
        return None if self.below == self.above else self.below > self.above


@dataclass
class Findings:
    """All that a chapter of the page shows."""

    folder: Path
    report: Mapping[str, Any]
    rules: dict[str, RuleFindings] = field(default_factory=dict)
    before: Sample[Example] = field(default_factory=lambda: Sample(SAMPLED))
    after: Sample[Example] = field(default_factory=lambda: Sample(SAMPLED))
    lengths: dict[str, Counter[int]] = field(default_factory=lambda: {"kept": Counter(), "dropped": Counter()})
    clusters: Sample[Example] = field(default_factory=lambda: Sample(CLUSTERS, SHOWN_OF_CLUSTER))
    firsts: dict[str, Example] = field(default_factory=dict)  # the documents that were kept of the clusters, by source
    unreadable: int = 0  # lines of the folder

    def count(self, kind: str, name: str) -> int:
        """A number of the report, such as ("documents", "kept")."""
        return int(self.report.get(kind, {}).get(name, 0))

    def rule(self, name: str) -> RuleFindings | None:
        if name not in self.rules and len(self.rules) < MOST_RULES:
            self.rules[name] = RuleFindings(name)
        return self.rules.get(name)


def collect(folder: Path, progress: Any) -> Findings:
    """Read a folder. `progress(bytes)` is called for each line."""
    findings = Findings(folder, read_report(folder))
    _add_rules(findings)
    for row in rows(folder, "dropped", findings, progress):
        _add_dropped(findings, row)
    wanted = {example.duplicate_of for example in findings.clusters.items()}
    for row in rows(folder, "kept", findings, progress):
        example = example_of(row)
        _count(findings, "kept", row, example)
        findings.after.offer(example.source, example)
        if row["source"] in wanted:
            findings.firsts[row["source"]] = example
    return findings


def _add_rules(findings: Findings) -> None:
    """What the report says of each rule."""
    for name, numbers in findings.report.get("numbers", {}).items():
        if rule := findings.rule(name):
            rule.threshold, rule.histogram = numbers["threshold"], [(x, n) for x, n in numbers["histogram"]]
    for name, counts in findings.report.get("dropped", {}).items():
        if rule := findings.rule(name):
            rule.documents, rule.bytes = counts["documents"], counts["bytes"]


def read_report(folder: Path) -> dict[str, Any]:
    """report.json. Raises DataError if the folder is not one of `clean` or `dedup`, or is not whole."""
    refuse_unfinished(folder)
    try:
        report = read_json(folder / REPORT)
        if not all(isinstance(report.get(name, {}), dict) for name in ("documents", "bytes", "dropped", "numbers")):
            raise ValueError("it is not as `clean` writes it")
    except ValueError as error:
        raise DataError(f"{folder / REPORT}: {error}; give a folder that `clean` or `dedup` has written") from None
    return report


def rows(folder: Path, kind: str, findings: Findings, progress: Any) -> Iterator[Row]:
    """The rows of all shards of a kind. What is no row is counted."""
    for path in sorted(folder.glob(f"{kind}-*.jsonl")):
        with open(path, "rb") as file:
            for line in file:
                progress(len(line))
                try:
                    row = json.loads(line)
                    is_row = isinstance(row["text"], str) and isinstance(row["source"], str)
                except (ValueError, KeyError, TypeError, RecursionError):
                    is_row = False
                if is_row:
                    yield row
                else:
                    findings.unreadable += 1


def example_of(row: Row, dropped: Mapping[str, Any] | None = None) -> Example:
    text, number = row["text"], (dropped or {}).get("number", 0.0)
    similarity = row.get("similarity")
    return Example(
        text[:LONGEST],
        row["source"][:LONGEST_NAME],
        len(text),
        number if isinstance(number, (int, float)) else 0.0,
        row["duplicate_of"] if isinstance(row.get("duplicate_of"), str) else None,
        similarity if isinstance(similarity, (int, float)) else None,
    )


def _add_dropped(findings: Findings, row: Row) -> None:
    dropped = row.get("dropped")
    if not isinstance(dropped, dict):
        findings.unreadable += 1
        return
    example = example_of(row, dropped)
    _count(findings, "dropped", row, example)
    if rule := findings.rule(str(dropped.get("rule"))[:LONGEST_NAME]):
        rule.examples.offer(example.text, example)  # by its text: copies are one example
        if isinstance(rule.threshold, (int, float)):
            rule.below += example.number < rule.threshold
            rule.above += example.number > rule.threshold
    if example.duplicate_of is not None and example.similarity != 1:
        findings.clusters.offer(example.duplicate_of, example)


def _count(findings: Findings, kind: str, row: Row, example: Example) -> None:
    findings.lengths[kind][len(row["text"].encode("utf-8", "replace")).bit_length()] += 1
    findings.before.offer(example.source, example)
