"""What a GPT looks like: one flat, frozen dataclass.

The fields are also options of the command line: the text below a field is its `--help`. The first fields are enough for
GPT-2, Llama and all presets. The others, further down, are choices that single families of models have made; their
defaults change nothing. If `kv_heads`, `head_dim`, `mlp_dim` or `rope_dim` is None, its value is computed from
other fields, so that `--dim 256` changes the width of the heads too. The code of the model reads these four through
properties, which are never None: `key_heads`, `head_size`, `mlp_size` and `rotated`. What differs between layers is in
layer_kinds.py.

These letters stand for sizes, here and in all files of the model:

    B batch        T tokens (queries)       S tokens that can be attended to (keys)      V vocabulary      C dim
    H heads        K key-value heads        D width of a head                            F width of the MLP
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any, Literal, get_args

from llm.model.checks import is_count, is_number, is_positive
from llm.model.rope_scaling import RopeScaling

Positions = Literal["learned", "sinusoidal", "rope", "alibi", "none"]
Norm = Literal["layernorm", "rmsnorm"]
NormPosition = Literal["pre", "post", "output", "both"]
Activation = Literal[
    "gelu", "gelu_tanh", "relu", "relu_squared", "silu", "swiglu", "geglu", "geglu_tanh", "reglu"
]  # fmt: skip

GATED = ("swiglu", "geglu", "geglu_tanh", "reglu")


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
    """Width of the hidden layer of the MLP (F). none: 4 dim, or 8/3 dim if it is gated, in multiples of 64."""
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
    """What is normalised. pre: the input of each sublayer (GPT-2). post: the sum after it (Vaswani et al. 2017).
    output: the output of the sublayer, before it is added (OLMo 2). both: its input and its output (Gemma 2).
    """
    norm_eps: float = 1e-5
    """Small number added to the variance before dividing by its square root."""
    mlp: Activation = "gelu_tanh"
    """Activation function of the MLP; swiglu, geglu, geglu_tanh and reglu are gated."""
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

    # Further choices of published models, which llm/hub reads. They came later than the fields above: a configuration
    # that was written before has none of them (`from_json`), and their defaults mean that the model is as it was.

    qkv_bias: bool | None = None
    """Give the projections to queries, keys and values a bias (Qwen2). none: as --bias."""
    out_bias: bool | None = None
    """Give the output layer of attention a bias. none: as --bias."""
    mlp_bias: bool | None = None
    """Give the layers of the MLP a bias. none: as --bias."""
    norm_bias: bool | None = None
    """Give layernorm a bias. none: as --bias."""
    head_bias: bool = False
    """Give the output layer a bias (GPT-J, Phi)."""
    parallel: bool = False
    """Attention and MLP both read the same x, and both outputs are added to it (GPT-J, GPT-NeoX)."""
    shared_norm: bool = False
    """With parallel: one norm for attention and MLP (GPT-J), not one for each (GPT-NeoX)."""
    embedding_norm: bool = False
    """Normalise the embeddings before the first layer (BLOOM)."""
    embedding_scale: float = 1.0
    """Multiply the embeddings by this number (Gemma: the square root of dim)."""
    attention_scale: float | None = None
    """Multiply the products of queries and keys by this number. none: 1 / sqrt(D), with D the width of a head."""
    attention_scale_by_layer: bool = False
    """Divide the scores of layer number i, counted from 1, by i too (Mistral's GPT-2)."""
    attention_soft_cap: float | None = None
    """Limit the scores of attention to plus and minus this value: cap * tanh(scores / cap) (Gemma 2)."""
    qk_norm_all: bool = False
    """With qk_norm: one norm over the queries of all heads together, and one over the keys (OLMo 2)."""
    rope_dim: int | None = None
    """For rope: rotate only the first elements of each head, this many (GPT-NeoX). none: all."""
    rope_scaling: RopeScaling | None = None
    """For rope: change the angles, for texts longer than those of the training: llm/model/rope_scaling.py."""
    rope_layers: tuple[int, ...] | None = None
    """For rope: the layers that rotate queries and keys, counted from 0 (SmolLM3 leaves some out). none: all."""
    window_layers: tuple[int, ...] | None = None
    """With window: the layers that have the window, counted from 0. The others see all tokens (Gemma 2). none: all."""
    window_rope_base: float | None = None
    """With window and rope: the base in layers with the window, without scaling (Gemma 3). none: as --rope-base."""
    experts: int | None = None
    """Mixture of experts: the number of MLPs in each layer, among which a router chooses. none: one MLP, no router."""
    experts_per_token: int = 2
    """With experts: how many of them compute each token."""
    normalize_experts: bool = True
    """With experts: scale the weights of those chosen so that their sum is 1 (Mixtral)."""
    balance_loss: float = 0.0
    """With experts: coefficient of the loss that is small if all experts are used equally: llm/model/experts.py."""
    balance_by_layer: bool = False
    """With experts: balance those of each layer by itself. False: of all layers together, as transformers does."""
    dense_layers: tuple[int, ...] = ()
    """With experts: the layers that have one MLP instead, counted from 0."""
    dense_mlp_dim: int | None = None
    """With experts: width of the hidden layer of the MLP in dense layers. none: as --mlp-dim."""

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

    @cached_property
    def rotated(self) -> int:
        """How many elements of each head rope rotates: rope_dim, or its default."""
        return self.head_size if self.rope_dim is None else self.rope_dim

    def has_bias(self, part: Literal["qkv", "out", "mlp", "norm"]) -> bool:
        """Whether this part of a block has biases: its own field, or `bias`."""
        own: bool | None = getattr(self, f"{part}_bias")
        return self.bias if own is None else own

    def has_experts(self, layer: int) -> bool:
        """Whether this layer, counted from 0, has a mixture of experts."""
        return self.experts is not None and layer not in self.dense_layers

    def mlp_width(self, layer: int) -> int:
        """F of the MLP of this layer, or of each of its experts."""
        dense = self.experts is not None and layer in self.dense_layers
        return self.dense_mlp_dim if dense and self.dense_mlp_dim is not None else self.mlp_size

    def to_json(self) -> dict[str, Any]:
        """The fields as a dictionary that `json.dump` accepts."""
        return json.loads(json.dumps(asdict(self)))  # as it will be read again: lists, not tuples

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
        # (The further choices came later: what was written before them has none, and their defaults change nothing.)
        if missing := sorted(known - data.keys() - cls.further_fields().keys()):
            raise ValueError(f"missing in a model configuration: {', '.join(missing)}; to_json() writes all fields")
        scaling = data.get("rope_scaling")
        return cls(**data | {"rope_scaling": None if scaling is None else RopeScaling.from_json(scaling)})

    @classmethod
    def further_fields(cls) -> dict[str, Any]:
        """The further choices, the fields after `soft_cap`, with their defaults."""
        defaults = {field.name: field.default for field in fields(cls)}
        first = list(defaults).index("soft_cap") + 1
        return dict(list(defaults.items())[first:])

    def __post_init__(self) -> None:
        for field in fields(GPTConfig):  # and not of self: --help makes a class of it whose fields have other types
            value, kind = getattr(self, field.name), str(field.type)
            if kind.startswith("tuple") and isinstance(value, list):  # as JSON has it
                object.__setattr__(self, field.name, tuple(value))
            is_possible, wanted = POSSIBLE.get(field.name) or POSSIBLE[kind.removesuffix(" | None")]
            if kind.endswith(" | None") and value is None:
                continue
            if not is_possible(getattr(self, field.name)):
                more = ", or None" if kind.endswith(" | None") else ""
                raise ValueError(f"{field.name}={value!r} is not possible; use {wanted}{more}")
        self._check_layers()
        self._check_heads()
        self._check_combinations()

    def _check_layers(self) -> None:
        for name in ("rope_layers", "window_layers", "dense_layers"):
            numbers = getattr(self, name)
            if numbers and not 0 <= min(numbers) <= max(numbers) < self.layers:
                raise ValueError(f"{name}={numbers!r} is not possible; use numbers from 0 to {self.layers - 1}")

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

    def _check_combinations(self) -> None:
        if self.rope_dim is not None and (self.rope_dim % 2 or self.rope_dim > self.head_size):
            raise ValueError(
                f"rope_dim={self.rope_dim} is not possible; use an even number up to the width of a head, "
                f"{self.head_size}"
            )
        if self.experts is not None and self.experts_per_token > self.experts:
            raise ValueError(
                f"experts_per_token={self.experts_per_token} is more than experts={self.experts}; use at most as many"
            )
        if self.parallel and self.norm_position != "pre":
            raise ValueError(f"parallel goes with norm_position='pre' only, not {self.norm_position!r}")
        if self.shared_norm and not self.parallel:
            raise ValueError("shared_norm is possible only with parallel, where attention and MLP read the same x")
        if self.head_bias and self.tied_head:
            raise ValueError("head_bias needs a head of its own; use tied_head=False")
        if self.rope_scaling is not None:
            self.rope_scaling.check(self.rope_base, self.rotated)


# --- possible values --------------------------------------------------------------------------------------------------


def _one_of(literal: Any) -> tuple[Callable[[Any], bool], str]:
    choices = get_args(literal)  # Literal["a", "b"] -> ("a", "b")
    return choices.__contains__, f"one of {', '.join(choices)}"


# Which values a field may have, and that in words: by the name of the field, or else by its type.
POSSIBLE: dict[str, tuple[Callable[[Any], bool], str]] = {
    "dropout": (lambda x: is_number(x) and 0 <= x < 1, "a number of at least 0 and below 1"),
    "balance_loss": (lambda x: is_number(x) and x >= 0, "a number of at least 0"),
    "int": (is_count, "a whole number of at least 1 and below 2^63"),
    "float": (is_positive, "a number above 0"),
    "bool": (lambda b: isinstance(b, bool), "True or False"),
    "tuple[int, ...]": (lambda t: isinstance(t, tuple) and all(type(n) is int for n in t), "numbers of layers"),
    "RopeScaling": (lambda x: isinstance(x, RopeScaling), "a RopeScaling"),
    "Positions": _one_of(Positions),
    "Norm": _one_of(Norm),
    "NormPosition": _one_of(NormPosition),
    "Activation": _one_of(Activation),
}
