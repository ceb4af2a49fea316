"""In which order a stage of a pipeline computes its micro-batches. Each schedule is a pure function.

The layers of a model are divided among p ranks, the stages. A batch is divided into m micro-batches, which go through
the stages one after the other: forwards from the first stage to the last, then backwards from the last to the first.
While the first micro-batches come in and the last ones go out, some stages have nothing to do: the bubble. With
forward and backward passes that take the same time on each stage, each rank is idle for p − 1 of its m + p − 1 turns.

    gpipe           all forwards, then all backwards (Huang et al. 2019, arXiv 1811.06965). A stage holds the
                    activations of all m micro-batches
    one_f_one_b     a backward as soon as it is possible: one forward, one backward in turns (Narayanan et al. 2019,
                    PipeDream, arXiv 1806.03377; with one version of the weights: arXiv 2006.09503). The bubble is the
                    same, but a stage holds the activations of at most p − rank micro-batches
    interleaved     each rank has several shorter parts of the model, `chunks`. Rank r has parts r, p + r, 2 p + r ...
                    So a micro-batch comes to the last rank sooner, and the bubble is shorter by the factor 1 / chunks
                    (Narayanan et al. 2021, Megatron-LM, arXiv 2104.04473, section 2.2). It sends more

one_f_one_b for p = 3, m = 4. Digits are forwards; a letter is a backward, which takes twice as long: a is that of 0.

    rank 0   012....aa3bb.cc.dd
    rank 1   .01..aa2bb3cc.dd..
    rank 2   ..0aa1bb2cc3dd....
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

Kind = Literal["forward", "backward"]


class Action(NamedTuple):
    """What a stage does next: the forward or the backward pass of a micro-batch through one of its chunks."""

    kind: Kind
    micro_batch: int
    chunk: int = 0  # 0 unless a rank has several parts of the model


Schedule = Callable[[int, int, int], list[Action]]  # takes rank, stages, micro_batches


def gpipe(rank: int, stages: int, micro_batches: int) -> list[Action]:
    """All forwards, then all backwards, the newest first: its activations are still in the cache of the processor."""
    numbers = range(micro_batches)
    return [Action("forward", n) for n in numbers] + [Action("backward", n) for n in reversed(numbers)]


def one_f_one_b(rank: int, stages: int, micro_batches: int) -> list[Action]:
    """As few forwards as possible before the first backward, then one of each in turns."""
    # The first micro-batch needs stages - 1 - rank more forwards until it comes back. This many may begin meanwhile.
    warmup = min(stages - 1 - rank, micro_batches)
    forwards, backwards = (
        [Action("forward", n) for n in range(micro_batches)],
        [Action("backward", n) for n in range(micro_batches)],
    )
    return _in_turns(forwards, backwards, warmup)


def interleaved(rank: int, stages: int, micro_batches: int, chunks: int) -> list[Action]:
    """one_f_one_b for `chunks` parts of the model on each rank. Raises ValueError if the micro-batches do not fit."""
    if micro_batches % stages:
        raise ValueError(
            f"the interleaved schedule needs micro-batches in multiples of the {stages} stages, got {micro_batches}"
        )
    # Micro-batches go in groups of `stages`: a group goes through chunk 0, then through chunk 1 ... When the last of it
    # has left rank 0, the first of it is back at rank 0 for the next chunk.
    order = [
        (group + n, chunk)
        for group in range(0, micro_batches, stages)
        for chunk in range(chunks)
        for n in range(stages)
    ]
    forwards = [Action("forward", n, chunk) for n, chunk in order]
    backwards = [Action("backward", n, chunks - 1 - chunk) for n, chunk in order]
    # The first micro-batch is back when its group has gone through all chunks but the last, and then to the last rank
    # and back again.
    warmup = min((chunks - 1) * stages + 2 * (stages - 1 - rank), len(order))
    return _in_turns(forwards, backwards, warmup)


def _in_turns(forwards: list[Action], backwards: list[Action], warmup: int) -> list[Action]:
    """`warmup` forwards, then one forward and one backward in turns, then the backwards that are left."""
    steady = [action for pair in zip(forwards[warmup:], backwards) for action in pair]
    return forwards[:warmup] + steady + backwards[len(forwards) - warmup :]


SCHEDULES: dict[str, Schedule] = {"gpipe": gpipe, "1f1b": one_f_one_b}


def parts_of(layers: int, parts: int) -> list[range]:
    """The layers divided into neighbouring parts, whose lengths differ by at most one. The last ones are the shorter.

    Raises ValueError if a part would have no layer.
    """
    if not 1 <= parts <= layers:
        raise ValueError(f"{layers} layers cannot be divided among {parts} stages; each stage needs at least one layer")
    bounds = [-(-layers * part // parts) for part in range(parts + 1)]  # the last stage computes the head too
    return [range(*ends) for ends in zip(bounds, bounds[1:])]


def most_alive(actions: list[Action]) -> int:
    """How many micro-batches have been forward and not yet backward, at most: so many activations are in memory."""
    alive = most = 0
    for action in actions:
        alive += 1 if action.kind == "forward" else -1
        most = max(most, alive)
    return most
