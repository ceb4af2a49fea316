"""What a split over ranks would take: lines for train.py --dry-run.

The time is that of one process (llm/training/dry_run.py), divided as timing.py says: half the rate of a matrix product
on one core. A message between two processes of a machine is copied twice, into shared memory and out of it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from llm.model.config import GPTConfig
from llm.parallel.objective import rows_at_once
from llm.parallel.pipeline.timeline import expected_bubble
from llm.parallel.plan.memory import FULL, rank_memory
from llm.parallel.plan.split import Split
from llm.parallel.plan.timing import Machine, seconds_on_shared_cores, step_time
from llm.parallel.plan.traffic import rank_traffic
from llm.parallel.runtime import available_cores
from llm.runs.options import Options
from llm.runs.parsing import amount
from minigrad.profiler.table import size

COPIES = 2


def split_of(options: Options) -> Split:
    """The split that the options ask for."""
    parallel, training = options.parallel, options.training
    data = parallel.data_parallel or 1
    rows = rows_at_once(-(-training.batch_size // data), training.micro_batches)
    tensor, pipeline = parallel.tensor_parallel or 1, parallel.pipeline_parallel or 1
    how = {"recompute": training.recompute or parallel.zero == 3, "sequence": parallel.sequence_parallel}
    return Split(data, tensor, pipeline, rows=rows, zero=parallel.zero, muon=training.optimizer == "muon", **how)


def machine_of(options: Options, ranks: int, rate: float, efficiency: float) -> Machine:
    """`rate`: operations per second of a matrix product on one core; `efficiency`: the part that a step reaches."""
    parallel, link = options.parallel, options.parallel.link_bandwidth
    return Machine(
        flops=rate,
        efficiency=efficiency,
        memory_bandwidth=math.inf,  # it is in the efficiency
        link=copy_rate() / COPIES if link is None else amount(link, "--link-bandwidth"),
        network=amount(parallel.network_bandwidth, "--network-bandwidth"),
        ranks_per_node=min(ranks, parallel.ranks_per_node or ranks),
        precision=FULL,
    )


def copy_rate(bytes: int = 1 << 25, rounds: int = 5) -> float:
    """Bytes per second of a copy in memory; the best round."""
    source, target, best = np.ones(bytes, np.uint8), np.zeros(bytes, np.uint8), math.inf
    for _ in range(rounds):
        began = time.thread_time()
        np.copyto(target, source)
        best = min(best, time.thread_time() - began)
    return bytes / max(best, 1e-9)


def describe_split(options: Options, rate: float, efficiency: float) -> list[str]:
    """Memory of a rank and bytes that it sends in a step, by kind, for the first and the last stage, and the time; no
    lines for one process. Raises ValueError if the model cannot be split in this way. The rates: see `machine_of`.
    """
    split, config, rings = split_of(options), options.model, options.parallel.context_parallel
    if split.ranks * rings == 1:
        return []
    micro_batches = min(options.training.micro_batches, -(-options.training.batch_size // split.data))
    # Rows that cannot be divided evenly are rounded up: some ranks have a row less, and take and send less.
    batch_size = split.data * split.rows * micro_batches
    split.check(config, batch_size)
    bubble = expected_bubble(split.pipeline, micro_batches)
    others = f"{rings} context" if rings > 1 else f"{split.tensor} tensor x {split.pipeline} pipeline"
    machine = machine_of(options, split.ranks * rings, rate, efficiency)
    heading = f"ranks      {split.data} data x {others}, {micro_batches} micro-batches"
    # Ranks that divide the tokens of a text are like data ranks with shorter texts, which also send keys and values.
    ring = ring_bytes(config, rings, split.rows * micro_batches)
    config, batch_size = replace(config, context=-(-config.context // rings)), batch_size * rings
    split = replace(split, data=split.data * rings)
    return [
        heading + (f"; pipeline ranks wait {bubble:.0%} of the time" if split.pipeline > 1 else ""),
        *(line for stage in sorted({0, split.pipeline - 1}) for line in _stage(config, split, batch_size, stage, ring)),
        *_time(config, split, batch_size, machine),
    ]


def ring_bytes(config: GPTConfig, ranks: int, rows: int) -> int:
    """What a rank sends of keys, values and their gradients, if so many ranks divide the tokens of so many rows.

    Forward, keys and values go c - 1 times to the next rank. Backward they do so again, and their gradients go c times:
    2 (c - 1) + 2 (c - 1) + 2 c = 6 c - 4 arrays for each layer.
    """
    numbers = config.layers * rows * config.key_heads * config.head_size * -(-config.context // ranks)
    return FULL.activation * (6 * ranks - 4) * numbers if ranks > 1 else 0


def _stage(config: GPTConfig, split: Split, batch_size: int, stage: int, ring: int) -> list[str]:
    memory = rank_memory(config, split, batch_size, config.context, FULL, stage)
    sent = rank_traffic(config, split, batch_size, config.context, FULL.activation, (stage, 0, 0))
    of = "" if split.pipeline == 1 else f" of stage {stage + 1}"
    return [
        f"           a rank{of} takes {size(memory.total)}: {_parts(vars(memory))}",
        f"           and sends {size(sent.total + ring)} in a step: {_parts({**vars(sent), 'ring': ring})}",
    ]


def _time(config: GPTConfig, split: Split, batch_size: int, machine: Machine) -> list[str]:
    found, ranks, cores = (
        step_time(config, split, batch_size, config.context, machine),
        machine.ranks_per_node,
        available_cores(),
    )
    kinds = ", ".join(f"{name} {seconds:.2g}" for name, seconds in vars(found).items() if seconds)
    network = "" if ranks == split.ranks else f", {size(machine.network)} between nodes of {ranks} ranks"
    total = seconds_on_shared_cores(found, ranks, cores)
    shared = f"; {ranks} ranks share {cores} cores: {total:.2g} seconds" if ranks > cores else ""
    return [
        f"           a step takes about {found.total:.2g} seconds if each rank has a core ({kinds}){shared}",
        f"           with {machine.flops * machine.efficiency / 1e9:,.0f} GFLOP/s of a rank, and messages of "
        f"{size(machine.link)} per second{network}",
    ]


def _parts(kinds: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {size(number)}" for name, number in kinds.items() if number)
