"""What a GPT looks like: one flat, frozen dataclass.

The fields are also the options of the command line: the text below a field is its `--help`. A field left at None is
derived from the others (`--dim 256` then changes the heads too); what it amounts to is a property, computed once.
Letters for sizes, here and in all files of the model:

    B batch        T tokens (queries)       S tokens seen (keys)      V vocabulary      C dim
    H heads        K key-value heads        D size of a head          F width of the MLP
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any, Literal, get_args

Positions = Literal["learned", "sinusoidal", "rope", "alibi", "none"]
Norm = Literal["layernorm", "rmsnorm"]
NormPosition = Literal["pre", "post"]
Activation = Literal["gelu", "gelu_tanh", "relu_squared", "swiglu", "geglu"]

GATED = ("swiglu", "geglu")


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a GPT. The defaults are GPT-2's, 124M. Raises ValueError, in one sentence, for values that make no
    model.
    """

    vocab_size: int = 50257
    """Number of token ids the model knows (V); normally the tokenizer decides."""
    context: int = 1024
    """Length of the texts the model is made for, in tokens; learned positions end there."""
    layers: int = 12
    """Number of blocks."""
    heads: int = 12
    """Attention heads a layer (H)."""
    kv_heads: int | None = None
    """Heads of keys and values (K), shared by groups of query heads; 1 is multi-query attention. None: as many as
    heads.
    """
    dim: int = 768
    """Width of the model (C)."""
    head_dim: int | None = None
    """Width of one head (D). None: dim / heads."""
    mlp_dim: int | None = None
    """Width inside the MLP (F). None: 4 dim, or 8/3 dim rounded up to a multiple of 64 for the gated ones, which have
    three matrices.
    """
    positions: Positions = "learned"
    """How the model knows the order of tokens; "none" leaves it to the causal mask."""
    rope_base: float = 10000.0
    """Base of the wavelengths of rotary positions."""
    rope_interleaved: bool = False
    """Rotary positions turn neighbours (0, 1), (2, 3) instead of the halves (0, D/2), (1, D/2 + 1)."""
    norm: Norm = "layernorm"
    """Normalisation of the activations."""
    norm_position: NormPosition = "pre"
    """Normalise what goes into a sublayer (pre, as GPT-2) or what comes out of the residual sum (post, as the first
    Transformer).
    """
    norm_eps: float = 1e-5
    """Added to the variance by the normalisation."""
    mlp: Activation = "gelu_tanh"
    """Activation function of the MLP; swiglu and geglu are gated."""
    bias: bool = True
    """Biases in linear layers and in layernorm."""
    qk_norm: bool = False
    """RMSNorm on the queries and keys of every head, which keeps attention scores bounded."""
    window: int | None = None
    """Sliding window: a token attends to this many tokens at most, itself included. None: to all before it."""
    dropout: float = 0.0
    """Share of embeddings, attention weights and sublayer outputs that is dropped in training."""
    tied_head: bool = True
    """Use the embedding as the output layer too."""
    soft_cap: float | None = None
    """Bend the logits to stay within plus and minus this: cap * tanh(logits / cap). None: leave them."""

    @cached_property
    def key_heads(self) -> int:
        """What kv_heads amounts to: K."""
        return self.heads if self.kv_heads is None else self.kv_heads

    @cached_property
    def head_size(self) -> int:
        """What head_dim amounts to: D."""
        return self.dim // self.heads if self.head_dim is None else self.head_dim

    @cached_property
    def gated(self) -> bool:
        """Whether the MLP multiplies two branches."""
        return self.mlp in GATED

    @cached_property
    def mlp_size(self) -> int:
        """What mlp_dim amounts to: F."""
        if self.mlp_dim is not None:
            return self.mlp_dim
        return -(-8 * self.dim // (3 * 64)) * 64 if self.gated else 4 * self.dim

    def to_json(self) -> dict[str, Any]:
        """The fields as a dictionary that `json.dump` accepts."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> GPTConfig:
        """The inverse of `to_json`. Raises ValueError when a key is missing or unknown, or a value is no good."""
        if not isinstance(data, dict):
            raise ValueError(f"a model configuration is a dictionary of fields, this is a {type(data).__name__}")
        known = {field.name for field in fields(cls)}
        if wrong := sorted(str(key) for key in data.keys() - known):
            raise ValueError(
                f"unknown in a model configuration: {', '.join(wrong)}; it has the fields {', '.join(sorted(known))}"
            )
        if missing := sorted(known - data.keys()):
            raise ValueError(f"missing in a model configuration: {', '.join(missing)}; to_json() writes all fields")
        return cls(**data)

    def __post_init__(self) -> None:
        for name in ("vocab_size", "context", "layers", "heads", "dim"):
            self._require(name, _whole, "a whole number of at least 1")
        for name in ("kv_heads", "head_dim", "mlp_dim", "window"):
            self._require(name, lambda n: n is None or _whole(n), "a whole number of at least 1, or None")
        for name, options in (
            ("positions", Positions),
            ("norm", Norm),
            ("norm_position", NormPosition),
            ("mlp", Activation),
        ):
            choices = get_args(options)
            self._require(name, choices.__contains__, f"one of {', '.join(choices)}")
        for name in ("rope_interleaved", "bias", "qk_norm", "tied_head"):
            self._require(name, lambda b: isinstance(b, bool), "True or False")
        for name in ("rope_base", "norm_eps"):
            self._require(name, lambda x: _number(x) and x > 0, "a number above 0")
        self._require("soft_cap", lambda x: x is None or _number(x) and x > 0, "a number above 0, or None")
        self._require("dropout", lambda x: _number(x) and 0 <= x < 1, "a number of at least 0 and below 1")
        self._check_heads()

    def _require(self, name: str, good: Callable[[Any], bool], wanted: str) -> None:
        value = getattr(self, name)
        if not good(value):
            raise ValueError(f"{name}={value!r} makes no model; use {wanted}")

    def _check_heads(self) -> None:
        if self.head_dim is None and self.dim % self.heads:
            raise ValueError(
                f"dim={self.dim} does not split into heads={self.heads} equal heads; use a multiple of heads, or set "
                "head_dim"
            )
        if self.heads % self.key_heads:
            raise ValueError(
                f"heads={self.heads} does not split into groups for kv_heads={self.kv_heads}; kv_heads must divide "
                "heads"
            )
        if self.positions == "rope" and self.head_size % 2:
            raise ValueError(
                f"rope turns pairs of numbers, so the size of a head must be even, but it is {self.head_size}; "
                f"set head_dim, or choose other positions"
            )


def _whole(n: Any) -> bool:
    return isinstance(n, int) and not isinstance(n, bool) and n >= 1


def _number(x: Any) -> bool:
    return isinstance(x, (int, float)) and not isinstance(x, bool) and math.isfinite(x)
