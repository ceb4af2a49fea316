"""The options of train.py for several ranks: mpiexec -n 4 python train.py ... They may change when a run is resumed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from llm.runs.parsing import DEFAULT_IN_TEXT, amount, flag

LARGEST_ZERO = 3
AXES = ("data_parallel", "tensor_parallel", "pipeline_parallel", "context_parallel")


@dataclass(frozen=True)
class ParallelOptions:
    """How the ranks that mpiexec starts divide the work: mpiexec -n 4 python train.py ..."""

    data_parallel: Annotated[int | None, DEFAULT_IN_TEXT] = None
    """Ranks that compute different rows of a batch. none, the default: the number of ranks divided by the others."""
    tensor_parallel: Annotated[int | None, DEFAULT_IN_TEXT] = None
    """Ranks that compute the same layers together: each has some heads, and some rows or columns of the matrices. none,
    the default: 1, or with --data-parallel what is left.
    """
    pipeline_parallel: Annotated[int | None, DEFAULT_IN_TEXT] = None
    """Ranks that have different layers. They work on different parts of the batch, see --micro-batches, at the same
    time. none, the default: 1, or with both others what is left.
    """
    pipeline_schedule: Literal["1f1b", "gpipe"] = "1f1b"
    """In which order a stage computes the parts of a batch. 1f1b: a backward pass as soon as it is possible, so few
    activations are in memory. gpipe: all forward passes first.
    """
    sequence_parallel: bool = False
    """With --tensor-parallel: between the products, each rank has some tokens of all texts. Less memory; as many bytes
    are sent.
    """
    context_parallel: int = 1
    """Ranks that read different tokens of the same texts, for long ones: keys and values go round (ring attention)."""
    zero: int = 0
    """What the data-parallel ranks divide instead of having it all. 1: the state of the optimizer. 2: gradients too.
    3: parameters too. Less memory; up to 2, as many bytes are sent. Results are the same.
    """
    rank_timeout: float = 600.0
    """Seconds that a rank waits for another one. Then all ranks end."""
    link_bandwidth: Annotated[str | None, DEFAULT_IN_TEXT] = None
    """For --dry-run: bytes per second that a rank sends to another one of its node, such as 10GB. none, the default:
    measured here.
    """
    network_bandwidth: str = "1.25GB"
    """For --dry-run: bytes per second that a rank sends to another node."""
    ranks_per_node: Annotated[int | None, DEFAULT_IN_TEXT] = None
    """For --dry-run: ranks of a machine. They share its cores. none, the default: all of them."""

    def __post_init__(self) -> None:
        for name in AXES:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{flag(name)} must be at least 1, got {value}")
        if not 0 <= self.zero <= LARGEST_ZERO:
            raise ValueError(f"--zero must be a number from 0 to {LARGEST_ZERO}, got {self.zero}")
        if not self.rank_timeout > 0 or math.isnan(self.rank_timeout):
            raise ValueError(f"--rank-timeout must be above 0, got {self.rank_timeout}")

        if self.ranks_per_node is not None and self.ranks_per_node < 1:
            raise ValueError(f"--ranks-per-node must be at least 1, got {self.ranks_per_node}")
        for name in ("link_bandwidth", "network_bandwidth"):
            if (value := getattr(self, name)) is not None:
                amount(value, flag(name))

    @property
    def ranks(self) -> int:
        """How many ranks the options ask for, at least."""
        return math.prod(getattr(self, name) or 1 for name in AXES)

    @property
    def given(self) -> str:
        """The options that ask for several ranks."""
        values = ((name, getattr(self, name) or 1) for name in AXES)
        return " ".join(f"{flag(name)} {value}" for name, value in values if value > 1)
