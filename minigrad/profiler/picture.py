"""A report as a picture: areas for the live memory over time, by the op that made it, and what each worker was doing.

The SVG is written by hand. The last block of the profile is cut into as many columns as the picture has pixels. A
column shows the memory at its fullest moment and, for each worker, what took most of its time. So the file stays small
however long the profile was.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from minigrad.profiler.report import GRADIENTS, Change, Event, Report, workers
from minigrad.profiler.table import size

LEFT, WIDTH, RIGHT = 150, 760, 230  # pixels of the margins, and of the areas between them
TOP, HEIGHT, ROW = 88, 300, 13  # pixels above the areas, of the areas, and of a row below them

# Most of them are from Paul Tol's schemes, which color-blind readers can tell apart.
# fmt: off
COLORS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#ee8866", "#44bb99", "#99762b")
# fmt: on
OTHERS = "others"  # what has no color of its own
GREYS = {GRADIENTS: "#777777", OTHERS: "#bbbbbb"}

Alive = Counter[str]  # bytes alive, by label


class Block(NamedTuple):
    """The stretch of time that is drawn."""

    begin: float
    end: float

    @property
    def step(self) -> float:
        """Seconds in a column."""
        return max(self.end - self.begin, 1e-9) / WIDTH

    def column(self, time: float) -> int:
        return min(max(int((time - self.begin) / self.step), 0), WIDTH - 1)


def draw(report: Report, path: str | Path | None = None) -> str:
    """The last block as SVG text; `path`: also save it there."""
    if not report.blocks:
        raise ValueError("this profile has recorded nothing that could be drawn; run something inside `with profile:`")
    block = Block(*report.blocks[-1])
    text = _picture(block, [event for event in report.events if event.end > block.begin], report.changes)
    if path is not None:
        Path(path).write_text(text, "utf-8")
    return text


def _picture(block: Block, events: Sequence[Event], changes: Iterable[Change]) -> str:
    columns = list(memory_columns(changes, block))
    peak = max(columns, key=Counter.total)
    colors = _colors(peak, events)
    width = LEFT + WIDTH + RIGHT
    height = max(TOP + HEIGHT + 40 + len(workers(events)) * (2 * ROW + 12), TOP + 19 * len(colors) + 20)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">',
        '<rect width="100%" height="100%" fill="white"/>',
        *_title(peak),
        *_axes(peak.total(), block),
        *_areas(columns, peak.total(), colors),
        *_peak_line(columns, peak),
        *_worker_rows(events, block, colors),
        *_legend(peak, colors),
        "</svg>",
    ]
    return "\n".join([*lines, ""])


# --- what each column shows -------------------------------------------------------------------------------------------


def memory_columns(changes: Iterable[Change], block: Block) -> Iterator[Alive]:
    """The bytes alive at the fullest moment of each column."""
    alive: Alive = Counter()
    waiting = sorted(changes, key=lambda change: change[0], reverse=True)  # the next one is last
    for column in range(-1, WIDTH):  # column -1 takes in everything that happened before the block
        until, fullest = block.begin + (column + 1) * block.step, alive.copy()
        while waiting and (waiting[-1][0] <= until or column == WIDTH - 1 and waiting[-1][0] <= block.end):
            _, label, count = waiting.pop()
            alive[label] += count
            if alive.total() > fullest.total():
                fullest = alive.copy()
        if column >= 0:
            yield fullest


def longest_events(events: Iterable[Event], block: Block) -> list[str | None]:
    """For each column the name of the event that took most of its time; of nested events, the inner one."""
    names: list[str | None] = [None] * WIDTH
    longest = [0.0] * WIDTH
    for event in sorted(events, key=lambda event: event.start):  # inner events begin later, and win a tie
        for column in range(block.column(event.start), block.column(event.end) + 1):
            begin = block.begin + column * block.step
            seconds = min(event.end, begin + block.step) - max(event.start, begin)
            if seconds >= longest[column]:
                names[column], longest[column] = event.name, seconds
    return names


def _colors(peak: Alive, events: Iterable[Event]) -> dict[str, str]:
    """A color for each name, in the order of the areas, the lowest first.

    Colors go to the names with most memory at the peak, then to those with most time. The rest are `OTHERS`.
    """
    seconds: dict[str, float] = {}
    for event in events:
        seconds[event.name] = seconds.get(event.name, 0.0) + event.seconds
    by_memory = [label for label, count in peak.most_common() if count > 0.01 * peak.total()]
    by_time = sorted(seconds, key=lambda name: -seconds[name])
    names = [name for name in dict.fromkeys([*by_memory, *by_time]) if name != GRADIENTS]
    greys = {GRADIENTS: bool(peak[GRADIENTS]), OTHERS: len(names) > len(COLORS)}
    return dict(zip(names, COLORS)) | {name: GREYS[name] for name, shown in greys.items() if shown}


# --- the memory -------------------------------------------------------------------------------------------------------


def _title(peak: Alive) -> list[str]:
    what = "results of ops and arrays that they save for their gradients, by op; and gradients on their way"
    return [
        _text(20, 28, f"Live memory, peak {size(peak.total())}", size=17, weight="bold"),
        _text(20, 48, what, fill="#555"),
    ]


def _axes(top: float, block: Block) -> list[str]:
    """Marks at round numbers of bytes and milliseconds."""
    lines, bottom = [], TOP + HEIGHT
    unit = 1024 ** min(int(math.log(max(top, 1), 1024)), 3)
    for count in _round_numbers(top / unit):
        y = _height(count * unit, top)
        lines += [_line(LEFT, y, LEFT + WIDTH, y)]
        lines += [_text(LEFT - 8, y + 4, size(count * unit), anchor="end", fill="#555")]
    for milliseconds in _round_numbers(1e3 * (block.end - block.begin)):
        x = LEFT + milliseconds / 1e3 / block.step
        lines += [_line(x, bottom, x, bottom + 5)]
        lines += [_text(x, bottom + 19, f"{milliseconds:g}", anchor="middle", fill="#555")]
    return [*lines, _text(LEFT + WIDTH + 8, bottom + 19, "ms", fill="#555")]


def _peak_line(columns: Sequence[Alive], peak: Alive) -> list[str]:
    """A line at the peak, and the heading of the numbers in the legend."""
    x = LEFT + columns.index(peak) + 0.5
    return [
        f'<line x1="{x}" y1="{TOP - 8}" x2="{x}" y2="{TOP + HEIGHT}" stroke="#000" stroke-dasharray="2 3"/>',
        _text(x, TOP - 12, f"peak, {size(peak.total())}", anchor="middle"),
        _text(LEFT + WIDTH + 30 + 185, TOP - 12, "at the peak", anchor="end", fill="#555"),
    ]


def _areas(columns: Sequence[Alive], top: float, colors: dict[str, str]) -> Iterator[str]:
    """One area on top of the other. Its outline goes along the upper edge, and back along the lower one."""
    lower = [0] * WIDTH
    for name, color in colors.items():
        upper = [y + _count(name, column, colors) for y, column in zip(lower, columns)]
        if upper != lower:
            outline = [*_corners(upper), *reversed(_corners(lower))]
            points = " ".join(f"{LEFT + x},{_height(y, top):.1f}" for x, y in outline)
            yield f'<polygon points="{points}" fill="{color}"><title>{_escaped(name)}</title></polygon>'
        lower = upper


def _corners(values: Sequence[int]) -> list[tuple[int, int]]:
    """The corners of a step function with one value for each column."""
    return [(x, value) for value, left, width in _runs(values) for x in (left, left + width)]


def _count(name: str, column: Alive, colors: dict[str, str]) -> int:
    """The bytes of a name in a column; of `OTHERS`, those of all labels that have no color."""
    if name != OTHERS:
        return column[name]
    return sum(count for label, count in column.items() if label not in colors)


# --- the workers, and the legend --------------------------------------------------------------------------------------


def _worker_rows(events: Sequence[Event], block: Block, colors: dict[str, str]) -> Iterator[str]:
    """Two rows for each worker: what it did forward, and backward. Spans are in both."""
    for number, worker in enumerate(workers(events)):
        y = TOP + HEIGHT + 36 + number * (2 * ROW + 12)
        yield _text(20, y + ROW + 4, worker)
        for kind in "forward", "backward":
            shown = [event for event in events if event.worker == worker and event.kind in (kind, "span")]
            yield _rectangle(LEFT, y, WIDTH, ROW, "#f0f0f0")
            yield _text(LEFT + WIDTH + 8, y + 10, kind, fill="#555")
            for name, left, width in _runs(longest_events(shown, block)):
                if name is not None:
                    yield _rectangle(LEFT + left, y, width, ROW, colors.get(name, GREYS[OTHERS]), title=name)
            y += ROW


def _runs(columns: Iterable[Any]) -> Iterator[tuple[Any, int, int]]:
    """Neighbours with the same value as (value, the first column, the number of columns)."""
    left = 0
    for value, run in groupby(columns):
        width = len(list(run))
        yield value, left, width
        left += width


def _legend(peak: Alive, colors: dict[str, str]) -> Iterator[str]:
    """The areas from the top down, with their bytes at the peak. Names without an area only took time."""
    x, y = LEFT + WIDTH + 30, TOP
    for name, color in reversed(colors.items()):
        count = _count(name, peak, colors)
        yield _rectangle(x, y, 12, 12, color)
        yield _text(x + 18, y + 11, name)
        yield _text(x + 185, y + 11, size(count) if count else "", anchor="end", fill="#555")
        y += 19


# --- shapes -----------------------------------------------------------------------------------------------------------


def _height(count: float, top: float) -> float:
    return TOP + HEIGHT * (1 - count / max(top, 1))


def _round_numbers(top: float) -> list[float]:
    """Some numbers from 0 to `top`, at most eight: multiples of 1, 2 or 5 times a power of ten."""
    least_step = max(top, 1e-9) / 7
    power = 10.0 ** math.floor(math.log10(least_step))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least_step)
    return [step * i for i in range(int(top / step) + 1)]


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#ddd"/>'


def _rectangle(x: int, y: int, width: int, height: int, color: str, title: str = "") -> str:
    inside = f"><title>{_escaped(title)}</title></rect>" if title else "/>"
    return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="{color}"{inside}'


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _text(
    x: float, y: float, text: str, anchor: str = "start", fill: str = "#000", size: int = 12, weight: str = "normal"
) -> str:
    style = f'text-anchor="{anchor}" fill="{fill}" font-size="{size}" font-weight="{weight}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{_escaped(text)}</text>'
