"""What a model costs, from its configuration alone: parameters, floating-point operations, bytes. Nothing is allocated.

FLOPs a token, counted as in PaLM (Chowdhery et al. 2022, arXiv 2204.02311, appendix B) and nanoGPT, a multiplication
and an addition being two:

    forward     2 N + 4 L H D S         N: parameters that multiply, all but the embedding tables (a tied head multiplies)
    training    three times that        the backward pass makes two products for each of the forward pass

S is the keys a query is compared with, the whole context (or window): what causal attention skips is counted, as
everybody does.

Memory of activations is what the graph holds between forward and backward: for each function, the arrays that its
gradient rule keeps, each array once; see the functions in minigrad/fused. It was within 2% of what tracemalloc
measures. Of the temporaries inside functions only the logits are counted, which are made in chunks. Letters:
llm/model/config.py.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

from llm.model.config import GPTConfig
from minigrad.fused.attention_blocks import saved_weights
from minigrad.fused.linear_cross_entropy import CPU_CHUNK_ROWS
from minigrad.profiler.table import size


@dataclass(frozen=True)
class Parameters:
    """How many numbers are trained, by part; the biases of a part belong to it. A tied head has none of its own."""

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
        """Without the tables for tokens and positions, as in the scaling laws of Kaplan et al. 2020 (arXiv
        2001.08361).
        """
        return self.total - self.embedding - self.positions


@dataclass(frozen=True)
class Memory:
    """Bytes that training with AdamW takes, by what they are for."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        return sum(astuple(self))


def parameters(config: GPTConfig) -> Parameters:
    """How many parameters `GPT(config)` has."""
    C, L, V, F, D = config.dim, config.layers, config.vocab_size, config.mlp_size, config.head_size
    H, K = config.heads, config.key_heads
    norm = 2 * C if config.norm == "layernorm" and config.bias else C
    return Parameters(
        embedding=V * C,
        positions=config.context * C if config.positions == "learned" else 0,
        attention=L * (_linear(config, C, (H + 2 * K) * D) + _linear(config, H * D, C)),
        mlp=L * (_linear(config, C, _branches(config) * F) + _linear(config, F, C)),
        norms=L * (2 * norm + (2 * D if config.qk_norm else 0)) + (norm if config.norm_position == "pre" else 0),
        head=0 if config.tied_head else V * C,
    )


def forward_flops(config: GPTConfig, context: int | None = None) -> int:
    """Floating-point operations a token of the forward pass, on texts of `context` tokens (default: the model's)."""
    counts, seen = parameters(config), context or config.context
    multiplying = counts.total - counts.embedding - counts.positions - counts.head + config.vocab_size * config.dim
    return 2 * multiplying + 4 * config.layers * config.heads * config.head_size * min(seen, config.window or seen)


def training_flops(config: GPTConfig, context: int | None = None) -> int:
    """Floating-point operations a token of a training step, forward and backward."""
    return 3 * forward_flops(config, context)


def training_memory(config: GPTConfig, batch_size: int = 1, context: int | None = None, itemsize: int = 4) -> Memory:
    """Bytes for a training step on `batch_size` texts of `context` tokens; `itemsize`: bytes of one number."""
    weights = parameters(config).total * itemsize
    rows = min(CPU_CHUNK_ROWS, batch_size * (context or config.context))
    logits = 2 * rows * config.vocab_size * itemsize  # a chunk is there until the next one has been made
    return Memory(weights, weights, 2 * weights, activation_bytes(config, batch_size, context, itemsize), logits)


def activation_bytes(config: GPTConfig, batch_size: int = 1, context: int | None = None, itemsize: int = 4) -> int:
    """Bytes that the graph of `model.loss` holds when the forward pass ends."""
    C, L, V, F, T = config.dim, config.layers, config.vocab_size, config.mlp_size, context or config.context
    H, K, D = config.heads, config.key_heads, config.head_size
    tokens = batch_size * T
    attention = (H + 2 * K) * D + H * D + H  # q, k, v; output; log sum exp
    if config.qk_norm or config.positions == "rope":
        attention += (H + K) * D  # q and k before and after
    mlp = _branches(config) * F + F  # what goes into the activation function, and what comes out
    block = 4 * C + attention + mlp  # two sums, kept by the norms, and two outputs of norms
    last = 2 * C if config.norm_position == "pre" else C  # the last sum and its norm; after post-norm, the embeddings
    head = tokens * C + V * C  # gradients of its input and of its weight, made with the loss
    bias = H * T * T if config.positions == "alibi" else 0
    weights = batch_size * L * H * saved_weights(T, D, config.window)
    return itemsize * (tokens * (L * block + last) + weights + head + bias)


def cache_bytes(config: GPTConfig, tokens: int | None = None, batch_size: int = 1, itemsize: int = 4) -> int:
    """Bytes of keys and values of `tokens` tokens (default: the model's context) in each of `batch_size` texts."""
    return 2 * config.layers * config.key_heads * config.head_size * (tokens or config.context) * batch_size * itemsize


def table(config: GPTConfig, batch_size: int = 1, context: int | None = None, itemsize: int = 4) -> str:
    """Parameters, FLOPs and memory as text, for people."""
    context = context or config.context
    counts, memory = parameters(config), training_memory(config, batch_size, context, itemsize)
    rows = [("parameters", f"{counts.total:,}", f"{counts.non_embedding:,} without embeddings")]
    rows += [(f"  {name}", f"{n:,}", f"{n / counts.total:.1%}") for name, n in vars(counts).items() if n]
    rows += [
        (
            "FLOPs a token",
            f"{training_flops(config, context):.3g}",
            f"{forward_flops(config, context):.3g} of them forward",
        ),
        (
            "memory, training",
            size(memory.total),
            f"batch {batch_size} x {context} tokens, {8 * itemsize}-bit numbers, AdamW",
        ),
    ]
    rows += [(f"  {name}", size(n), f"{n / memory.total:.1%}") for name, n in vars(memory).items()]
    rows += [
        (
            "KV cache",
            size(cache_bytes(config, context, 1, itemsize)),
            f"{size(cache_bytes(config, 1, 1, itemsize))} a token",
        )
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(2)]
    return "\n".join(f"{name:<{widths[0]}}  {value:>{widths[1]}}  {note}" for name, value, note in rows)


def _linear(config: GPTConfig, inputs: int, outputs: int) -> int:
    return inputs * outputs + (outputs if config.bias else 0)


def _branches(config: GPTConfig) -> int:
    return 2 if config.gated else 1
