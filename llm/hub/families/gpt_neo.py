"""GPT-Neo (Black et al. 2021): a GPT-2 with windows in every second layer, that does not divide scores by sqrt(D)."""

from __future__ import annotations

from typing import Any

from llm.hub.families.family import Family
from llm.hub.families.gpt2 import PLAIN
from llm.hub.families.rows import Found, Row, choice, count, flag, layers, number, size, written
from llm.hub.families.tensor_names import qkv
from llm.hub.families.windows import kinds_of_layers, some_layers
from llm.hub.fields import Fields
from llm.model.config import GPTConfig

USUAL: list[Any] = [[["global", "local"], 12]]  # some kinds of layers, and how often these are repeated
DEFAULTS = {
    "vocab_size": 50257, "max_position_embeddings": 2048, "hidden_size": 2048, "num_layers": 24, "num_heads": 16,
    "attention_types": USUAL, "window_size": 256, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5,
    "tie_word_embeddings": True,
}  # fmt: skip


def read_types(fields: Fields, name: str, found: Found) -> dict[str, Any]:
    """The window. `attention_layers` has the kind of each layer, and goes before `attention_types`."""
    layers, kinds = found["layers"], fields.get("attention_layers")
    if kinds is None:
        kinds = [kind for some, times in fields.get(name) or USUAL for kind in list(some) * min(times, layers)]
    else:
        name = "attention_layers"
    if not isinstance(kinds, list) or len(kinds) != layers or not set(kinds) <= {"global", "local"}:
        raise fields.error(name, fields.get(name), f"global or local for each of the {layers} layers")
    is_local = [kind == "local" for kind in kinds]
    return some_layers(fields.count("window_size") if any(is_local) else None, is_local)


def write_types(config: GPTConfig, name: str) -> dict[str, Any]:
    kinds = kinds_of_layers(config, "local", "global")
    return {name: [[[kind], 1] for kind in kinds], "window_size": config.window or config.context}


GPT_NEO = Family(
    "gpt_neo",
    "GPTNeoForCausalLM",
    defaults=DEFAULTS,
    rows={
        "vocab_size": count("vocab_size"),
        "max_position_embeddings": count("context"),
        "num_layers": layers(),
        "num_heads": count("heads"),
        "hidden_size": count("dim"),
        "intermediate_size": size("mlp_dim", lambda found: 4 * found["dim"]),
        "activation_function": choice("mlp", PLAIN),
        "layer_norm_epsilon": number("norm_eps"),
        "resid_dropout": number("dropout", optional=0.0),
        "embed_dropout": written("dropout"),
        "attention_dropout": written("dropout"),
        "tie_word_embeddings": flag("tied_head"),
        "attention_types": Row(read_types, write_types),
    },
    fixed={"attention_scale": 1.0, "qkv_bias": False},
    tensor_names={
        "embedding": "transformer.wte",
        "positions": "transformer.wpe",
        "blocks.*.norm1": "transformer.h.*.ln_1",
        "blocks.*.attention.qkv": qkv("transformer.h.*.attn.attention.{}_proj"),
        "blocks.*.attention.out": "transformer.h.*.attn.attention.out_proj",
        "blocks.*.norm2": "transformer.h.*.ln_2",
        "blocks.*.mlp.up": "transformer.h.*.mlp.c_fc",
        "blocks.*.mlp.down": "transformer.h.*.mlp.c_proj",
        "norm": "transformer.ln_f",
        "head": "lm_head",
    },
    spellings={"num_attention_heads": "num_heads", "num_hidden_layers": "num_layers"},
    surplus=("*.attn.attention.bias", "*.attn.attention.masked_bias"),
    prefix="transformer.",
)
