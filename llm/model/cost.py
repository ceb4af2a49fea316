"""What a model costs: parameters, floating-point operations (FLOPs) and bytes, computed from the configuration alone.

FLOPs per token are counted as in PaLM (Chowdhery et al. 2022, arXiv 2204.02311, appendix B) and in nanoGPT. A
multiplication and an addition are two operations:

    forward     2 N + 4 L H D S      N: the parameters of matrix products, see `forward_flops`
    training    three times that     for each matrix product of the forward pass, the backward pass computes two

S is the number of keys with which a query is compared: the whole context, or the window. Causal attention skips half of
these keys, but the convention counts all of them. Of a mixture of experts, only those that compute a token count.

The memory of activations is everything that the graph holds after the forward pass, for the backward pass: the arrays
that the gradient rules need, each array once. The formula here is within 4% of what tracemalloc measures (a test says
so). Arrays that exist only inside a function are left out, except the logits. With several workers, all rows of a batch
are in memory at once, and some arrays exist once for each worker. Sizes (B, T, C ...): config.py.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any

from llm.model.config import GPTConfig
from llm.model.layer_kinds import layer_kind
from minigrad.fused.attention_blocks import saved_weights
from minigrad.fused.linear_cross_entropy import CPU_CHUNK_ROWS
from minigrad.profiler.table import size


@dataclass(frozen=True)
class Parameters:
    """How many numbers are trained in each part of the model, biases included. A tied head counts as embedding."""

    embedding: int
    positions: int
    attention: int
    mlp: int
    norms: int
    head: int

    @property
    def total(self) -> int:
        return sum(astuple(self))

    @property
    def non_embedding(self) -> int:
        """All but the tables for tokens and positions, as in Kaplan et al. 2020 (scaling laws, arXiv 2001.08361)."""
        return self.total - self.embedding - self.positions


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


@dataclass(frozen=True)
class Trained:
    """What is trained, where that is not the whole model: an adapter, or what is not frozen."""

    numbers: int  # that are trained
    added: int = 0  # of them: those of an adapter, which the configuration does not count
    frozen_layers: int = 0  # the first ones, below all that is trained: no gradient comes there
    head: bool = True  # whether the weight of the head is trained
    per_token: int = 0  # numbers that an adapter adds to the graph for each token


OTHER = -1  # stands for a layer that is not listed in `dense_layers`


def parameters(config: GPTConfig, *, used: bool = False, pairs: bool = False) -> Parameters:
    """How many parameters `GPT(config)` has. `used`: only those that compute a token; of its experts, the chosen.

    `pairs`, here and below: `Transformer(config)` instead. Each of its layers is one of the encoder and one of the
    decoder, with 3 attentions, 2 MLPs and 5 norms together. A token is then one of the source and one of the target.
    """
    C, L, V, D = config.dim, config.layers, config.vocab_size, config.head_size
    H, K = config.heads, config.key_heads
    norm = 2 * C if config.norm == "layernorm" and config.has_bias("norm") else C
    norms_of_a_layer = 5 if pairs else 1 if config.shared_norm else 4 if config.norm_position == "both" else 2
    qk_norms = ((H + K) * D if config.qk_norm_all else 2 * D) if config.qk_norm else 0
    dense = {*config.dense_layers}  # (all layers are not gone through: a damaged configuration may have 10^9 of them)
    norms_outside = (config.norm_position != "post") + config.embedding_norm
    attention = _linear(C, (H + 2 * K) * D, bias=config.has_bias("qkv")) + _linear(
        H * D, C, bias=config.has_bias("out")
    )
    return Parameters(
        embedding=V * C,
        positions=config.context * C if config.positions == "learned" else 0,
        attention=L * attention * (3 if pairs else 1),
        mlp=sum(_mlp_parameters(config, layer, used=used) for layer in dense)
        + (L - len(dense)) * _mlp_parameters(config, OTHER, used=used) * (2 if pairs else 1),
        norms=L * (norms_of_a_layer * norm + qk_norms) + norms_outside * norm,
        head=0 if config.tied_head else _linear(C, V, bias=config.head_bias),
    )


def _mlp_parameters(config: GPTConfig, layer: int, *, used: bool) -> int:
    C, F, bias = config.dim, config.mlp_width(layer), config.has_bias("mlp")
    mlp = _linear(C, _branches(config) * F, bias=bias) + _linear(F, C, bias=bias)
    if config.experts is None or not config.has_experts(layer):
        return mlp
    router = C * config.experts
    return router + (config.experts_per_token if used else config.experts) * mlp


def forward_flops(config: GPTConfig, context: int | None = None, *, pairs: bool = False) -> int:
    """FLOPs per token of the forward pass, for texts of `context` tokens (default: the context of the model)."""
    count, S = parameters(config, used=True, pairs=pairs), context or config.context
    # Embedding tables are looked up, not multiplied. The head is multiplied, also when it is tied to the embedding.
    N = count.non_embedding + (count.embedding if config.tied_head else 0)
    keys = sum(min(S, layer_kind(config, layer).window or S) for layer in range(config.layers))  # of all layers
    return 2 * N + 4 * config.heads * config.head_size * keys * (3 if pairs else 1)


def training_flops(
    config: GPTConfig,
    context: int | None = None,
    *,
    recompute: bool = False,
    trained: Trained | None = None,
    pairs: bool = False,
) -> int:
    """FLOPs per token of a training step, forward and backward. `recompute`: with activation checkpointing.

    `trained`: what is trained; None: everything.
    """
    forward, head = forward_flops(config, context, pairs=pairs), 2 * config.vocab_size * config.dim
    again = forward - head if recompute else 0  # the blocks are computed again, the head is not
    if trained is None:
        return 3 * forward + again
    # The gradients of vectors are computed down to the lowest layer with something to train, and those of matrices only
    # for what is trained.
    reached = 1 - trained.frozen_layers / config.layers
    of_matrices = min(forward, 2 * trained.numbers)
    return forward + round(reached * (forward + again)) + of_matrices + 2 * trained.added


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
    `averaged`, `half_copies`: whether there are an average of the weights, and copies in a half type for products.
    """
    count = parameters(config, pairs=pairs)
    weights = (count.total + (trained.added if trained else 0)) * itemsize
    learned, inside = (trained.numbers if trained else count.total) * itemsize, (count.attention + count.mlp) * itemsize
    # Logits are computed in chunks of tokens. When one is computed, the one before it is still in memory: two chunks.
    rows_of_logits = min(2 * CPU_CHUNK_ROWS, _tokens_of_a_worker(config, batch_size, context, workers))
    how: dict[str, Any] = {"recompute": recompute, "workers": workers, "trained": trained, "has_logits": has_logits}
    return Memory(
        # Processes share a second copy of what is trained, and each has a gradient of its own: parallel/processes.py.
        weights=weights + (learned if processes else 0) + (learned // 2 if half_copies else 0),
        gradients=workers * learned if processes else learned,
        # AdamW: mean and mean square of the gradients. Muon: the mean.
        optimizer=(3 if averaged else 2) * learned - (inside if muon and not trained else 0),
        activations=activation_bytes(config, batch_size, context, itemsize, pairs=pairs, **how),
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
    pairs: bool = False,
) -> int:
    """Bytes that the graphs of all workers hold at the end of the forward pass of `model.loss`.

    With `recompute`, at the time in the backward pass when a block is computed again.
    """
    C, L, V, T = config.dim, config.layers, config.vocab_size, context or config.context
    tokens = batch_size * T
    of_layers = [_block_numbers(config, layer, batch_size, T, pairs=pairs) for layer in range(L)]
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


def _block_numbers(config: GPTConfig, layer: int, batch_size: int, T: int, *, pairs: bool = False) -> int:
    """How many numbers the graph of one block holds."""
    H, K, D, kind = config.heads, config.key_heads, config.head_size, layer_kind(config, layer)
    attention = (H + 2 * K) * D + H * D + H  # q, k, v; the output; log sum exp of the scores
    if config.qk_norm or kind.rope_base is not None:
        attention += (H + K) * D  # q and k before they are normalised or rotated
    saved = saved_weights(T, D, kind.window, config.attention_soft_cap)  # attention weights of a head, if stored
    norms, mlp = _norm_numbers(config), _mlp_numbers(config, layer)
    if pairs:
        norms, attention, mlp, saved = 5 * norms // 2, 3 * attention, 2 * mlp, 3 * saved
    return batch_size * (T * (norms + attention + mlp) + H * saved)


def _norm_numbers(config: GPTConfig) -> int:
    """Numbers per token: input and output of each norm, which are inputs of sublayers, or the residual stream."""
    C = config.dim
    if config.parallel:  # one input for both norms
        return 2 * C if config.shared_norm else 3 * C
    # "both": the outputs of the norms after the sublayers are only added, and so not held.
    return 6 * C if config.norm_position == "both" else 4 * C


def _mlp_numbers(config: GPTConfig, layer: int) -> int:
    """Numbers per token: input and output of the activation function; and what leads to the experts and back."""
    hidden = (_branches(config) + 1) * config.mlp_width(layer)
    if config.experts is None or not config.has_experts(layer):
        return hidden
    # For each of its experts, a token has a copy of its vector; an output in two orders, by expert and by token; and
    # four integers of 64 bits that say which is where, as many bytes as eight numbers.
    return config.experts + config.experts_per_token * (hidden + 3 * config.dim + 8)


def cache_bytes(config: GPTConfig, tokens: int | None = None, batch_size: int = 1, itemsize: int = 4) -> int:
    """Bytes of the keys and values of `batch_size` texts of `tokens` tokens (default: the context of the model)."""
    return 2 * config.layers * config.key_heads * config.head_size * (tokens or config.context) * batch_size * itemsize


def table(config: GPTConfig, batch_size: int = 1, context: int | None = None, itemsize: int = 4, **how: Any) -> str:
    """A table of parameters, FLOPs and memory, to be printed. `how`: the other arguments of `training_memory`."""
    context = context or config.context
    pairs, trained, recompute = bool(how.get("pairs")), how.get("trained"), bool(how.get("recompute"))
    memory = training_memory(config, batch_size, context, itemsize, **how)
    counts, used = parameters(config, pairs=pairs), parameters(config, used=True, pairs=pairs).total
    forward = forward_flops(config, context, pairs=pairs)
    training = training_flops(config, context, recompute=recompute, trained=trained, pairs=pairs)
    per_text, per_token = cache_bytes(config, context, 1, itemsize), cache_bytes(config, 1, 1, itemsize)
    optimizer = "Muon" if how.get("muon") else "AdamW"
    setting = f"batch {batch_size} x {context} tokens, {8 * itemsize}-bit numbers, {optimizer}"
    rows = [
        ("parameters", f"{counts.total:,}", f"{counts.non_embedding:,} without embeddings"),
        *([("  trained", f"{trained.numbers:,}", f"{trained.numbers / counts.total:.1%}")] if trained else []),
        *([("  used by a token", f"{used:,}", f"{used / counts.total:.1%}")] if config.experts else []),
        *((f"  {name}", f"{n:,}", f"{n / counts.total:.1%}") for name, n in vars(counts).items() if n),
        ("FLOPs a token", f"{training:.3g}", f"{forward:.3g} of them forward"),
        ("memory, training", size(memory.total), setting),
        *((f"  {name}", size(n), f"{n / memory.total:.1%}") for name, n in vars(memory).items()),
        ("KV cache", size(per_text), f"{size(per_token)} a token"),
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(2)]
    return "\n".join(f"{name:<{widths[0]}}  {value:>{widths[1]}}  {note}" for name, value, note in rows)


def _tokens_of_a_worker(config: GPTConfig, batch_size: int, context: int | None, workers: int) -> int:
    """How many tokens a worker has in memory, when the rows of a batch are divided among all."""
    return -(-batch_size // workers) * (context or config.context)  # rounded up


def _linear(inputs: int, outputs: int, *, bias: bool) -> int:
    """Parameters of a linear layer."""
    return inputs * outputs + (outputs if bias else 0)


def _branches(config: GPTConfig) -> int:
    """How many up-projections the MLP has: a gated one has two."""
    return 2 if config.gated else 1
