"""From whole arrays to those of a rank, and back: for checkpoints, which know nothing of the split.

The arrays may be weights, gradients or moments of an optimizer: by the name of the parameter, in its shape.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from llm.model.config import GPTConfig
from llm.parallel.communicators.communicator import Communicator
from llm.parallel.shards import Shard, shard
from minigrad.backend import Array

Shapes = Mapping[str, tuple[int, ...]]  # of the whole arrays, by name; in the same order on all ranks


def split_state(config: GPTConfig, state: Mapping[str, Array], rank: int, size: int) -> dict[str, Array]:
    """The parts of rank `rank` of `size`, by name. Parameters of which it has nothing are left out."""
    shards = {name: shard(config, name, whole.shape, rank, size) for name, whole in state.items()}
    return {name: part.part(state[name]) for name, part in shards.items() if part is not None}


def gather_state(
    config: GPTConfig,
    shapes: Shapes,
    own: Mapping[str, Array],
    ranks: Communicator,
    root: int = 0,
    *,
    tensor: int | None = None,
) -> Iterator[tuple[str, Array]]:
    """(name, whole array) for each name, one after the other, on rank `root`. On the others, nothing.

    `tensor`: how many neighbours have the same layers; default: all ranks. (In a pipeline, others have other layers.)
    All ranks must go through the iterator, because each of its steps sends the parts of one array.
    """
    tensor = tensor or ranks.size
    dtypes = ranks.exchange_objects([{name: array.dtype for name, array in own.items()}] * ranks.size)
    for name, shape in shapes.items():
        holders = [rank for rank, held in enumerate(dtypes) if name in held]
        if not holders:  # a moment that the optimizer of this parameter does not have
            continue
        holder = holders[0]
        first = holder - holder % tensor  # rank of the first stage that has it: a tied embedding is in two stages
        shards: list[Shard | None] = [None] * ranks.size
        shards[first : first + tensor] = [shard(config, name, shape, rank, tensor) for rank in range(tensor)]
        parts = _send_to_root(own.get(name), dtypes[holder][name], shards, shape, ranks, root)
        if ranks.rank == root:
            whole = np.empty(shape, dtypes[holder][name])
            for each, part in zip(shards, parts, strict=True):
                if each is not None:
                    each.write(part, whole)
            yield name, whole


def _send_to_root(
    own: Array | None, dtype: Any, shards: list[Shard | None], shape: tuple[int, ...], ranks: Communicator, root: int
) -> list[Array]:
    nothing = np.empty(0, dtype)
    gives = [
        nothing if own is None or shards[ranks.rank] is None or rank != root else own for rank in range(ranks.size)
    ]
    gets = [(0,) if each is None or ranks.rank != root else each.shape(shape) for each in shards]
    return ranks.all_to_all(gives, gets)
