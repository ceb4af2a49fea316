"""Looking for the fastest split of a model over a number of ranks: all that fit are tried, and their time predicted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from llm.model import cost
from llm.model.config import GPTConfig
from llm.parallel.plan.memory import RankMemory, rank_memory
from llm.parallel.plan.split import Split
from llm.parallel.plan.timing import Machine, StepTime, step_time

USABLE = 0.9  # the part of the memory that a plan may use: libraries, buffers of messages and gaps take the rest
MOST_ROWS = 16  # of a micro-batch


@dataclass(frozen=True)
class Plan:
    """A split, and what it takes."""

    split: Split
    memory: RankMemory  # of the rank that takes the most
    time: StepTime

    def tokens_per_second(self, batch_size: int, context: int) -> float:
        return batch_size * context / self.time.total

    def of_peak(self, config: GPTConfig, batch_size: int, context: int, machine: Machine) -> float:
        """The operations of the model, without those computed again, as a part of what the ranks could do (MFU)."""
        flops = cost.training_flops(config, context) * batch_size * context
        return flops / self.time.total / self.split.ranks / machine.flops


def search(
    config: GPTConfig, ranks: int, batch_size: int, context: int, machine: Machine, *, chunks: int = 1
) -> list[Plan]:
    """All splits that fit into the memory, the fastest first. `chunks`: the most parts of the model on a rank.

    Raises ValueError if none fits, or none is possible.
    """
    plans = [
        plan_of(config, split, batch_size, context, machine)
        for split in possible_splits(config, ranks, batch_size, machine, chunks=chunks)
    ]
    if not plans:
        raise ValueError(
            f"{batch_size} rows and {config.layers} layers of {config.heads} heads cannot be divided among "
            f"{ranks} ranks; choose a batch size or a number of ranks with more divisors"
        )
    limit = USABLE * machine.memory
    fitting = [plan for plan in plans if plan.memory.total <= limit]
    if not fitting:
        least = min(plans, key=lambda plan: plan.memory.total)
        raise ValueError(
            f"no split over {ranks} ranks fits into {limit / 1e9:.1f} GB, {USABLE:.0%} of the memory; "
            f"the smallest takes {least.memory.total / 1e9:.1f} GB a rank; use more ranks, or a shorter context"
        )
    return sorted(fitting, key=lambda plan: (plan.time.total, plan.memory.total))


def plan_of(config: GPTConfig, split: Split, batch_size: int, context: int, machine: Machine) -> Plan:
    memories = [
        rank_memory(config, split, batch_size, context, machine.precision, stage)
        for stage in sorted({0, split.pipeline - 1})
    ]
    return Plan(
        split, max(memories, key=lambda memory: memory.total), step_time(config, split, batch_size, context, machine)
    )


def possible_splits(
    config: GPTConfig, ranks: int, batch_size: int, machine: Machine, *, chunks: int = 1
) -> Iterator[Split]:
    """All splits over so many ranks that the program can compute. Tensor ranks stay within a node."""
    for tensor, pipeline in product(divisors(ranks), divisors(ranks)):
        if tensor > machine.ranks_per_node or ranks % (tensor * pipeline) or pipeline > config.layers:
            continue
        if tensor > 1 and config.qk_norm and config.qk_norm_all:
            continue  # for what is sent then there is no formula
        data = ranks // (tensor * pipeline)
        for rows, parts, recompute in product(rows_of(batch_size, data), range(1, chunks + 1), (False, True)):
            for zero in zeros_of(data, pipeline):
                sequence = tensor > 1 and config.experts is None
                split = Split(data, tensor, pipeline, rows, parts, zero, recompute, sequence)
                if is_possible(config, split, batch_size):
                    yield split


def is_possible(config: GPTConfig, split: Split, batch_size: int) -> bool:
    try:
        split.check(config, batch_size)
    except ValueError:
        return False
    return True


def zeros_of(data: int, pipeline: int) -> tuple[int, ...]:
    """ZeRO 1 costs nothing. 2 divides gradients, but a pipeline has them whole until the last micro-batch is back."""
    if data == 1:
        return (0,)
    return (1,) if pipeline > 1 else (1, 2, 3)


def rows_of(batch_size: int, data: int) -> Iterator[int]:
    """Powers of two that divide the rows of a data rank."""
    rows = 1
    while batch_size % (data * rows) == 0 and rows <= MOST_ROWS:
        yield rows
        rows *= 2


def divisors(n: int) -> list[int]:
    return [d for d in range(1, n + 1) if n % d == 0]
