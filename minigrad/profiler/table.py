"""A report as text: its events added up by op or by module."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from minigrad.profiler.report import Event, Report, workers

HEADER = ("", "calls", "forward ms", "backward ms", "total ms", "%", "allocated", "moved", "GB/s")


@dataclass
class Row:
    """Sums over events."""

    forward_calls: int = 0
    backward_calls: int = 0
    spans: int = 0
    forward: float = 0.0  # seconds
    backward: float = 0.0
    span: float = 0.0
    allocated: int = 0  # bytes
    moved: int = 0

    @property
    def calls(self) -> int:
        # An op that runs forward and then backward is one call. A checkpoint, for instance, has only backward events.
        return (self.forward_calls or self.backward_calls) + self.spans

    @property
    def seconds(self) -> float:
        return self.forward + self.backward + self.span

    def add(self, event: Event) -> None:
        calls = "spans" if event.kind == "span" else f"{event.kind}_calls"
        setattr(self, calls, getattr(self, calls) + 1)
        setattr(self, event.kind, getattr(self, event.kind) + event.seconds)
        self.allocated += event.allocated
        self.moved += event.moved


def rows(events: Iterable[Event], by: str = "op") -> dict[str, Row]:
    """Events added up by their name (by="op") or by the path of their module (by="module"), the longest first.

    Numbers in paths become stars: "blocks.*" adds up "blocks.0", "blocks.1" and so on. Events outside of all modules
    go by their name in both cases.
    """
    if by not in ("op", "module"):
        raise ValueError(f'a profile is shown by "op" or by "module", not by {by!r}')
    sums: dict[str, Row] = {}
    for event in events:
        module = re.sub(r"\b\d+\b", "*", event.module)
        sums.setdefault(event.name if by == "op" else module or event.name, Row()).add(event)
    return dict(sorted(sums.items(), key=lambda item: -item[1].seconds))


def table(report: Report, by: str = "op") -> str:
    """The table: numbers for each block on average, and a last line that compares their sum with the wall time."""
    sums, blocks = rows(report.events, by), len(report.blocks) or 1
    available = report.seconds * len(workers(report.events)) or 1.0
    cells = [HEADER, *(_cells(name, row, blocks, available) for name, row in sums.items())]
    widths = [max(map(len, column)) for column in zip(*cells)]
    return "\n".join([*(_aligned(line, widths) for line in cells), _summary(report, sums.values(), blocks, available)])


def _cells(name: str, row: Row, blocks: int, available: float) -> tuple[str, ...]:
    """A row as text. A cell is empty where there is nothing to show."""
    times = (f"{1e3 * seconds / blocks:.2f}" if seconds else "" for seconds in (row.forward, row.backward, row.seconds))
    sizes = (size(count / blocks) if count else "" for count in (row.allocated, row.moved))
    speed = f"{row.moved / row.seconds / 1e9:.1f}" if row.moved and row.seconds else ""
    return name, f"{row.calls / blocks:g}", *times, f"{100 * row.seconds / available:.1f}", *sizes, speed


def _aligned(cells: tuple[str, ...], widths: list[int]) -> str:
    """Names to the left, numbers to the right."""
    name, *numbers = cells
    return "  ".join([name.ljust(widths[0]), *(text.rjust(width) for text, width in zip(numbers, widths[1:]))])


def _summary(report: Report, sums: Iterable[Row], blocks: int, available: float) -> str:
    """The last line: how much of the available time (wall time, times the number of workers) the rows explain."""
    total, count = sum(row.seconds for row in sums), len(workers(report.events))
    each = f" in each of {count} workers" if count > 1 else ""
    mean = f", mean of {blocks} blocks" if blocks > 1 else ""
    return (
        f"total {1e3 * total / blocks:.2f} ms, {total / available:.0%} of {1e3 * report.seconds / blocks:.2f} ms"
        f"{each}{mean}; the profiler itself took {report.overhead / available:.0%}; "
        f"peak of the live memory {size(report.peak)}"
    )


def size(count: float) -> str:
    """A number of bytes in a readable unit, such as "1.5 GiB"."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.4g} {unit}"
        count /= 1024
    return f"{count:,.4g} TiB"
