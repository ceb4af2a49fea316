"""A recorded step as a picture: a column for each rank, time goes down, a band across the ranks is a message.

All ranks send the same things here, in the same order, so that a row shows what all of them do. Green bands add up what
the ranks have; grey ones move it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from tools.figures import svg
from tools.figures.recording import Event
from tools.figures.steps import Step

MARGIN, TOP = 8, 84
COMPUTE, MESSAGE, PHASE = 26, 46, 24  # heights of rows
ADDS = ("all-reduce", "reduce-scatter")


class Row(NamedTuple):
    """The same event of all ranks, or several of them one after the other."""

    events: tuple[Event, ...]  # one for each rank
    times: int

    @property
    def phase(self) -> str:
        return self.events[0].phase

    @property
    def is_message(self) -> bool:
        return self.events[0].is_message

    @property
    def name(self) -> str:
        name, shapes = self.events[0].name, [event.shape for event in self.events]
        times = f"{self.times} x " if self.times > 1 else ""
        if not self.is_message or len(set(shapes)) > 1:
            return times + name
        return f"{times}{name}, {_shape(shapes[0])}"

    @property
    def bytes(self) -> str:
        sent = [f"{self.times * event.sent:,}" for event in self.events]
        return f"{sent[0]} bytes each" if len(set(sent)) == 1 else f"{' | '.join(sent)} bytes"


def _shape(shape: tuple[int, ...]) -> str:
    if len(shape) != 1:
        return str(shape)
    return "1 number" if shape == (1,) else f"{shape[0]:,} numbers"


def rows_of(step: Step) -> list[Row]:
    """Raises ValueError if the ranks send different things, or in another order."""
    names = [[(event.phase, event.name if event.is_message else "") for event in events] for events in step.events]
    if any(each != names[0] for each in names):
        raise ValueError("the ranks of a picture send the same things in the same order")
    groups = groupby(zip(*step.events, strict=True))
    return [Row(events, len(list(same))) for events, same in groups]


def draw(step: Step, title: str, notes: Sequence[str]) -> str:
    """`notes`: what each message is for, in their order. Raises ValueError if there are too few or too many."""
    rows, y, phase = _with_notes(rows_of(step), notes), float(TOP), ""
    parts: list[str] = []
    for row, note in rows:
        if row.phase != phase:
            phase = row.phase
            parts.append(svg.text(MARGIN, y + 15, phase, "quiet small"))
            y += PHASE
        parts += _message(row, y, note) if row.is_message else _compute(row, y)
        y += MESSAGE if row.is_message else COMPUTE
    centers = [_center(rank, step.ranks) for rank in range(step.ranks)]
    below = [svg.line(x, TOP - 4, x, y) for x in centers]
    said = "; ".join(f"{row.name}, {note}" if note else row.name for row, note in rows)
    return svg.picture(y + 6, [*_head(step, title), *below, *parts], f"{title}: {said}")


def _with_notes(rows: Sequence[Row], notes: Sequence[str]) -> list[tuple[Row, str]]:
    messages = sum(row.is_message for row in rows)
    if messages != len(notes):
        raise ValueError(f"{messages} messages have {len(notes)} notes; write what each of them is for")
    why = iter(notes)
    return [(row, next(why) if row.is_message else "") for row in rows]


def _head(step: Step, title: str) -> list[str]:
    mean = sum(step.sent) / step.ranks
    parts = [
        svg.text(MARGIN, 20, title, "title"),
        svg.text(MARGIN, 38, f"in this step a rank sends {mean:,.0f} bytes" + _about(step), "quiet small"),
    ]
    for rank, has in enumerate(step.has):
        x = _center(rank, step.ranks)
        parts += [svg.text(x, 60, f"rank {rank}", "strong", "middle"), svg.text(x, 75, has[0], "quiet small", "middle")]
    return parts


def _about(step: Step) -> str:
    return "" if len(set(step.sent)) == 1 else " (mean of the ranks)"


def _center(rank: int, ranks: int) -> float:
    width = (svg.WIDTH - 2 * MARGIN) / ranks
    return MARGIN + (rank + 0.5) * width


def _compute(row: Row, y: float) -> list[str]:
    ranks = len(row.events)
    width = (svg.WIDTH - 2 * MARGIN) / ranks - 16
    return [
        part
        for rank, event in enumerate(row.events)
        for x in [_center(rank, ranks)]
        for part in (
            svg.rect(x - width / 2, y, width, COMPUTE - 4, "idle" if event.name[0] == "(" else event.phase, 4),
            svg.text(x, y + 15, event.name, "", "middle"),
        )
    ]


def _message(row: Row, y: float, why: str) -> list[str]:
    kind = "adds" if row.events[0].name in ADDS else "moves"
    return [
        svg.rect(MARGIN, y + 1, svg.WIDTH - 2 * MARGIN, MESSAGE - 6, kind, 4),
        svg.rect(MARGIN, y + 1, 4, MESSAGE - 6, f"edge-{kind}", 2),
        svg.text(MARGIN + 12, y + 17, row.name, "strong"),
        svg.text(svg.WIDTH - MARGIN - 8, y + 17, row.bytes, "small", "end"),
        svg.text(MARGIN + 12, y + 33, why, "small"),
    ]
