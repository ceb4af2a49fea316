"""Bytes that a rank sends in a training step, by kind. They are those that `Communicator.sent` counts, to the byte.

(Only where experts are divided among tensor ranks, the bytes depend on the texts. There it is a mean.)

    pipeline    each micro-batch: x to the next stage, and its gradient to the one before. With a tied head, the first
                and the last stage give each other the gradient of the embedding
    tensor      each layer and micro-batch: two all-reduces forward, two backward; embedding, head and loss. With
                sequence parallelism, a reduce-scatter and an all-gather in place of each
    muon        its parts of matrices of layers, but for heads, to each other tensor rank once a step
    norm        a number of 64 bits to each rank that has another part of the model
    data        the gradients once a step: reduce-scatter, then all-gather of the sums (with ZeRO: of the weights).
                ZeRO 2: the reduce-scatter after each micro-batch, but once in a pipeline. ZeRO 3: also, each layer is
                gathered when it is used

An all-reduce of n numbers among t ranks is a reduce-scatter and an all-gather: a rank sends 2 n (t − 1) / t numbers.
So, with P parameters, P_l of a layer and P_o outside of layers, L layers, m micro-batches and n data ranks, a rank
sends (n − 1) / n times as many numbers as here, in the mean over the ranks:

    ZeRO 0, 1   P + P
    ZeRO 2      m P + P
    ZeRO 3      m P + P_o + (1 + 2 m (L − 1)) P_l       (the layer that was used last is not gathered again)
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from itertools import pairwise

from llm.model.config import GPTConfig
from llm.model.matrices import has_heads
from llm.parallel.data.reduction import overlap
from llm.parallel.pipeline.schedules import Kind, one_f_one_b
from llm.parallel.plan.split import FlatArray, Split, flat_arrays, held
from llm.parallel.shapes import parameter_shapes
from llm.parallel.shards import split_evenly, whole_experts
from minigrad.fused.linear_cross_entropy import CPU_CHUNK_ROWS


@dataclass(frozen=True)
class Traffic:
    """Bytes that one rank sends in a step."""

    pipeline: int
    tensor: int
    data: int
    muon: int  # with Muon, parts of matrices that tensor ranks have split
    norm: int  # to clip the gradient: each rank gives that of its part to those that have other parts of the model

    @property
    def total(self) -> int:
        return sum(astuple(self))


def rank_traffic(
    config: GPTConfig,
    split: Split,
    batch_size: int,
    context: int,
    itemsize: int,
    place: tuple[int, int, int] = (0, 0, 0),
) -> Traffic:
    """`place`: the numbers of the rank in its pipeline, data and tensor group. `itemsize`: bytes of a number."""
    if config.qk_norm_all and config.qk_norm and split.tensor > 1:
        raise ValueError("there is no formula for what tensor ranks send with qk_norm_all; use one tensor rank")
    stage, _, tensor_rank = place
    micro_batches = split.micro_batches(batch_size)
    pipeline = micro_batches * pipeline_numbers(config, split, context, stage) + tied_numbers(
        config, split, stage, tensor_rank
    )
    return Traffic(
        pipeline=itemsize * pipeline,
        tensor=itemsize * micro_batches * tensor_numbers(config, split, context, stage, tensor_rank),
        # With ZeRO, a rank knows the norm of its part of the gradient only: one number of 64 bits.
        data=itemsize * data_numbers(config, split, micro_batches, place) + (8 * (split.data - 1) if split.zero else 0),
        muon=itemsize * muon_numbers(config, split, place),
        norm=8 * (split.tensor * split.pipeline - 1),
    )


def all_reduced(n: int, rank: int, size: int) -> int:
    """Numbers that a rank sends in an all-reduce of n numbers: the parts of others, and the sum of its own to all."""
    own = len(split_evenly(n, rank, size))
    return n - own + (size - 1) * own if size > 1 else 0


def pipeline_numbers(config: GPTConfig, split: Split, context: int, stage: int) -> int:
    """Numbers that a stage sends for each micro-batch: activations onwards, gradients back."""
    last, total = split.pipeline * split.chunks - 1, 0
    for part in range(stage, last + 1, split.pipeline):
        if part < last:
            total += boundary_numbers(config, split, context, part + 1)
        if part > 0:
            total += boundary_numbers(config, split, context, part)
    return total


def boundary_numbers(config: GPTConfig, split: Split, context: int, part: int) -> int:
    """Numbers of what comes to a part of the model: x, and with the balancing loss the probabilities of the routers."""
    width = config.dim
    if config.balance_loss:
        first = -(-config.layers * part // (split.pipeline * split.chunks))  # the first layer of the part
        width += (config.experts or 0) * sum(config.has_experts(layer) for layer in range(first))
    return split.rows * context * width


def tied_numbers(config: GPTConfig, split: Split, stage: int, tensor_rank: int) -> int:
    if split.pipeline == 1 or not config.tied_head or stage not in (0, split.pipeline - 1):
        return 0
    return len(split_evenly(config.vocab_size, tensor_rank, split.tensor)) * config.dim


def data_numbers(config: GPTConfig, split: Split, micro_batches: int, place: tuple[int, int, int]) -> int:
    """Numbers that a rank sends to the other data ranks: gradients of their shards, and to each what it owns itself."""
    stage, rank, tensor_rank = place
    found = 0
    for flat in flat_arrays(config, split, stage, tensor_rank) if split.data > 1 else ():
        n, own = flat.bounds[-1], flat.shards(split.data)[rank]
        parts = gathered_parts(config, split, micro_batches, stage, flat)
        gathered = sum(times * len(range(n)[overlap(part, own)]) for part, times in parts)
        found += times_scattered(split, micro_batches) * (n - (own.stop - own.start)) + (split.data - 1) * gathered
    return found


def muon_numbers(config: GPTConfig, split: Split, place: tuple[int, int, int]) -> int:
    """Numbers that a rank sends to the other tensor ranks: its parts of matrices that they make orthogonal together."""
    stage, rank, tensor_rank = place
    total, whole = 0, dict(parameter_shapes(config))
    for flat in flat_arrays(config, split, stage, tensor_rank) if split.muon and split.tensor > 1 else ():
        own = flat.shards(split.data if split.zero else 1)[rank if split.zero else 0]
        for start, (name, shape) in zip(flat.bounds, flat.held):
            if flat.of_muon and own.start <= start < own.stop and not has_heads(name) and shape != whole[name]:
                total += math.prod(shape)
    return (split.tensor - 1) * total


def times_scattered(split: Split, micro_batches: int) -> int:
    """How often gradients are sent in a step. Below ZeRO 2, and in a pipeline, micro-batches are added up before."""
    return micro_batches if split.zero >= 2 and split.pipeline == 1 else 1


def gathered_parts(
    config: GPTConfig, split: Split, micro_batches: int, stage: int, flat: FlatArray
) -> Iterator[tuple[slice, int]]:
    """Parts of flat parameters, and how often each is gathered in a step: all once, or with ZeRO 3 each layer."""
    times_of_layer = gathers(split.layers_of(config, stage), _kinds(split, micro_batches, stage))
    for (name, _), ends in zip(flat.held, pairwise(flat.bounds)):
        where, layer, *_ = name.split(".")
        yield slice(*ends), times_of_layer[int(layer)] if split.zero >= 3 and where == "blocks" else 1


def gathers(layers: Sequence[int], kinds: Iterable[Kind]) -> Counter[int]:
    """How often ZeRO 3 gathers each layer in forward and backward passes in this order.

    A layer that was used just before is still whole: the last one, if a backward pass comes after a forward pass.
    """
    counts: Counter[int] = Counter()
    whole = None
    for kind in kinds:
        for layer in layers if kind == "forward" else reversed(layers):
            counts[layer] += layer != whole
            whole = layer
    return counts


def _kinds(split: Split, micro_batches: int, stage: int) -> list[Kind]:
    """The passes of a stage in a step. (One stage has them in turns.)"""
    return [action.kind for action in one_f_one_b(stage, split.pipeline, micro_batches)]


def tensor_numbers(config: GPTConfig, split: Split, context: int, stage: int, rank: int) -> int:
    """Numbers that a tensor rank sends for each micro-batch."""
    t, tokens, layers = split.tensor, split.rows * context, split.layers_of(config, stage)
    if t == 1:
        return 0
    whole = all_reduced(tokens * config.dim, rank, t)
    own = split.rows * len(split_evenly(context, rank, t)) * config.dim  # numbers of x of this rank's tokens
    gathered, scattered = (t - 1) * own, tokens * config.dim - own
    # Attention and MLP each begin and end once forward, and once backward.
    of_layer = 2 * (gathered + scattered) if split.sequence else 2 * whole
    again = 2 if split.recompute else 1  # forward passes
    total = (again + 1) * of_layer * len(layers)
    if with_experts := sum(map(config.has_experts, layers)):
        total += with_experts * (_expert_numbers(config, tokens, again, rank, t) - (again + 1) * whole)
    if split.sequence:
        total += 2 * split.chunks * gathered  # the tokens are collected after the layers; their gradients, before
    if stage == 0:
        total += whole  # embedding, forward
    if stage == split.pipeline - 1:
        total += whole + _loss_numbers(tokens, rank, t)  # head, backward
    return total + sum(_shared_numbers(config, split, stage, rank))


def _expert_numbers(config: GPTConfig, tokens: int, again: int, rank: int, size: int) -> int:
    """What takes the place of the all-reduces of the MLP: `again` forward passes, and the backward pass."""
    C, k, own = config.dim, config.experts_per_token, len(split_evenly(tokens, rank, size))
    if not whole_experts(config, size):  # k outputs of each token are added up over the ranks, before they are weighted
        return again * all_reduced(tokens * k * C, rank, size) + all_reduced(tokens * C, rank, size)
    # Each token goes to the ranks of its experts, and comes back: to each rank as often, if all experts are used alike.
    # (The numbers of the experts take 8 bytes each, as one or two numbers; they are left out.)
    exchanged = 2 * (own * k * C * (size - 1) // size)
    collected = (size - 1) * own
    return again * (exchanged + collected * C) + exchanged + collected * (C + k)


def _loss_numbers(tokens: int, rank: int, size: int) -> int:
    """The loss of a split vocabulary: the maximum of each row, and three sums, in chunks of rows."""
    chunks = [min(CPU_CHUNK_ROWS, tokens - first) for first in range(0, tokens, CPU_CHUNK_ROWS)]
    return sum(all_reduced(n, rank, size) + all_reduced(3 * n, rank, size) for n in chunks)


def _shared_numbers(config: GPTConfig, split: Split, stage: int, rank: int) -> Iterator[int]:
    """Gradients of parameters of layers that several tensor ranks use, each for a part of what is computed."""
    t, D, K = split.tensor, config.head_size, config.key_heads
    for name, shape in held(config, split, stage, rank):
        if not name.startswith("blocks."):
            continue
        of_heads = ".attention." in name and "norm" in name  # QK-norm, whose weight all heads use
        if of_heads or "norm" in name and split.sequence:
            yield all_reduced(math.prod(shape), rank, t)
        elif ".qkv." in name and t > K:  # the rows of keys and values, of a head that t / K ranks share
            yield all_reduced(2 * D * math.prod(shape[1:]), rank % (t // K), t // K)
