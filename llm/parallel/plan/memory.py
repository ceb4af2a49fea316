"""Memory of a rank, in bytes, by kind.

There are two formulas for activations:

    full precision      what this program holds, measured in llm/model/cost/, with each layer split over tensor ranks
    mixed precision     16-bit numbers on GPUs, as Korthikanti et al. count them (2022, arXiv 2205.05198, section 4):
                        s b h (10 + 24 / t + 5 a s / (h t)) bytes a layer; with sequence parallelism the 10 is divided
                        by t too; if attention weights are computed again (or never stored), the last term is left out

Data ranks also hold the gradients of the messages that are under way, where these begin before enough activations are
freed. What is predicted for a step of this program is within 5% of what tracemalloc measures, for a pipeline and for
data ranks with ZeRO 0 to 3 (with ZeRO 3, of the fullest rank: the first one may take a fifth less, because its shard
comes last in the backward pass): tests/llm/test_parallel_pipeline_mpi.py.

With 1F1B, the first stage holds the activations of p micro-batches, and each of them has L / p layers: those of one
micro-batch through all L layers. With chunks, there are (1 + (p - 1) / (p chunks)) times as many.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import astuple, dataclass, replace
from functools import lru_cache

from llm.model import cost
from llm.model.config import GPTConfig
from llm.parallel.data.reduction import BUCKET, PIECE, UNDER_WAY
from llm.parallel.pipeline.schedules import SCHEDULES, interleaved, most_alive
from llm.parallel.plan.split import Split, held, held_numbers, moment_numbers, shard_numbers
from minigrad.fused.linear_cross_entropy import CPU_CHUNK_ROWS


@dataclass(frozen=True)
class Precision:
    """Bytes of each number, by what it is for."""

    weight: int
    gradient: int
    optimizer: int
    activation: int


FULL = Precision(weight=4, gradient=4, optimizer=8, activation=4)
# Weights and activations of 16 bits. The optimizer has weights and two moments of 32 bits, and gradients are added up
# in 32 bits: 18 bytes for each parameter, as in Megatron-LM.
MIXED = Precision(weight=2, gradient=4, optimizer=12, activation=2)


@dataclass(frozen=True)
class RankMemory:
    """Bytes of one rank."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    working: int  # gradients of vectors, in the backward pass of one layer
    messages: int  # gradients that data ranks are about to send, or have received and not yet added up

    @property
    def total(self) -> int:
        return sum(astuple(self))


def rank_memory(
    config: GPTConfig, split: Split, batch_size: int, context: int, precision: Precision = MIXED, stage: int = 0
) -> RankMemory:
    """What a rank of this stage takes, the first of its tensor group."""
    numbers, alive = held_numbers(config, split, stage), alive_layers(config, split, batch_size, stage)
    part, moments = shard_numbers(config, split, stage), moment_numbers(config, split, stage)
    layer, outside = layer_numbers(config, split, stage)
    is_last = stage == split.pipeline - 1
    of_layers = [layer_activations(config, split, context, precision, number) for number in alive]
    logits = _logits(config, split, context, precision) if is_last else 0
    head = own_vocabulary(config, split) * config.dim if is_last else 0
    freed = logits + precision.gradient * head  # when the first bucket is sent
    return RankMemory(
        # Of ZeRO 3: what is outside of layers stays whole, and one layer is gathered at a time.
        weights=precision.weight * (part + outside + layer if split.zero >= 3 else numbers),
        # Of ZeRO 2: the gradient of the head is whole until it is sent, with a tied head at the end. In a pipeline, all
        # gradients are whole until then.
        gradients=precision.gradient
        * (part + (head if split.pipeline == 1 else numbers) if split.zero >= 2 else numbers),
        # Muon has one moment of 32 bits, and AdamW has two.
        optimizer=precision.optimizer * moments[0] - 4 * moments[1],
        activations=sum(of_layers) + outside_activations(config, split, batch_size, context, precision, stage),
        logits=logits,
        working=_working(config, split, context, precision),
        messages=max(0, _messages(config, split, precision, stage, of_layers[-1]) - freed),
    )


