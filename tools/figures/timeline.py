"""A step of a pipeline as a picture: a row for each rank, time goes to the right, a box is a micro-batch."""

from __future__ import annotations

from collections.abc import Sequence

from llm.parallel.pipeline.schedules import SCHEDULES, most_alive
from llm.parallel.pipeline.timeline import Span, bubble, needed_before, simulate
from tools.figures import svg

LEFT, ROW, BOX = 58, 46, 28
TITLES = {"gpipe": "GPipe: all forwards, then all backwards", "1f1b": "1F1B: one forward, one backward in turns"}


def spans_of(schedule: str, stages: int, micro_batches: int) -> list[Span]:
    """When each action is computed, if a backward pass takes twice as long as a forward pass, and messages no time."""
    return simulate([SCHEDULES[schedule](rank, stages, micro_batches) for rank in range(stages)])


def draw(stages: int, micro_batches: int) -> str:
    parts, y = [svg.text(8, 20, f"Pipeline: {stages} stages, {micro_batches} micro-batches", "title")], 44.0
    for name, title in TITLES.items():
        spans = spans_of(name, stages, micro_batches)
        parts += [svg.text(8, y, title, "strong"), *_rows(spans, y + 12, stages)]
        y += 12 + ROW * stages
        parts.append(
            svg.text(LEFT, y + 6, f"ranks wait for {bubble(spans):.1%} of the time: the bubble", "quiet small")
        )
        y += 40
    parts += [
        svg.rect(8, y - 14, 14, 14, "forward", 3), svg.text(28, y - 2, "forward"),
        svg.rect(90, y - 14, 14, 14, "backward", 3), svg.text(110, y - 2, "backward"),
        svg.text(180, y - 2, "0, 1, 2 ...: micro-batch;  lines: messages", "quiet small"),
    ]  # fmt: skip
    return svg.picture(y + 10, parts, f"Timelines of {stages} stages with GPipe and with 1F1B")


def _rows(spans: Sequence[Span], y: float, stages: int) -> list[str]:
    unit = (svg.WIDTH - LEFT - 8) / max(span.end for span in spans)
    at = {(span.rank, span.action): span for span in spans}
    parts = []
    for rank in range(stages):
        top = y + rank * ROW
        held = most_alive([span.action for span in spans if span.rank == rank])
        parts += [svg.text(8, top + 13, f"rank {rank}"), svg.text(8, top + 27, f"holds {held}", "quiet small")]
        parts.append(svg.line(LEFT, top + BOX, svg.WIDTH - 8, top + BOX))
    for span in spans:  # what comes from another rank
        for need in needed_before(span.rank, span.action, stages):
            if need[0] != span.rank:
                source = at[need]
                down = span.rank > source.rank
                from_y, to_y = (y + each.rank * ROW for each in (source, span))
                x1, x2 = (LEFT + unit * time for time in (source.end, span.begin))
                parts.append(svg.line(x1, from_y + BOX * down, x2, to_y + BOX * (not down)))
    for span in spans:
        x, width = LEFT + unit * span.begin, unit * (span.end - span.begin)
        top = y + span.rank * ROW
        parts += [
            svg.rect(x + 0.5, top, width - 1, BOX, span.action.kind, 3),
            svg.text(x + width / 2, top + 18, str(span.action.micro_batch), "", "middle"),
        ]
    return parts
