"""The events of a profile added up, and as text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minigrad.profiler.events import Event, Profile

HEAD = ("", "calls", "forward ms", "backward ms", "all ms", "%", "allocated", "moved", "GB/s")


@dataclass
class Row:
    """Sums over events. `calls`: of ops, those forward, or backward where there were none forward."""

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
        return (self.forward_calls or self.backward_calls) + self.spans

    @property
    def seconds(self) -> float:
        return self.forward + self.backward + self.span


def rows(events: Sequence[Event], by: str = "op") -> dict[str, Row]:
    """Events added up by their name, or with by="module" by the path of their module, blocks.* being all of blocks.0,
    blocks.1 ...

    What belongs to no module goes by its name there, too. The longest come first.
    """
    if by not in ("op", "module"):
        raise ValueError(f'a profile is shown by "op" or by "module", not by {by!r}')
    found: dict[str, Row] = {}
    for event in events:
        module = re.sub(r"\b\d+\b", "*", event.module)
        row = found.setdefault(event.name if by == "op" else module or event.name, Row())
        calls = "spans" if event.way == "span" else f"{event.way}_calls"
        setattr(row, calls, getattr(row, calls) + 1)
        setattr(row, event.way, getattr(row, event.way) + event.seconds)
        row.allocated += event.allocated
        row.moved += event.moved
    return dict(sorted(found.items(), key=lambda item: -item[1].seconds))


def table(profile: Profile, by: str = "op") -> str:
    """Rows for the mean block, their sum, and what share it is of the time that the threads had."""
    found, count = rows(profile.events, by), len(profile.blocks)
    threads = len({event.thread for event in profile.events})
    had = profile.now() * threads or 1.0
    lines = [HEAD, *(_cells(name, row, count, had) for name, row in found.items())]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEAD))]
    total = sum(row.seconds for row in found.values())
    return "\n".join(
        [
            *(
                "  ".join(
                    cell.rjust(width) if i else cell.ljust(width) for i, (cell, width) in enumerate(zip(line, widths))
                )
                for line in lines
            ),
            f"in all {1e3 * total / count:.2f} ms, {total / had:.0%} of {1e3 * profile.now() / count:.2f} ms"
            + (f" in each of {threads} threads" if threads > 1 else "")
            + (f", mean of {count}" if count > 1 else "")
            + f"; {sum(profile.looking) / had:.0%} went into looking; live memory at most {size(profile.memory.peak)}",
        ]
    )


def _cells(name: str, row: Row, count: int, had: float) -> tuple[str, ...]:
    """A row as text; where there is nothing to say, nothing."""
    forward, backward, everything = (
        f"{1e3 * seconds / count:.2f}" if seconds else "" for seconds in (row.forward, row.backward, row.seconds)
    )
    speed = f"{row.moved / row.seconds / 1e9:.1f}" if row.moved and row.seconds else ""
    return (
        name,
        f"{row.calls / count:g}",
        forward,
        backward,
        everything,
        f"{100 * row.seconds / had:.1f}",
        size(row.allocated / count) if row.allocated else "",
        size(row.moved / count) if row.moved else "",
        speed,
    )


def size(count: float) -> str:
    """A number of bytes for people: 1.5 GiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.4g} {unit}"
        count /= 1024
    return f"{count:,.4g} TiB"
