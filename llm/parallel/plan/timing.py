"""The predicted time of a training step of a split: computing, messages, and the bubble of the pipeline.

    time = (m + (p − 1) / chunks) · (compute + tensor messages of a micro-batch) + pipeline and data messages + update

Computing is matrix products, and all the rest: norms, dropout, activation functions, softmax. Products take their
operations (llm/model/cost/) divided by `efficiency` times the peak. The rest is bound by memory: its arrays are those
that the backward pass needs (memory.py), and each is moved PASSES times. So narrow models reach less of the peak.

Messages are bytes (traffic.py) divided by the bandwidth of the slowest link in the group: `link` inside of a node,
`network` between nodes. What is sent while others compute is not hidden here: a plan that promises more than a run
reaches would be worse than one that promises less.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from llm.model import cost
from llm.model.config import GPTConfig
from llm.parallel.pipeline.timeline import expected_bubble
from llm.parallel.plan.memory import MIXED, Precision, mixed_bytes_per_token
from llm.parallel.plan.split import Split, flat_arrays, held_numbers
from llm.parallel.plan.traffic import Traffic, gathered_parts, rank_traffic, times_scattered

# How often each array that the backward pass needs is moved: written and read in the forward pass, read in the backward
# pass, and its gradient is written and read.
PASSES = 5


@dataclass(frozen=True)
class Machine:
    """What a rank has. Rates are those of one rank. The defaults: an A100 in the clusters of Megatron-LM."""

    memory: float = 80e9
    """Bytes."""
    flops: float = 312e12
    """Floating-point operations per second, at the peak."""
    efficiency: float = 0.65
    """The part of the peak that matrix products reach."""
    memory_bandwidth: float = 2e12
    """Bytes per second from the memory of the rank."""
    link: float = 250e9
    """Bytes per second to a rank of the same node."""
    network: float = 25e9
    """Bytes per second to a rank of another node."""
    ranks_per_node: int = 8
    precision: Precision = MIXED
    attention_weights: bool = False
    """Whether attention writes its weights to memory, as before FlashAttention."""
    scattered: bool = False
    """Whether tensor ranks send a part of x each to the next stage, as in Megatron-LM. Here each sends the whole."""

    def bandwidth(self, neighbours: int) -> float:
        """That of a group whose ranks are among so many neighbouring ones."""
        return self.link if neighbours <= self.ranks_per_node else self.network


@dataclass(frozen=True)
class StepTime:
    """Seconds of a step, by kind; of the busiest rank."""

    compute: float
    tensor: float
    pipeline: float
    bubble: float
    data: float
    update: float

    @property
    def total(self) -> float:
        return self.compute + self.tensor + self.pipeline + self.bubble + self.data + self.update


def seconds_on_shared_cores(time: StepTime, ranks: int, cores: int) -> float:
    """Seconds of a step if `ranks` of a machine share so many cores. While one waits, another one computes."""
    return max(time.total, (time.total - time.bubble) * ranks / cores)


def step_time(config: GPTConfig, split: Split, batch_size: int, context: int, machine: Machine) -> StepTime:
    """The predicted time of a step."""
    stages = sorted({0, split.pipeline // 2, split.pipeline - 1})  # one of these is the busiest
    t, p = split.tensor, split.pipeline
    itemsize = machine.precision.activation
    sent = [rank_traffic(config, split, batch_size, context, itemsize, (stage, 0, 0)) for stage in stages]

    def seconds(kind: Callable[[Traffic], int], neighbours: int) -> float:
        return max(map(kind, sent)) / machine.bandwidth(neighbours)

    compute = max(stage_seconds(config, split, batch_size, context, machine, stage) for stage in stages)
    tensor = seconds(lambda traffic: traffic.tensor + traffic.muon, t)
    bubble = expected_bubble(p, split.micro_batches(batch_size), split.chunks)
    return StepTime(
        compute=compute,
        tensor=tensor,
        pipeline=seconds(lambda traffic: traffic.pipeline, split.ranks) / (t if machine.scattered else 1),
        bubble=(compute + tensor) * bubble / (1 - bubble),
        data=data_seconds(config, split, batch_size, machine),
        update=update_seconds(config, split, machine),
    )


def data_seconds(config: GPTConfig, split: Split, batch_size: int, machine: Machine) -> float:
    """Gradients are reduce-scattered, and their sums, or with ZeRO the new weights, all-gathered."""
    each, m = machine.precision, split.micro_batches(batch_size)
    reduced = each.gradient * times_scattered(split, m)
    weight = each.weight if split.zero else each.gradient
    sent = max(
        sum(
            (part.stop - part.start) * (reduced + times * weight)
            for flat in flat_arrays(config, split, stage)
            for part, times in gathered_parts(config, split, m, stage, flat)
        )
        for stage in {0, split.pipeline - 1}
    )
    return sent * (split.data - 1) / split.data / machine.bandwidth(split.tensor * split.data)


def stage_seconds(
    config: GPTConfig, split: Split, batch_size: int, context: int, machine: Machine, stage: int
) -> float:
    """Seconds in a step for which a rank of this stage computes."""
    tokens, layers = batch_size * context / split.data, split.layers_of(config, stage)
    head = 6 * config.vocab_size * config.dim
    of_layers = cost.training_flops(config, context, recompute=split.recompute) - head
    flops = of_layers * len(layers) / config.layers + (head if stage == split.pipeline - 1 else 0)
    moved = mixed_bytes_per_token(config, split, context, layers[0], attention_weights=machine.attention_weights)
    passes = PASSES + 2 if split.recompute else PASSES  # written and read once more
    scale = machine.precision.activation / MIXED.activation
    return tokens * (
        flops / split.tensor / (machine.flops * machine.efficiency)
        + passes * scale * moved * len(layers) / machine.memory_bandwidth
    )


def update_seconds(config: GPTConfig, split: Split, machine: Machine) -> float:
    """The optimizer reads and writes all that it holds."""
    numbers = max(held_numbers(config, split, stage) for stage in {0, split.pipeline - 1})
    each = machine.precision
    moved = 2 * each.optimizer + each.gradient + each.weight
    return numbers * moved / machine.memory_bandwidth / (split.data if split.zero else 1)