@lru_cache(maxsize=256)
def layer_numbers(config: GPTConfig, split: Split, stage: int) -> tuple[int, int]:
    """Parameters of the largest layer that a rank holds, and of all that is outside of layers."""
    sizes: Counter[str] = Counter()
    for name, shape in held(config, split, stage):
        where, layer, *_ = name.split(".")
        sizes[layer if where == "blocks" else ""] += math.prod(shape)
    outside = sizes.pop("", 0)
    return max(sizes.values()), outside


def _messages(config: GPTConfig, split: Split, precision: Precision, stage: int, of_layer: int) -> int:
    """Gradients that are under way (llm/parallel/data/reduction.py), less what is freed by then of the activations."""
    n, numbers = split.data, held_numbers(config, split, stage)
    if n == 1:
        return 0
    # A bucket ends with a parameter, so it is somewhat longer: by half of a matrix of a layer.
    layer, outside = layer_numbers(config, split, stage)
    bucket = min(BUCKET + layer // 8, numbers)
    if split.zero >= 3:
        return _with_layers(split, precision, of_layer, layer, outside, numbers)
    received = n * min((UNDER_WAY - 1) * PIECE, -(-numbers // n))
    under_way = precision.gradient * (received + (bucket if split.zero >= 2 else 0))
    return under_way - (0 if split.recompute else of_layer * bucket // layer)


def _with_layers(split: Split, precision: Precision, of_layer: int, layer: int, outside: int, numbers: int) -> int:
    """The same for ZeRO 3, at the fullest moment at which a layer is computed again; on the fullest rank."""
    layers, part, fullest = round((numbers - outside) / layer), -(-numbers // split.data), 0
    for below in range(layers):  # of the layers; those above have gradients, of which whole buckets have been sent
        done = outside + (below + 1) * layer
        left = min(-done % BUCKET, numbers - done)  # not sent
        bucket = min(BUCKET, numbers - done - left)  # what was sent last, and is under way
        received = split.data * min(part, bucket, (UNDER_WAY - 1) * PIECE)
        sent = bucket if bucket > part else 0  # a rank that owns all of it sends nothing
        freed = of_layer * (layers - 1 - below)
        fullest = max(fullest, precision.gradient * (left + sent + received) - freed)
    return fullest


def own_vocabulary(config: GPTConfig, split: Split) -> int:
    return -(-config.vocab_size // split.tensor)


@lru_cache(maxsize=1024)
def _alive_passes(stages: int, micro_batches: int, chunks: int, stage: int) -> int:
    if chunks == 1:
        return most_alive(SCHEDULES["1f1b"](stage, stages, micro_batches))
    return most_alive(interleaved(stage, stages, micro_batches, chunks))


def alive_layers(config: GPTConfig, split: Split, batch_size: int, stage: int) -> list[int]:
    """The layers whose activations a rank holds at its fullest, each once for each micro-batch."""
    passes = _alive_passes(split.pipeline, split.micro_batches(batch_size), split.chunks, stage)
    layers = split.layers_of(config, stage)
    if split.chunks == 1:
        return layers * passes
    return [layers[n % len(layers)] for n in range(round(passes * len(layers) / split.chunks))]


def layer_activations(config: GPTConfig, split: Split, context: int, precision: Precision, layer: int) -> int:
    """Bytes that one layer holds for the backward pass of one micro-batch."""
    tokens, C = split.rows * context, config.dim
    if split.recompute:  # its input only
        return precision.activation * tokens * C // (split.tensor if split.sequence else 1)
    if precision.activation == MIXED.activation:
        return round(mixed_bytes_per_token(config, split, context, layer) * tokens)
    numbers = cost.block_numbers(own_part(config, split.tensor), layer, split.rows, context)
    return precision.activation * (numbers - divided_numbers(config, split, context))


def divided_numbers(config: GPTConfig, split: Split, context: int) -> int:
    """What sequence parallelism saves in a layer: each rank keeps some tokens of the residual stream, but the inputs of
    attention and MLP are gathered and kept whole. (Megatron-LM keeps a part of them, and gathers them once more.)
    """
    if not split.sequence:
        return 0
    C, tokens = config.dim, split.rows * context
    of_norms, inputs = cost.norm_numbers(config), C if config.parallel and config.shared_norm else 2 * C
    own = split.rows * -(-context // split.tensor)
    return tokens * of_norms - (own * (of_norms - inputs) + tokens * 2 * C)


def own_part(config: GPTConfig, tensor: int) -> GPTConfig:
    """A configuration whose layers are as wide inside as those of a tensor rank."""
    if tensor == 1:
        return config
    dense = None if config.dense_mlp_dim is None else -(-config.dense_mlp_dim // tensor)
    return replace(
        config, heads=config.heads // tensor, kv_heads=max(1, config.key_heads // tensor),
        head_dim=config.head_size, mlp_dim=-(-config.mlp_size // tensor), dense_mlp_dim=dense,
    )  # fmt: skip


def mixed_bytes_per_token(
    config: GPTConfig, split: Split, context: int, layer: int = 0, *, attention_weights: bool = False
) -> float:
    """The formula of Korthikanti et al., for any widths. With dropout, a mask takes a byte for each number."""
    C, H, K, D = config.dim, config.heads, config.key_heads, config.head_size
    branches = 2 if config.gated else 1
    uses = config.experts_per_token if config.has_experts(layer) else 1
    mask = 2 * C  # of the outputs of attention and MLP; this many bytes also without dropout, where they are added
    whole = 2 * C + 2 * C + 2 * 2 * C + mask  # inputs of attention and MLP, inputs of both norms
    own = 2 * (2 * H * D + 2 * K * D) + uses * 2 * (branches + 1) * config.mlp_width(layer)  # q, output; k, v; MLP
    weights = 5 * H * context if attention_weights else 0
    return (whole / (split.tensor if split.sequence else 1)) + (own + weights) / split.tensor


def outside_activations(
    config: GPTConfig, split: Split, batch_size: int, context: int, precision: Precision, stage: int
) -> int:
    """Bytes outside of the layers: what a stage got and gave, the mask of the embeddings, the head's input."""
    tokens, C, itemsize = split.rows * context, config.dim, precision.activation
    passes = _alive_passes(split.pipeline, split.micro_batches(batch_size), split.chunks, stage)
    numbers = 0
    if stage == split.pipeline - 1:
        numbers += 3 * tokens * C  # input and output of the last norm; the gradient of the head's input
        if precision.activation == FULL.activation:
            V = own_vocabulary(config, split)
            numbers += V * (tokens if tokens <= min(CPU_CHUNK_ROWS, C) else C)  # the gradient of the head's weight
    if stage < split.pipeline - 1:
        numbers += passes * tokens * C  # what was given to the next stage
    if split.recompute:  # the layer that is computed again
        again = replace(split, recompute=False)
        layers = split.layers_of(config, stage)
        widest = max(layer_activations(config, again, context, precision, layer) for layer in {layers[0], layers[-1]})
        return itemsize * numbers + widest
    return itemsize * numbers


def _logits(config: GPTConfig, split: Split, context: int, precision: Precision) -> int:
    V, tokens = own_vocabulary(config, split), split.rows * context
    if precision.activation == FULL.activation:
        return 4 * V * min(2 * CPU_CHUNK_ROWS, tokens)
    return 6 * V * tokens  # of 16 bits, and once more of 32 bits for the loss


def _working(config: GPTConfig, split: Split, context: int, precision: Precision) -> int:
    """The backward pass of an MLP: gradients of its hidden layer after and before the activation function, and of x."""
    branches = 2 if config.gated else 1
    uses = config.experts_per_token if config.experts else 1
    hidden = uses * 2 * branches * config.mlp_size // split.tensor
    return precision.activation * split.rows * context * (hidden + 4 * config.dim)
