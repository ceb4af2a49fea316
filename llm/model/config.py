"""What a GPT looks like: one flat, frozen dataclass.

The fields are also options of the command line: the text below a field is its `--help`. A field that is None is derived
from other fields, so that `--dim 256` changes the width of the heads too; a property below the fields gives the derived
value. These letters stand for sizes, here and in all files of the model:

    B batch        T tokens (queries)       S tokens that can be attended to (keys)      V vocabulary      C dim
    H heads        K key-value heads        D width of a head                            F width of the MLP
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
    """The shape of a GPT. The defaults are those of GPT-2 (124M). Impossible values raise ValueError."""

    vocab_size: int = 50257
    """Size of the vocabulary: the number of different token ids (V). An existing tokenizer decides it."""
    context: int = 1024
    """Length in tokens of the texts that the model is trained on. With learned positions it cannot read longer ones."""
    layers: int = 12
    """Number of layers, each a block of attention and MLP."""
    heads: int = 12
    """Number of attention heads per layer (H)."""
    kv_heads: int | None = None
    """Key-value heads per layer (K), each shared by heads / kv_heads query heads. Default: as many as heads."""
    dim: int = 768
    """Width of the model (C): the length of the vector that represents a token."""
    head_dim: int | None = None
    """Width of one attention head (D). Default: dim / heads."""
    mlp_dim: int | None = None
    """Width of the hidden layer of the MLP (F). Default: 4 dim (swiglu, geglu: 8/3 dim, in multiples of 64)."""
    positions: Positions = "learned"
    """How the model knows the order of tokens. learned, sinusoidal: a vector is added to each embedding.
    rope: queries and keys are rotated. alibi: distant keys get a penalty. none: the causal mask alone must do.
    """
    rope_base: float = 10000.0
    """For rope: base of the wavelengths. A larger base suits longer texts."""
    rope_interleaved: bool = False
    """For rope: pair neighbouring elements of a head, (0, 1), (2, 3) ..., instead of (0, D/2), (1, D/2 + 1) ..."""
    norm: Norm = "layernorm"
    """Normalisation: layernorm (GPT-2) or rmsnorm (Llama)."""
    norm_position: NormPosition = "pre"
    """Normalise the input of each sublayer (pre, as GPT-2), or the sum after it (post, as in Vaswani et al. 2017)."""
    norm_eps: float = 1e-5
    """Small number added to the variance before dividing by its square root."""
    mlp: Activation = "gelu_tanh"
    """Activation function of the MLP; swiglu and geglu are gated."""
    bias: bool = True
    """Give linear layers and layernorm a bias."""
    qk_norm: bool = False
    """Apply RMSNorm to the queries and keys of each head, which keeps attention scores bounded."""
    window: int | None = None
    """Sliding window: a token attends to itself and the window - 1 tokens before it. Default: to all before it."""
    dropout: float = 0.0
    """Probability of setting an element to 0 in training: embeddings, attention weights, sublayer outputs."""
    tied_head: bool = True
    """Use the token embedding as the weight of the output layer too."""
    soft_cap: float | None = None
    """Limit the logits to plus and minus this value: cap * tanh(logits / cap). Default: no limit."""

    @cached_property
    def key_heads(self) -> int:
        """K: kv_heads, or its default."""
        return self.heads if self.kv_heads is None else self.kv_heads

    @cached_property
    def head_size(self) -> int:
        """D: head_dim, or its default."""
        return self.dim // self.heads if self.head_dim is None else self.head_dim

    @cached_property
    def gated(self) -> bool:
        """Whether the MLP has a gate: a second up-projection, with which the first is multiplied."""
        return self.mlp in GATED

    @cached_property
    def mlp_size(self) -> int:
        """F: mlp_dim, or its default."""
        if self.mlp_dim is not None:
            return self.mlp_dim
        # 3 matrices of width 8/3 dim have as many parameters as 2 of width 4 dim.
        return -(-8 * self.dim // (3 * 64)) * 64 if self.gated else 4 * self.dim

    def to_json(self) -> dict[str, Any]:
        """The fields as a dictionary that `json.dump` accepts."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> GPTConfig:
        """The inverse of `to_json`. Raises ValueError when a field is missing, unknown or has an impossible value."""
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
            self._require(name, _is_count, "a whole number of at least 1")
        for name in ("kv_heads", "head_dim", "mlp_dim", "window"):
            self._require(name, lambda n: n is None or _is_count(n), "a whole number of at least 1, or None")
        choices = {"positions": Positions, "norm": Norm, "norm_position": NormPosition, "mlp": Activation}
        for name, options in choices.items():
            self._require(name, get_args(options).__contains__, f"one of {', '.join(get_args(options))}")
        for name in ("rope_interleaved", "bias", "qk_norm", "tied_head"):
            self._require(name, lambda b: isinstance(b, bool), "True or False")
        for name in ("rope_base", "norm_eps"):
            self._require(name, lambda x: _is_number(x) and x > 0, "a number above 0")
        self._require("soft_cap", lambda x: x is None or _is_number(x) and x > 0, "a number above 0, or None")
        self._require("dropout", lambda x: _is_number(x) and 0 <= x < 1, "a number of at least 0 and below 1")
        self._check_heads()

    def _require(self, name: str, is_valid: Callable[[Any], bool], wanted: str) -> None:
        value = getattr(self, name)
        if not is_valid(value):
            raise ValueError(f"{name}={value!r} is not possible; use {wanted}")

    def _check_heads(self) -> None:
        if self.head_dim is None and self.dim % self.heads:
            raise ValueError(
                f"dim={self.dim} does not split into heads={self.heads} equal heads; "
                "use a multiple of heads, or set head_dim"
            )
        if self.heads % self.key_heads:
            raise ValueError(
                f"heads={self.heads} is not a multiple of kv_heads={self.kv_heads}; kv_heads must divide heads"
            )
        if self.positions == "rope" and self.head_size % 2:
            raise ValueError(
                f"rope rotates pairs of elements, so the width of a head must be even, but it is {self.head_size}; "
                "set head_dim, or choose other positions"
            )


def _is_count(n: Any) -> bool:
    return isinstance(n, int) and not isinstance(n, bool) and n >= 1


def _is_number(x: Any) -> bool:
    return isinstance(x, (int, float)) and not isinstance(x, bool) and math.isfinite(x)
