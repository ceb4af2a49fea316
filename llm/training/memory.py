"""The memory that a training run needs, what this machine has, and what to do when it is not enough."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from llm.model import cost
from llm.parallel import runtime
from llm.parallel.objective import rows_at_once
from llm.parallel.selection import processes_are_faster
from llm.runs.options import Options, TrainOptions
from llm.training.trained import PAIRS, WITHOUT_LOGITS, texts_of_a_row, trained_part
from minigrad.profiler.table import size

PROGRAM = 100 << 20  # bytes: Python and the libraries
SMALLER_MODEL = "choose a smaller model (--layers, --dim, --vocab-size)"


def memory_arguments(options: Options, workers: int) -> dict[str, Any]:
    """The arguments of `cost.training_memory` that say how these options train, with this number of workers."""
    training = options.training
    rows = rows_at_once(training.batch_size, training.micro_batches)
    workers = min(workers, rows)
    objective = training.objective
    processes = processes_are_faster(cost.parameters(options.model, pairs=objective == PAIRS).total, workers)
    return {
        "batch_size": rows * texts_of_a_row(objective),
        "recompute": training.recompute,
        "workers": workers,
        "processes": processes,
        "trained": trained_part(options),
        "has_logits": objective not in WITHOUT_LOGITS,
        "muon": training.optimizer == "muon",
        "averaged": training.ema_decay > 0 or training.optimizer == "schedule-free",
        "half_copies": training.precision != "fp32",
        "pairs": objective == PAIRS,
    }


def needed(options: Options, workers: int) -> int:
    """Bytes that a training run takes at its peak."""
    return PROGRAM + cost.training_memory(options.model, **memory_arguments(options, workers)).total


def advice(options: Options, workers: int, limit: int | None) -> str:
    """What to do when a run does not fit into `limit` bytes (None: not known)."""
    training = options.training
    # With one row at a time there is one worker, and so only one gradient: the least that these three can take.
    one_row = replace(options, training=replace(training, micro_batches=training.batch_size))
    memory = cost.training_memory(options.model, **memory_arguments(one_row, workers))
    fixed = PROGRAM + memory.weights + memory.gradients + memory.optimizer
    if limit is not None and fixed > limit:
        return f"weights, gradients and optimizer alone take {size(fixed)}, with any batch size; {SMALLER_MODEL}"
    if limit is None:
        return "try more --micro-batches or --recompute, which change no gradient, or a smaller model"
    for change in cheaper(training, workers):
        need = needed(replace(options, training=change), workers)
        if need <= limit:
            return f"it fits with {flags(training, change)}, which changes no gradient"
    return (
        f"even with --micro-batches {training.batch_size} --recompute it takes {size(need)}; {SMALLER_MODEL} "
        "or a shorter --context"
    )


def cheaper(training: TrainOptions, workers: int) -> list[TrainOptions]:
    """Options that need less memory and give the same gradient. Those that cost the least time come first."""
    counts = [training.micro_batches]
    while counts[-1] < training.batch_size:
        counts.append(min(2 * counts[-1], training.batch_size))
    ways = [replace(training, micro_batches=n, recompute=r) for r in {training.recompute, True} for n in counts]

    def slowness(way: TrainOptions) -> tuple[bool, bool, int]:
        has_idle_workers = rows_at_once(way.batch_size, way.micro_batches) < min(workers, way.batch_size)
        return has_idle_workers, way.recompute, way.micro_batches

    return sorted((way for way in ways if way != training), key=slowness)


def flags(before: TrainOptions, after: TrainOptions) -> str:
    """The options to give so that `before` becomes `after`."""
    micro_batches = f"--micro-batches {after.micro_batches}" if after.micro_batches != before.micro_batches else ""
    recompute = "--recompute" if after.recompute and not before.recompute else ""
    return " ".join(filter(None, (micro_batches, recompute)))


def describe_memory(options: Options, workers: int) -> list[str]:
    """Lines of a dry run: what this machine has, and what to do if that is too little."""
    found = runtime.memory()
    if found is None:
        return ["machine    its memory is not known"]
    (total, free), need = found, needed(options, workers)
    line = f"machine    {size(total)} of memory, {size(free)} of it free; the run takes {size(need)}"
    if need <= free:
        return [line]
    problem = "more than this machine has" if need > total else "more than is free now"
    return [line, f"           this is {problem}: {advice(options, workers, free)}"]


def beyond_this_machine(options: Options, workers: int) -> list[str]:
    """A line for a run that takes more memory than this machine has: it may be killed without a word. Or no line."""
    found, need = runtime.memory(), needed(options, workers)
    if found is None or need <= found[0]:
        return []
    return [
        f"beware: the run takes {size(need)} of memory, and this machine has {size(found[0])}. A shorter --context or "
        f"a smaller --batch-size takes less. Or: {advice(options, workers, found[0])}"
    ]


@contextmanager
def advised(options: Options, workers: int) -> Iterator[None]:
    """If the block raises MemoryError, add a note to it: the advice for these options. train.py prints the note."""
    try:
        yield
    except MemoryError as error:
        found = runtime.memory()
        error.add_note(advice(options, workers, None if found is None else found[1]))
        raise
