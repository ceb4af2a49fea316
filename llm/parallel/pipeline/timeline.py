"""Who computed what, and when: the timeline of a step of a pipeline, measured or computed, as text and as a picture.

    bubble      the part of the time in which ranks wait: 1 − (time that ranks compute) / (ranks · time of the step).
                If all stages take the same time, it is (p − 1) / (m + p − 1), for gpipe and for one_f_one_b

`simulate` computes when each action can begin, from the dependencies alone. So it also finds a deadlock.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from llm.parallel.pipeline.schedules import Action


class Span(NamedTuple):
    """An action of a rank, and when it was computed: seconds since the step began."""

    rank: int
    action: Action
    begin: float
    end: float


class Deadlock(ValueError):
    """Each rank waits for another one."""


def needed_before(rank: int, action: Action, stages: int, chunks: int = 1) -> list[tuple[int, Action]]:
    """The actions of (other) ranks whose result an action needs."""
    kind, micro_batch, chunk = action
    part, last = chunk * stages + rank, chunks * stages - 1
    if kind == "forward":
        return [_at(part - 1, Action("forward", micro_batch), stages)] if part > 0 else []
    own = rank, Action("forward", micro_batch, chunk)
    return [own] if part == last else [own, _at(part + 1, Action("backward", micro_batch), stages)]


def _at(part: int, action: Action, stages: int) -> tuple[int, Action]:
    """The action for this part of the model, and the rank that has the part."""
    return part % stages, action._replace(chunk=part // stages)


def simulate(
    schedules: Sequence[Sequence[Action]], *, chunks: int = 1, forward: float = 1.0, backward: float = 2.0
) -> list[Span]:
    """When each rank computes the actions of its schedule, if messages take no time. Raises Deadlock.

    `forward`, `backward`: seconds that such an action takes.
    """
    stages, ends = len(schedules), dict[tuple[int, Action], float]()
    spans: list[Span] = []
    done, clock = [0] * stages, [0.0] * stages
    while sum(done) < sum(map(len, schedules)):
        before = len(spans)
        for rank, actions in enumerate(schedules):
            while done[rank] < len(actions):
                action = actions[done[rank]]
                needed = needed_before(rank, action, stages, chunks)
                if any(need not in ends for need in needed):
                    break
                begin = max([clock[rank], *(ends[need] for need in needed)])
                clock[rank] = ends[rank, action] = begin + (forward if action.kind == "forward" else backward)
                spans.append(Span(rank, action, begin, clock[rank]))
                done[rank] += 1
        if len(spans) == before:
            waiting = {rank: actions[done[rank]] for rank, actions in enumerate(schedules) if done[rank] < len(actions)}
            raise Deadlock(f"all ranks wait: {waiting}")
    return spans


def bubble(spans: Sequence[Span]) -> float:
    """The part of the time of all ranks in which they wait."""
    ranks = len({span.rank for span in spans})
    length = max(span.end for span in spans) - min(span.begin for span in spans)
    return 1 - sum(span.end - span.begin for span in spans) / (ranks * length)


def expected_bubble(stages: int, micro_batches: int, chunks: int = 1) -> float:
    """The bubble if all stages take the same time and messages none: (p − 1) / (m + p − 1) with one chunk."""
    return (stages - 1) / (chunks * micro_batches + stages - 1)


def as_text(spans: Sequence[Span], width: int = 100) -> str:
    """A line for each rank. 0, 1, 2 ...: forwards, the last digit of the micro-batch. a, b, c ...: their backwards.
    A dot is time in which the rank waits.
    """
    begin, end = min(span.begin for span in spans), max(span.end for span in spans)
    ranks = sorted({span.rank for span in spans})
    lines = {rank: ["."] * width for rank in ranks}
    for rank, action, *times in spans:
        first, last = (round((time - begin) / (end - begin) * width) for time in times)
        n = action.micro_batch
        mark = str(n % 10) if action.kind == "forward" else "abcdefghij"[n % 10]
        lines[rank][first:last] = mark * (last - first)
    return "\n".join(f"rank {rank:<3} {''.join(lines[rank])}" for rank in ranks)


def draw(spans: Sequence[Span], path: str | Path, title: str = "") -> None:
    """Save the timeline as a picture: a row for each rank, a box with the number of the micro-batch for each action."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    ranks = max(span.rank for span in spans) + 1
    start = min(span.begin for span in spans)
    figure = Figure(figsize=(12, 1.2 + 0.5 * ranks), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for span in spans:
        forward, length = span.action.kind == "forward", span.end - span.begin
        shade = 0.55 + 0.3 * (span.action.chunk % 2)  # chunks in turns dark and light
        color = (*((0.25, 0.5, 0.8) if forward else (0.9, 0.55, 0.2)), shade)
        axes.barh(span.rank, length, left=span.begin - start, height=0.9, color=color, edgecolor="white", linewidth=0.5)
        axes.text(span.begin - start + length / 2, span.rank, str(span.action.micro_batch), ha="center", va="center")
    axes.set_yticks(range(ranks), [f"rank {rank}" for rank in range(ranks)])
    axes.invert_yaxis()
    axes.set_xlabel("seconds; blue: forward, orange: backward, white: the rank waits")
    axes.set_title(title or f"bubble {bubble(spans):.1%}")
    figure.savefig(str(path), dpi=120)
