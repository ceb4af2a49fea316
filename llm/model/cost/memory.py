"""The memory of a training step and of a cache in bytes, computed from the configuration alone.

The memory of activations is everything that the graph holds after the forward pass, for the backward pass: the arrays
that the gradient rules need, each array once. The formula here is within 4% of what tracemalloc measures (a test says
so). Arrays that exist only inside a function are left out, except the logits. With several workers, all rows of a batch
are in memory at once, and some arrays exist once for each worker. Sizes (B, T, C ...): config.py.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any

from llm.model.config import GPTConfig
from llm.model.cost.counts import Trained, branches, parameters
from llm.model.layer_kinds import layer_kind
from minigrad.fused.attention_blocks import saved_weights
from minigrad.fused.linear_cross_entropy import CPU_CHUNK_ROWS


@dataclass(frozen=True)
class Memory:
    """Bytes that training takes, by purpose."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        return sum(astuple(self))


def training_memory(
    config: GPTConfig,
    batch_size: int = 1,
    context: int | None = None,
    itemsize: int = 4,
    *,
    recompute: bool = False,
    workers: int = 1,
    processes: bool = False,
    trained: Trained | None = None,
    has_logits: bool = True,
    muon: bool = False,
    averaged: bool = False,
    half_copies: bool = False,
    pairs: bool = False,
) -> Memory:
    """Bytes for a training step on `batch_size` texts of `context` tokens; one number takes `itemsize` bytes.

    `recompute`: with activation checkpointing. `workers`: how many workers divide the batch. `processes`: whether they
    are processes. `trained`: what is trained; None: everything. `has_logits`: whether the loss is that of next tokens;
    a classifier has none. `muon`: whether Muon trains the matrices of the layers, if everything is trained.
    `averaged`: whether there is an average of the weights too. `half_copies`: whether weights and inputs of linear maps
    have copies in a half type.
    """
    count = parameters(config, pairs=pairs)
    total = count.total
    weights = (total + (trained.added if trained else 0)) * itemsize
    learned, inside = (trained.numbers if trained else total) * itemsize, (count.attention + count.mlp) * itemsize
    # Logits are computed in chunks of tokens. When one is computed, the one before it is still in memory: two chunks.
    rows_of_logits = min(2 * CPU_CHUNK_ROWS, _tokens_of_a_worker(config, batch_size, context, workers))
    how: dict[str, Any] = {"recompute": recompute, "workers": workers, "trained": trained, "has_logits": has_logits}
    how |= {"half_copies": half_copies, "pairs": pairs}
    return Memory(
        # Processes share a second copy of what is trained, and each has a gradient of its own: parallel/processes.py.
        weights=weights + (learned if processes else 0) + (weights // 2 if half_copies else 0),
        gradients=workers * learned if processes else learned,
        # AdamW: mean and mean square of the gradients. Muon: the mean.
        optimizer=(3 if averaged else 2) * learned - (inside if muon and not trained else 0),
        activations=activation_bytes(config, batch_size, context, itemsize, **how),
        logits=workers * rows_of_logits * config.vocab_size * itemsize if has_logits else 0,
    )


def activation_bytes(
    config: GPTConfig,
    batch_size: int = 1,
    context: int | None = None,
    itemsize: int = 4,
    *,
    recompute: bool = False,
    workers: int = 1,
    trained: Trained | None = None,
    has_logits: bool = True,
    half_copies: bool = False,
    pairs: bool = False,
) -> int:
    """Bytes that the graphs of all workers hold at the end of the forward pass of `model.loss`.

    With `recompute`, at the time in the backward pass when a block is computed again.
    """
    C, L, V, T = config.dim, config.layers, config.vocab_size, context or config.context
    tokens = batch_size * T
    how = {"half_copies": half_copies, "pairs": pairs}
    of_layers = [block_numbers(config, layer, batch_size, T, **how) for layer in range(L)]
    if trained is not None:  # what lies below is not in the graph
        of_layers = of_layers[trained.frozen_layers :] or [0]
        L = len(of_layers)
    # With activation checkpointing, each block holds only its input. The block that is computed again also holds all
    # its arrays and some of their gradients. These gradients were measured: half as much as the arrays.
    blocks = (L - 1) * tokens * C + 3 * max(of_layers) // 2 if recompute else sum(of_layers)
    # Numbers per token outside the blocks: the gradient of the head's input, which is computed together with the loss;
    # and input and output of the last norm, or, without this norm, only the embeddings.
    outside = C + (C if config.norm_position == "post" else 2 * C) + (C if config.embedding_norm else 0)
    # Numbers per worker: the gradient of the head's weight (V, C), or with few tokens that of the logits instead.
    own = _tokens_of_a_worker(config, batch_size, context, workers)
    head = V * (own if own <= min(CPU_CHUNK_ROWS, C) else C)
    if trained is not None:
        blocks += tokens * trained.per_token // (L if recompute else 1)
    if not has_logits or trained is not None and not trained.head:
        head = 0
    return itemsize * (blocks + tokens * outside + workers * head)


def block_numbers(
    config: GPTConfig, layer: int, batch_size: int, T: int, *, half_copies: bool = False, pairs: bool = False
) -> int:
    """How many numbers the graph of one block holds; a copy in the half type counts as half of a number."""
    H, K, D, kind = config.heads, config.key_heads, config.head_size, layer_kind(config, layer)
    attention = (H + 2 * K) * D + H * D + H  # q, k, v; the output; log sum exp of the scores
    if config.qk_norm or kind.rope_base is not None:
        attention += (H + K) * D  # q and k before they are normalised or rotated
    saved = saved_weights(T, D, kind.window, config.attention_soft_cap)  # attention weights of a head, if stored
    norms, mlp = norm_numbers(config), _mlp_numbers(config, layer)
    if half_copies:  # of the inputs of linear maps
        attention += (config.dim + H * D) // 2
        mlp += _mlp_inputs(config, layer) // 2
    if pairs:
        norms, attention, mlp, saved = 5 * norms // 2, 3 * attention, 2 * mlp, 3 * saved
    return batch_size * (T * (norms + attention + mlp) + H * saved)


def norm_numbers(config: GPTConfig) -> int:
    """Numbers per token: input and output of each norm, which are inputs of sublayers, or the residual stream."""
    C = config.dim
    if config.parallel:  # one input for both norms
        return 2 * C if config.shared_norm else 3 * C
    # "both": the outputs of the norms after the sublayers are only added, and so not held.
    return 6 * C if config.norm_position == "both" else 4 * C


def _mlp_numbers(config: GPTConfig, layer: int) -> int:
    """Numbers per token: input and output of the activation function; and what leads to the experts and back."""
    hidden = (branches(config) + 1) * config.mlp_width(layer)
    if config.experts is None or not config.has_experts(layer):
        return hidden
    # For each of its experts, a token has a copy of its vector; an output in two orders, by expert and by token; and
    # four integers of 64 bits that say which is where, as many bytes as eight numbers.
    return config.experts + config.experts_per_token * (hidden + 3 * config.dim + 8)


def _mlp_inputs(config: GPTConfig, layer: int) -> int:
    """Numbers per token that the linear maps of the MLP, or of a token's experts, read."""
    inputs = config.dim + config.mlp_width(layer)
    return inputs if config.experts is None or not config.has_experts(layer) else config.experts_per_token * inputs


def cache_bytes(config: GPTConfig, tokens: int | None = None, batch_size: int = 1, itemsize: int = 4) -> int:
    """Bytes of the keys and values of `batch_size` texts of `tokens` tokens (default: the context of the model)."""
    return 2 * config.layers * config.key_heads * config.head_size * (tokens or config.context) * batch_size * itemsize


def _tokens_of_a_worker(config: GPTConfig, batch_size: int, context: int | None, workers: int) -> int:
    """How many tokens a worker has in memory, when the rows of a batch are divided among all."""
    return -(-batch_size // workers) * (context or config.context)  # rounded up
