"""BLOOM (BigScience 2022, arXiv 2211.05100): ALiBi, a norm of the embeddings, and otherwise a GPT-2."""

from __future__ import annotations

from typing import Any

from llm.hub.families.family import Family
from llm.hub.families.rows import Found, Row, count, flag, layers, number, unwritten, written
from llm.hub.families.tensor_names import qkv_in_turns
from llm.hub.fields import Fields

DEFAULTS = {
    "vocab_size": 250880, "hidden_size": 64, "n_layer": 2, "n_head": 8, "layer_norm_epsilon": 1e-5,
    "tie_word_embeddings": True,
}  # fmt: skip


def refuse_slow(fields: Fields, name: str, _: Found) -> dict[str, Any]:
    """A sum of several products, which leaves biases out."""
    if fields.count("pretraining_tp", 1) > 1:
        fields.refuse_unless(**{name: False})
    return {}


BLOOM = Family(
    "bloom",
    "BloomForCausalLM",
    defaults=DEFAULTS,
    rows={
        "vocab_size": count("vocab_size"),
        "seq_length": count("context", optional=2048),  # ALiBi sets no limit, so most files do not say it
        "n_layer": layers(),
        "n_head": count("heads"),
        "hidden_size": count("dim"),
        "layer_norm_epsilon": number("norm_eps"),
        "hidden_dropout": number("dropout", optional=0.0),
        "attention_dropout": written("dropout"),
        "tie_word_embeddings": flag("tied_head"),
        "slow_but_exact": Row(refuse_slow, unwritten),
    },
    fixed={"positions": "alibi", "mlp": "gelu_tanh", "embedding_norm": True},
    tensor_names={
        "embedding": "transformer.word_embeddings",
        "embedding_norm": "transformer.word_embeddings_layernorm",
        "blocks.*.norm1": "transformer.h.*.input_layernorm",
        "blocks.*.attention.qkv": qkv_in_turns("transformer.h.*.self_attention.query_key_value"),
        "blocks.*.attention.out": "transformer.h.*.self_attention.dense",
        "blocks.*.norm2": "transformer.h.*.post_attention_layernorm",
        "blocks.*.mlp.up": "transformer.h.*.mlp.dense_h_to_4h",
        "blocks.*.mlp.down": "transformer.h.*.mlp.dense_4h_to_h",
        "norm": "transformer.ln_f",
        "head": "lm_head",
    },
    only={"apply_residual_connection_post_layernorm": False},
    spellings={"n_embed": "hidden_size", "num_hidden_layers": "n_layer", "num_attention_heads": "n_head"},
    prefix="transformer.",
)
