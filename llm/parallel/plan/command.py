"""`python -m llm.parallel plan`: how to split a model over many GPUs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from llm.model import cost
from llm.model.presets import PRESETS, preset
from llm.parallel.plan.memory import FULL, MIXED
from llm.parallel.plan.search import search
from llm.parallel.plan.table import LEGEND, describe, draw, flags, table
from llm.parallel.plan.timing import Machine
from llm.runs.parsing import DEFAULT_IN_TEXT, amount


@dataclass(frozen=True)
class PlanOptions:
    """Find the fastest split of a model over many ranks, by a formula of memory, messages and time."""

    preset: Annotated[str, tyro.conf.arg(metavar="{" + ",".join(PRESETS) + "}")] = "gpt2"
    """The model."""
    gpus: int = 8
    """Number of ranks, each with a GPU."""
    gpu_memory: str = "80GB"
    """Memory of a GPU."""
    batch_size: int = 512
    """Rows of a batch, over all ranks."""
    context: Annotated[int | None, DEFAULT_IN_TEXT] = None
    """Tokens of a row. Default: the context of the model, at most 4096."""
    precision: Annotated[str, tyro.conf.arg(metavar="{mixed,full}")] = "mixed"
    """mixed: 16-bit numbers, with 32-bit weights in the optimizer; 18 bytes a parameter. full: 32 bits; 16 bytes."""
    gpu_flops: str = "312T"
    """Operations per second of a GPU at its peak (that of an A100 in 16 bits)."""
    efficiency: float = 0.65
    """The part of it that matrix products reach. The default fits the published runs of Megatron-LM."""
    memory_bandwidth: str = "2TB"
    """Bytes per second between a GPU and its memory."""
    link_bandwidth: str = "250GB"
    """Bytes per second that a GPU sends to another one of its node."""
    network_bandwidth: str = "25GB"
    """Bytes per second that a GPU sends to another node."""
    ranks_per_node: int = 8
    """GPUs in a node."""
    show: int = 10
    """Number of plans to show, the fastest."""
    picture: Annotated[str | None, DEFAULT_IN_TEXT] = None
    """Also draw them, into this file."""

    def __post_init__(self) -> None:
        for name in ("gpus", "batch_size", "ranks_per_node", "show"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name.replace('_', '-')} must be at least 1, got {getattr(self, name)}")
        if self.context is not None and self.context < 1:
            raise ValueError(f"--context must be at least 1, got {self.context}")
        if self.precision not in ("mixed", "full"):
            raise ValueError(f"--precision is mixed or full, not {self.precision!r}")
        if not 0 < self.efficiency <= 1:
            raise ValueError(f"--efficiency must be above 0 and at most 1, got {self.efficiency}")
        preset(self.preset)
        self.machine()

    def machine(self) -> Machine:
        return Machine(
            memory=amount(self.gpu_memory, "--gpu-memory"),
            flops=amount(self.gpu_flops, "--gpu-flops"),
            efficiency=self.efficiency,
            memory_bandwidth=amount(self.memory_bandwidth, "--memory-bandwidth"),
            link=amount(self.link_bandwidth, "--link-bandwidth"),
            network=amount(self.network_bandwidth, "--network-bandwidth"),
            ranks_per_node=self.ranks_per_node,
            precision=MIXED if self.precision == "mixed" else FULL,
        )

    def start(self) -> None:
        config, machine = preset(self.preset), self.machine()
        context = self.context or min(config.context, 4096)
        plans = search(config, self.gpus, self.batch_size, context, machine)
        best, shown = plans[0], plans[: self.show]
        total = cost.parameters(config).total
        print(f"{self.preset}: {total:,} parameters, {self.batch_size} rows of {context} tokens, {self.gpus} GPUs")
        print(f"the fastest {len(shown)} of {len(plans)} splits that fit:\n")
        print(table(shown, config, self.batch_size, context, machine))
        print(f"\n{LEGEND}\n")
        print("\n".join(describe(best)))
        print(f"options         {flags(best.split, self.batch_size)}")
        if self.picture is not None:
            draw(shown, self.picture, f"{self.preset} on {self.gpus} GPUs")
            print(f"picture         {self.picture}")
