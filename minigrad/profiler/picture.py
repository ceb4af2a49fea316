"""The live memory over time as a picture: areas for the ops that made it, above what each thread was doing.
Hand-written SVG.

Time is cut into as many columns as there are pixels. A column shows the memory at its fullest moment and, for a thread,
what took most of it, so the file stays small however long the profile was.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from minigrad.profiler.table import size

if TYPE_CHECKING:
    from minigrad.profiler.events import Event, Profile

LEFT, WIDTH, RIGHT = 150, 760, 230  # pixels
TOP, HEIGHT, ROW = 88, 300, 13  # of the areas; of a row below them
COLORS = (
    "#4477aa",
    "#ee6677",
    "#228833",
    "#ccbb44",
    "#66ccee",
    "#aa3377",
    "#ee8866",
    "#44bb99",
    "#99762b",
)  # most of them Paul Tol's
GRADIENTS, OTHERS = "gradients", "others"
GREYS = {GRADIENTS: "#777777", OTHERS: "#bbbbbb"}


class Block(NamedTuple):
    begin: float
    end: float

    def column(self, time: float) -> int:
        return min(max(int((time - self.begin) / self.step), 0), WIDTH - 1)

    @property
    def step(self) -> float:
        return max(self.end - self.begin, 1e-9) / WIDTH


def draw(profile: Profile) -> str:
    """The last block of the profile, as SVG text."""
    block = Block(*profile.blocks[-1])
    events = [event for event in profile.events if event.end > block.begin]
    columns = list(memory_columns(profile.memory.changes, block))
    fullest = max(columns, key=Counter.total)
    colors = _colors(fullest, events)
    height = max(TOP + HEIGHT + 40 + len(_threads(events)) * (2 * ROW + 12), TOP + 19 * len(colors) + 20)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + RIGHT} {height}" font-family="sans-serif">',
            '<rect width="100%" height="100%" fill="white"/>',
            *_title(fullest),
            *_scale(fullest.total(), block),
            *_areas(columns, fullest.total(), colors),
            *_peak(columns, fullest),
            *_lanes(events, block, colors),
            *_legend(fullest, colors),
            "</svg>",
            "",
        ]
    )


# --- what is shown in each column -------------------------------------------------------------------------------------


def memory_columns(changes: Iterable[tuple[float, str, int]], block: Block) -> Iterator[Counter[str]]:
    """The bytes alive by label, at the fullest moment of each column."""
    alive: Counter[str] = Counter()
    waiting = sorted(changes, key=lambda change: change[0], reverse=True)
    for column in range(-1, WIDTH):  # first all that was before
        until, fullest = block.begin + (column + 1) * block.step, alive.copy()
        while waiting and (waiting[-1][0] <= until or column == WIDTH - 1 and waiting[-1][0] <= block.end):
            _, label, change = waiting.pop()
            alive[label] += change
            if alive.total() > fullest.total():
                fullest = alive.copy()
        if column >= 0:
            yield fullest


def row_columns(events: Iterable[Event], block: Block) -> list[str | None]:
    """The name of what took most of each column; of two, one inside the other, the inner one."""
    names: list[str | None] = [None] * WIDTH
    most = [0.0] * WIDTH
    for event in sorted(events, key=lambda event: event.start):
        for column in range(block.column(event.start), block.column(event.end) + 1):
            left = block.begin + column * block.step
            seconds = min(event.end, left + block.step) - max(event.start, left)
            if seconds >= most[column]:
                names[column], most[column] = event.name, seconds
    return names


def _colors(fullest: Counter[str], events: Iterable[Event]) -> dict[str, str]:
    """A color for each name: those with most memory, then with most time; the rest are others. In the order of the
    areas, lowest first.
    """
    seconds: Counter[str] = Counter()
    for event in events:
        seconds[event.name] += event.seconds  # type: ignore[assignment]
    by_memory = [label for label, count in fullest.most_common() if count > 0.01 * fullest.total()]
    by_time = [name for name, _ in seconds.most_common()]
    names = [name for name in dict.fromkeys([*by_memory, *by_time]) if name != GRADIENTS]
    greys = [name for name, there in ((GRADIENTS, fullest[GRADIENTS]), (OTHERS, len(names) > len(COLORS))) if there]
    return dict(zip(names, COLORS)) | {name: GREYS[name] for name in greys}


# --- its drawing ------------------------------------------------------------------------------------------------------


def _title(fullest: Counter[str]) -> list[str]:
    return [
        _text(20, 28, f"Live memory, at most {size(fullest.total())}", size=17, weight="bold"),
        _text(
            20,
            48,
            "arrays that ops returned or keep for their gradients, by the op that made them; and gradients on their "
            "way",
            fill="#555",
        ),
    ]


def _scale(top: float, block: Block) -> list[str]:
    """Lines for round numbers of bytes and milliseconds."""
    lines, bottom = [], TOP + HEIGHT
    unit = 1024 ** min(int(math.log(max(top, 1), 1024)), 3)
    for count in _round_numbers(top / unit):
        y = _height(count * unit, top)
        lines += [
            _line(LEFT, y, LEFT + WIDTH, y),
            _text(LEFT - 8, y + 4, size(count * unit), anchor="end", fill="#555"),
        ]
    for milliseconds in _round_numbers(1e3 * (block.end - block.begin)):
        x = LEFT + milliseconds / 1e3 / block.step
        lines += [
            _line(x, bottom, x, bottom + 5),
            _text(x, bottom + 19, f"{milliseconds:g}", anchor="middle", fill="#555"),
        ]
    return [*lines, _text(LEFT + WIDTH + 8, bottom + 19, "ms", fill="#555")]


def _peak(columns: Sequence[Counter[str]], fullest: Counter[str]) -> list[str]:
    """The peak, and the head of the numbers in the legend, which are of the peak."""
    x = LEFT + columns.index(fullest) + 0.5
    return [
        f'<line x1="{x}" y1="{TOP - 8}" x2="{x}" y2="{TOP + HEIGHT}" stroke="#000" stroke-dasharray="2 3"/>',
        _text(x, TOP - 12, f"peak, {size(fullest.total())}", anchor="middle"),
        _text(LEFT + WIDTH + 30 + 185, TOP - 12, "at the peak", anchor="end", fill="#555"),
    ]


def _areas(columns: Sequence[Counter[str]], top: float, colors: dict[str, str]) -> Iterator[str]:
    """One on top of the other: steps along the upper edge, and back along the lower one."""
    lower = [0] * WIDTH
    for name, color in colors.items():
        upper = [y + (_others(column, colors) if name == OTHERS else column[name]) for y, column in zip(lower, columns)]
        if upper != lower:
            points = " ".join(
                f"{LEFT + x},{_height(y, top):.1f}" for x, y in [*_corners(upper), *reversed(_corners(lower))]
            )
            yield f'<polygon points="{points}" fill="{color}"><title>{_escaped(name)}</title></polygon>'
        lower = upper


def _corners(values: Sequence[int]) -> list[tuple[int, int]]:
    """Where a line of steps begins or ends a step."""
    return [(x, value) for value, left, width in _runs(values) for x in (left, left + width)]


def _others(column: Counter[str], colors: dict[str, str]) -> int:
    return sum(count for name, count in column.items() if name not in colors)


def _lanes(events: Sequence[Event], block: Block, colors: dict[str, str]) -> Iterator[str]:
    """Two rows for each thread: what it did forward, and backward. Spans take both."""
    for number, thread in enumerate(_threads(events)):
        y = TOP + HEIGHT + 36 + number * (2 * ROW + 12)
        yield _text(20, y + ROW + 4, thread)
        for row, way in enumerate(("forward", "backward")):
            mine = [event for event in events if event.thread == thread and event.way in (way, "span")]
            yield f'<rect x="{LEFT}" y="{y + row * ROW}" width="{WIDTH}" height="{ROW}" fill="#f0f0f0"/>'
            yield _text(LEFT + WIDTH + 8, y + row * ROW + 10, way, fill="#555")
            for name, left, width in _runs(row_columns(mine, block)):
                if name is not None:
                    yield (
                        f'<rect x="{LEFT + left}" y="{y + row * ROW}" width="{width}" height="{ROW}" '
                        f'fill="{colors.get(name, GREYS[OTHERS])}"><title>{_escaped(name)}</title></rect>'
                    )


def _threads(events: Iterable[Event]) -> list[str]:
    """By the time that they first did something."""
    return list(dict.fromkeys(event.thread for event in sorted(events, key=lambda event: event.start)))


def _runs(columns: Iterable[Any]) -> Iterator[tuple[Any, int, int]]:
    """What neighbours have in common, the first column of them, and how many there are."""
    left = 0
    for value, run in groupby(columns):
        width = len(list(run))
        yield value, left, width
        left += width


def _legend(fullest: Counter[str], colors: dict[str, str]) -> Iterator[str]:
    """The areas from the top down, with their bytes at the fullest moment; then what only took time."""
    x, y = LEFT + WIDTH + 30, TOP
    for name, color in reversed(colors.items()):
        count = _others(fullest, colors) if name == OTHERS else fullest[name]
        yield f'<rect x="{x}" y="{y}" width="12" height="12" fill="{color}"/>'
        yield _text(x + 18, y + 11, name)
        yield _text(x + 185, y + 11, size(count) if count else "", anchor="end", fill="#555")
        y += 19


def _height(count: float, top: float) -> float:
    return TOP + HEIGHT * (1 - count / max(top, 1))


def _round_numbers(top: float) -> list[float]:
    """Some numbers from 0 to `top`, at most eight."""
    rough = max(top, 1e-9) / 7
    ten = 10.0 ** math.floor(math.log10(rough))
    step = next(ten * times for times in (1, 2, 5, 10) if ten * times >= rough)
    return [step * i for i in range(int(top / step) + 1)]


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#ddd"/>'


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _text(
    x: float, y: float, text: str, anchor: str = "start", fill: str = "#000", size: int = 12, weight: str = "normal"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}" font-size="{size}" font-weight="{weight}">'
        f"{_escaped(text)}</text>"
    )
