"""How a training job is split over ranks, and what each rank holds of the model."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

from llm.model.config import GPTConfig
from llm.model.matrices import is_inner_matrix
from llm.parallel.pipeline.schedules import parts_of
from llm.parallel.shapes import Shape, parameter_shapes
from llm.parallel.shards import check_split, shard
from minigrad.optim.flat import even_slices, whole_slices


@dataclass(frozen=True)
class Split:
    """Numbers of ranks, and how they compute a batch. Its product is the number of ranks."""

    data: int = 1
    tensor: int = 1
    pipeline: int = 1
    rows: int = 1
    """Rows of a micro-batch, on each data rank."""
    chunks: int = 1
    """Parts of the model on each pipeline rank; more than one: the interleaved schedule."""
    zero: int = 0
    recompute: bool = False
    sequence: bool = False
    """Whether tensor ranks divide the tokens between the layers."""
    muon: bool = False
    """Whether Muon trains the matrices of the layers."""

    @property
    def ranks(self) -> int:
        return self.data * self.tensor * self.pipeline

    def micro_batches(self, batch_size: int) -> int:
        return batch_size // (self.data * self.rows)

    def check(self, config: GPTConfig, batch_size: int) -> None:
        """Raise ValueError if the model or the batch cannot be split in this way."""
        check_split(config, self.tensor)
        parts_of(config.layers, self.pipeline * self.chunks)
        if batch_size % (self.data * self.rows):
            raise ValueError(
                f"{batch_size} rows cannot be divided among {self.data} data ranks in micro-batches of {self.rows}"
            )
        if self.chunks > 1 and (self.pipeline == 1 or self.micro_batches(batch_size) % self.pipeline):
            raise ValueError("several chunks need micro-batches in multiples of the pipeline ranks, at least 2 of them")
        if self.sequence and config.experts is not None:
            raise ValueError("with experts, tensor ranks cannot divide the tokens")

    def layers_of(self, config: GPTConfig, stage: int) -> list[int]:
        """The layers of a pipeline rank, those of all its chunks."""
        parts = parts_of(config.layers, self.pipeline * self.chunks)
        return [layer for part in parts[stage :: self.pipeline] for layer in part]


def held(config: GPTConfig, split: Split, stage: int, tensor_rank: int = 0) -> tuple[tuple[str, Shape], ...]:
    """Name and shape of what a rank holds of the parameters, before ZeRO divides it."""
    return _held(config, split.pipeline, split.chunks, split.tensor, stage, tensor_rank)


def held_numbers(config: GPTConfig, split: Split, stage: int, tensor_rank: int = 0) -> int:
    """How many numbers that is."""
    return sum(math.prod(shape) for _, shape in held(config, split, stage, tensor_rank))


class FlatArray(NamedTuple):
    """Parameters that an optimizer of a rank has in one flat array, before ZeRO divides it."""

    held: tuple[tuple[str, Shape], ...]
    of_muon: bool

    @property
    def bounds(self) -> list[int]:
        return [0, *accumulate(math.prod(shape) for _, shape in self.held)]

    def shards(self, ranks: int) -> list[slice]:
        return whole_slices(self.bounds, ranks) if self.of_muon else even_slices(self.bounds[-1], ranks)


@lru_cache(maxsize=256)  # a search asks for the same again and again
def flat_arrays(config: GPTConfig, split: Split, stage: int, tensor_rank: int = 0) -> list[FlatArray]:
    """With Muon there are two: its matrices, and the parameters that AdamW trains."""
    found: dict[bool, list[tuple[str, Shape]]] = {True: [], False: []}
    for name, shape in held(config, split, stage, tensor_rank):
        found[split.muon and is_inner_matrix(name, len(shape))].append((name, shape))
    return [FlatArray(tuple(each), of_muon) for of_muon, each in found.items() if each]


def shard_numbers(config: GPTConfig, split: Split, stage: int) -> int:
    """Elements of the largest shards."""
    return sum(_longest(flat.shards(split.data)) for flat in flat_arrays(config, split, stage))


def moment_numbers(config: GPTConfig, split: Split, stage: int) -> tuple[int, int]:
    """Elements of which a rank has moments at most, and those of them for which Muon has one and not two."""
    ranks = split.data if split.zero >= 1 else 1
    longest = [(_longest(flat.shards(ranks)), flat.of_muon) for flat in flat_arrays(config, split, stage)]
    return sum(n for n, _ in longest), sum(n for n, of_muon in longest if of_muon)


def _longest(shards: list[slice]) -> int:
    return max(each.stop - each.start for each in shards)


@lru_cache(maxsize=256)  # a search asks for the same again and again
def _held(
    config: GPTConfig, pipeline: int, chunks: int, tensor: int, stage: int, tensor_rank: int
) -> tuple[tuple[str, Shape], ...]:
    layers = {str(layer) for layer in Split(pipeline=pipeline, chunks=chunks).layers_of(config, stage)}
    is_first, is_last = stage == 0, stage == pipeline - 1
    found = []
    for name, shape in parameter_shapes(config):
        first, _, rest = name.partition(".")
        if first == "blocks":
            is_here = rest.partition(".")[0] in layers
        elif first in ("norm", "head"):
            is_here = is_last
        else:
            is_here = is_first or is_last and first == "embedding" and config.tied_head
        own = (
            _shape_of_part(config, re.sub(r"^blocks\.\d+", "blocks.0", name), shape, tensor_rank, tensor)
            if is_here
            else None
        )
        if own is not None:
            found.append((name, own))
    return tuple(found)


@lru_cache(maxsize=1024)  # by the name in layer 0: all layers are split alike
def _shape_of_part(config: GPTConfig, name: str, shape: Shape, rank: int, size: int) -> Shape | None:
    part = shard(config, name, shape, rank, size)
    return None if part is None else part.shape(shape)
