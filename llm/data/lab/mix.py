"""The command `python -m llm.data mix`: documents of several sources, in proportion to weights, in random order.

Each source is read once, and its rows are copied to a file, from which any of them can be read. So memory is bounded,
a source may be compressed or standard input, and the disk must have room for a copy of the sources.
"""

from __future__ import annotations

import math
import sys
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tqdm import tqdm

import minigrad
from llm.data.errors import DataError
from llm.data.lab.account import size_of
from llm.data.lab.drawing import apportion, draw, largest_total, scaled
from llm.data.lab.folder import REPORT, Shards
from llm.data.lab.inputs import bytes_of, is_size
from llm.data.lab.source import Source
from llm.runs.files import make_folder, new_folder, write_json
from llm.runs.parsing import DEFAULT_IN_TEXT

MOST = 10**15  # documents: the places of a mixture are numbers of 64 bits


@dataclass(frozen=True)
class Mix:
    """Draw documents from several sources by weight, into a folder of JSON lines."""

    sources: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE=WEIGHT ...", help_behavior_hint="")
    ]
    """Files, folders or patterns, each with its weight, such as web/=3 books.jsonl=1: three of four from web."""
    out: Path
    """The folder that is written."""
    documents: Annotated[int | None, DEFAULT_IN_TEXT] = None
    """How many documents are drawn. Default: as many as there can be without drawing one twice."""
    by: Literal["documents", "bytes"] = "documents"
    """What the weights are shares of: a source of long documents needs fewer of them for the same share of bytes."""
    field: str = "text"
    """The field of a row that holds its text."""
    shard: float = 256
    """Megabytes of a file that is written. Then the next one begins."""
    seed: int = 0
    """Decides which documents are drawn, and in which order."""

    def __post_init__(self) -> None:
        if self.documents is not None and not 1 <= self.documents <= MOST:
            raise ValueError(f"documents= must be from 1 to {MOST:,}, got {self.documents:,}")
        if self.seed < 0 or not is_size(self.shard):
            raise ValueError("seed= must be at least 0, and shard= more than 0, and finite")
        if not self.sources:
            raise ValueError("give the sources with their weights, such as web/=3 books.jsonl=1")

    def start(self) -> None:
        if self.out.exists() and (not self.out.is_dir() or any(self.out.iterdir())):
            raise DataError(f"--out {self.out} is there already; delete it, or give another one")
        parsed = [parse_source(source) for source in self.sources]
        make_folder(self.out.parent)
        with new_folder(self.out) as folder:
            report = self._mix(folder, parsed)
        for source in report["sources"]:
            print(
                "{name}: {drawn:,} of {documents:,} documents, {bytes_drawn:,} bytes, {passes:.2f} passes".format(
                    **source
                )
            )
        print(f"written: {self.out}, {report['documents']['kept']:,} documents")

    def _mix(self, folder: Path, parsed: list[tuple[str, float]]) -> dict[str, Any]:
        with ExitStack() as stack:
            sources = [stack.enter_context(closing(Source(name, self.field, folder / f"source-{i}")))
                       for i, (name, _) in enumerate(parsed)]  # fmt: skip
            counts = self._counts(scaled([weight for _, weight in parsed]), sources)
            bytes_drawn = self._write(folder, sources, counts)
        report = self._report(parsed, sources, counts, bytes_drawn)
        write_json(folder / REPORT, report)
        return report

    def _counts(self, weights: list[float], sources: list[Source]) -> list[int]:
        """How many documents are drawn from each source."""
        if self.by == "bytes":
            weights = [weight / (source.bytes / source.documents) for weight, source in zip(weights, sources)]
        return apportion(weights, self.documents or largest_total(weights, [source.documents for source in sources]))

    def _write(self, folder: Path, sources: list[Source], counts: list[int]) -> list[int]:
        """Draw the documents. Returns how many bytes come from each source."""
        bytes_drawn = [0] * len(sources)
        places = draw(counts, [source.documents for source in sources], self.seed)
        with closing(Shards(folder, "kept", bytes_of(self.shard))) as shards:
            for number, row in tqdm(places, desc="drawing", total=sum(counts), disable=None, file=sys.stderr):
                line = sources[number].row(row)
                bytes_drawn[number] += size_of(line["text"])
                shards.write(line)
        return bytes_drawn

    def _report(
        self, parsed: list[tuple[str, float]], sources: list[Source], counts: list[int], bytes_drawn: list[int]
    ) -> dict[str, Any]:
        rows = [
            {"name": name, "weight": weight, "documents": source.documents, "drawn": count, "bytes_drawn": size,
             "passes": count / source.documents, "problems": dict(source.problems.counts)}
            for (name, weight), source, count, size in zip(parsed, sources, counts, bytes_drawn)
        ]  # fmt: skip
        options = {name: value for name, value in asdict(self).items() if name != "out"}
        kept = {"documents": {"in": sum(counts), "kept": sum(counts)}, "bytes": {"kept": sum(bytes_drawn)}}
        return {"version": minigrad.__version__, "command": "mix", "options": options, **kept, "sources": rows}


def parse_source(text: str) -> tuple[str, float]:
    """The name and the weight of "web/=3"."""
    name, sign, weight = text.rpartition("=")
    try:
        number = float(weight)
    except ValueError:
        number = math.nan
    if not sign or not name or not 0 < number < math.inf:
        raise ValueError(f"{text!r} is not a source with a weight above 0, such as web/=3")
    return name, number
