"""Names and shapes of the parameters of a whole model, from the configuration alone: nothing is allocated."""

from __future__ import annotations

from collections.abc import Iterator

from llm.model.config import GPTConfig

Shape = tuple[int, ...]
Named = Iterator[tuple[str, Shape]]


def parameter_shapes(config: GPTConfig) -> Named:
    """Name and shape of each parameter of `GPT(config)`, in the order of `named_parameters`."""
    V, C = config.vocab_size, config.dim
    yield "embedding.weight", (V, C)
    if config.positions == "learned":
        yield "positions.weight", (config.context, C)
    if config.embedding_norm:
        yield from _norm(config, "embedding_norm")
    for layer in range(config.layers):
        yield from ((f"blocks.{layer}.{name}", shape) for name, shape in _block(config, layer))
    if config.norm_position != "post":
        yield from _norm(config, "norm")
    if not config.tied_head:
        yield from _linear("head", C, V, bias=config.head_bias)


def _block(config: GPTConfig, layer: int) -> Named:
    yield from _norm(config, "norm1")
    yield from _attention(config)
    if not config.shared_norm:
        yield from _norm(config, "norm2")
    if config.has_experts(layer):
        yield "mlp.router.weight", (config.experts or 0, config.dim)
        for number in range(config.experts or 0):
            yield from _mlp(config, f"mlp.experts.{number}", config.mlp_size)
    else:
        yield from _mlp(config, "mlp", config.mlp_width(layer))
    if config.norm_position == "both":
        yield from _norm(config, "out_norm1")
        yield from _norm(config, "out_norm2")


def _attention(config: GPTConfig) -> Named:
    C, H, K, D = config.dim, config.heads, config.key_heads, config.head_size
    yield from _linear("attention.qkv", C, (H + 2 * K) * D, bias=config.has_bias("qkv"))
    yield from _linear("attention.out", H * D, C, bias=config.has_bias("out"))
    if config.qk_norm:
        query_width, key_width = (H * D, K * D) if config.qk_norm_all else (D, D)
        yield "attention.query_norm.weight", (query_width,)
        yield "attention.key_norm.weight", (key_width,)


def _mlp(config: GPTConfig, name: str, F: int) -> Named:
    bias = config.has_bias("mlp")
    yield from _linear(f"{name}.up", config.dim, (2 if config.gated else 1) * F, bias=bias)
    yield from _linear(f"{name}.down", F, config.dim, bias=bias)


def _norm(config: GPTConfig, name: str) -> Named:
    yield f"{name}.weight", (config.dim,)
    if config.norm == "layernorm" and config.has_bias("norm"):
        yield f"{name}.bias", (config.dim,)


def _linear(name: str, inputs: int, outputs: int, *, bias: bool) -> Named:
    yield f"{name}.weight", (outputs, inputs)
    if bias:
        yield f"{name}.bias", (outputs,)
