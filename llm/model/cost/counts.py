"""How many parameters a model has, computed from its configuration alone. Sizes (B, T, C ...): config.py."""

from __future__ import annotations

from dataclasses import astuple, dataclass

from llm.model.config import GPTConfig

OTHER = -1  # stands for a layer that is not listed in `dense_layers`


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
class Trained:
    """What is trained, where that is not the whole model: an adapter, or what is not frozen."""

    numbers: int  # that are trained
    added: int = 0  # of them: those of an adapter, which the configuration does not count
    frozen_layers: int = 0  # the first ones, below all that is trained: no gradient comes there
    head: bool = True  # whether the weight of the head is trained
    per_token: int = 0  # numbers that an adapter adds to the graph for each token


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
    attention = linear(C, (H + 2 * K) * D, bias=config.has_bias("qkv")) + linear(H * D, C, bias=config.has_bias("out"))
    return Parameters(
        embedding=V * C,
        positions=config.context * C if config.positions == "learned" else 0,
        attention=L * attention * (3 if pairs else 1),
        mlp=sum(_mlp_parameters(config, layer, used=used) for layer in dense)
        + (L - len(dense)) * _mlp_parameters(config, OTHER, used=used) * (2 if pairs else 1),
        norms=L * (norms_of_a_layer * norm + qk_norms) + norms_outside * norm,
        head=0 if config.tied_head else linear(C, V, bias=config.head_bias),
    )


def _mlp_parameters(config: GPTConfig, layer: int, *, used: bool) -> int:
    C, F, bias = config.dim, config.mlp_width(layer), config.has_bias("mlp")
    mlp = linear(C, branches(config) * F, bias=bias) + linear(F, C, bias=bias)
    if config.experts is None or not config.has_experts(layer):
        return mlp
    router = C * config.experts
    return router + (config.experts_per_token if used else config.experts) * mlp


def linear(inputs: int, outputs: int, *, bias: bool) -> int:
    """Parameters of a linear layer."""
    return inputs * outputs + (outputs if bias else 0)


def branches(config: GPTConfig) -> int:
    """How many up-projections the MLP has: a gated one has two."""
    return 2 if config.gated else 1
