"""What a GPT looks like: one flat, frozen dataclass.

The fields are also options of the command line: the text below a field is its `--help`. If `kv_heads`, `head_dim` or
`mlp_dim` is None, its value is computed from other fields, so that `--dim 256` changes the width of the heads too. The
code of the model reads the three through properties, which are never None: `key_heads`, `head_size` and `mlp_size`.
These letters stand for sizes, here and in all files of the model:

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
LARGEST_INT = 1 << 63  # integers of arrays are smaller
LARGEST_FLOAT = 3.4e38  # of float32, in which the model computes


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a GPT. The defaults are those of GPT-2 (124M). Impossible values raise ValueError."""

    vocab_size: int = 50257
    """Size of the vocabulary: the number of different token ids (V). If a tokenizer is given, it decides."""
    context: int = 1024
    """Length in tokens of the texts that the model is trained on. With learned positions it cannot read longer ones."""
    layers: int = 12
    """Number of layers, each a block of attention and MLP."""
    heads: int = 12
    """Number of attention heads per layer (H)."""
    kv_heads: int | None = None
    """Key-value heads per layer (K), each shared by heads / kv_heads query heads. none: as many as heads."""
    dim: int = 768
    """Width of the model (C): the length of the vector that represents a token."""
    head_dim: int | None = None
    """Width of one attention head (D). none: dim / heads."""
    mlp_dim: int | None = None
    """Width of the hidden layer of the MLP (F). none: 4 dim (swiglu, geglu: 8/3 dim, in multiples of 64)."""
    positions: Positions = "learned"
    """How the model knows the order of tokens. learned, sinusoidal: a vector is added to each embedding.
    rope: queries and keys are rotated. alibi: distant keys get lower scores.
    none: only the causal mask tells the order.
    """
    rope_base: float = 10000.0
    """For rope: a larger base makes the angles grow more slowly with the position. Longer texts need a larger base."""
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
    """Apply RMSNorm to the queries and keys of each head, so that attention scores cannot become very large."""
    window: int | None = None
    """Sliding window: a token attends to this many tokens, itself and those before it. none: to all before it."""
    dropout: float = 0.0
    """Probability of setting an element to 0 in training: embeddings, attention weights, sublayer outputs."""
    tied_head: bool = True
    """Use the token embedding as the weight of the output layer too."""
    soft_cap: float | None = None
    """Limit the logits to plus and minus this value: cap * tanh(logits / cap). none: no limit."""

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
        if not self.gated:
            return 4 * self.dim
        # A gated MLP has 3 matrices, not 2. With 8/3 dim instead of 4 dim, both have the same number of parameters.
        return math.ceil(8 * self.dim / 3 / 64) * 64  # rounded up to a multiple of 64, which matrix products like

    def to_json(self) -> dict[str, Any]:
        """The fields as a dictionary that `json.dump` accepts."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> GPTConfig:
        """The inverse of `to_json`. Raises ValueError when a field is missing, unknown or has an impossible value."""
        # A missing field could be filled with its default, but a later version may have another default. Then the
        # weights would be used in a model that is not the one they were trained in, without any error.
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
            self._require(name, _is_count, "a whole number of at least 1 and below 2^63")
        for name in ("kv_heads", "head_dim", "mlp_dim", "window"):
            if getattr(self, name) is not None:
                self._require(name, _is_count, "a whole number of at least 1 and below 2^63, or None")
        choices = {"positions": Positions, "norm": Norm, "norm_position": NormPosition, "mlp": Activation}
        for name, literal in choices.items():
            allowed = get_args(literal)  # Literal["a", "b"] -> ("a", "b")
            self._require(name, allowed.__contains__, f"one of {', '.join(allowed)}")
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
                f"dim={self.dim} is not a multiple of heads={self.heads}; use one that is, or set head_dim"
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
    return isinstance(n, int) and not isinstance(n, bool) and 1 <= n < LARGEST_INT


def _is_number(x: Any) -> bool:
    return isinstance(x, (int, float)) and not isinstance(x, bool) and abs(x) <= LARGEST_FLOAT  # False for NaN
