"""GPT-Neo (Black et al. 2021): a GPT-2 with windows in every second layer, that does not divide scores by sqrt(D)."""

from __future__ import annotations

from typing import Any

from llm.hub.families.family import Family
from llm.hub.families.gpt2 import PLAIN, PLAIN_NAMES
from llm.hub.families.llama import none_if
from llm.hub.fields import Fields
from llm.hub.weights import Part, Same, same_layers, stack
from llm.model.config import GPTConfig

DEFAULTS: dict[str, Any] = {
    "vocab_size": 50257,
    "max_position_embeddings": 2048,
    "hidden_size": 2048,
    "num_layers": 24,
    "num_heads": 16,
    "attention_types": [[["global", "local"], 12]],
    "window_size": 256,
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
    "tie_word_embeddings": True,
}
SPELLINGS = {"num_attention_heads": "num_heads", "num_hidden_layers": "num_layers"}


def read(fields: Fields) -> GPTConfig:
    dim, layers = fields.count("hidden_size"), fields.layers("num_layers")
    kinds = read_kinds(fields, layers)
    local = tuple(layer for layer in range(layers) if kinds[layer] == "local")
    return GPTConfig(
        vocab_size=fields.count("vocab_size"),
        context=fields.count("max_position_embeddings"),
        layers=layers,
        heads=fields.count("num_heads"),
        dim=dim,
        mlp_dim=none_if(fields.count("intermediate_size", 4 * dim), 4 * dim),
        norm_eps=fields.number("layer_norm_epsilon"),
        mlp=fields.choice("activation_function", PLAIN),
        window=fields.count("window_size") if local else None,
        window_layers=None if len(local) in (0, layers) else local,
        dropout=fields.number("resid_dropout", 0.0),
        tied_head=fields.flag("tie_word_embeddings"),
        attention_scale=1.0,
        qkv_bias=False,
    )


def read_kinds(fields: Fields, layers: int) -> list[str]:
    """The kind of each layer: a list of them, or of pairs of some kinds and how often these are repeated."""
    kinds, name = fields.get("attention_layers"), "attention_layers"
    if kinds is None:
        name = "attention_types"
        kinds = [kind for some, times in fields.get(name) or DEFAULTS[name] for kind in list(some) * min(times, layers)]
    if not isinstance(kinds, list) or len(kinds) != layers or not set(kinds) <= {"global", "local"}:
        raise fields.error(name, fields.get(name), f"global or local for each of the {layers} layers")
    return kinds


def write(config: GPTConfig) -> dict[str, Any]:
    some = range(config.layers) if config.window_layers is None else config.window_layers
    kinds = ["local" if config.window is not None and layer in some else "global" for layer in range(config.layers)]
    return {
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.context,
        "num_layers": config.layers,
        "num_heads": config.heads,
        "hidden_size": config.dim,
        "intermediate_size": config.mlp_size,
        "attention_types": [[[kind], 1] for kind in kinds],
        "window_size": config.window or config.context,
        "activation_function": PLAIN_NAMES.get(config.mlp, "gelu"),
        "layer_norm_epsilon": config.norm_eps,
        "resid_dropout": config.dropout,
        "embed_dropout": config.dropout,
        "attention_dropout": config.dropout,
        "tie_word_embeddings": config.tied_head,
    }


def tensors(config: GPTConfig) -> dict[str, Part]:
    parts: dict[str, Part] = {
        "embedding.weight": Same("transformer.wte.weight"),
        "positions.weight": Same("transformer.wpe.weight"),
        "head.weight": Same("lm_head.weight"),
    }
    same = {"norm": "transformer.ln_f"}
    for i in range(config.layers):
        ours, theirs = f"blocks.{i}", f"transformer.h.{i}"
        same |= {f"{ours}.norm1": f"{theirs}.ln_1", f"{ours}.norm2": f"{theirs}.ln_2"}
        same |= {f"{ours}.attention.out": f"{theirs}.attn.attention.out_proj"}
        same |= {f"{ours}.mlp.up": f"{theirs}.mlp.c_fc", f"{ours}.mlp.down": f"{theirs}.mlp.c_proj"}
        names = [f"{theirs}.attn.attention.{letter}_proj.weight" for letter in "qkv"]
        parts[f"{ours}.attention.qkv.weight"] = stack(names, [config.dim] * 3)
    return parts | same_layers(same)


GPT_NEO = Family(
    "gpt_neo",
    "GPTNeoForCausalLM",
    DEFAULTS,
    read,
    write,
    tensors,
    prefix="transformer.",
    spellings=SPELLINGS,
    surplus=("*.attn.attention.bias", "*.attn.attention.masked_bias"),
)
