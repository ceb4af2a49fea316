"""GPT-J (Wang and Komatsuzaki 2021): attention and MLP side by side after one norm, neighbouring elements of a head
rotated as pairs, no biases in attention, and one in the head.
"""

from __future__ import annotations

from typing import Any

from llm.hub.families.family import Family
from llm.hub.families.gpt2 import MASKS, PLAIN, PLAIN_NAMES, SPELLINGS
from llm.hub.families.llama import none_if
from llm.hub.fields import Fields
from llm.hub.weights import Part, Same, same_layers, stack
from llm.model.config import GPTConfig

DEFAULTS: dict[str, Any] = {
    "vocab_size": 50400,
    "n_positions": 2048,
    "n_embd": 4096,
    "n_layer": 28,
    "n_head": 16,
    "rotary_dim": 64,
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
}


def read(fields: Fields) -> GPTConfig:
    dim, heads = fields.count("n_embd"), fields.count("n_head")
    return GPTConfig(
        vocab_size=fields.count("vocab_size"),
        context=fields.count("n_positions"),
        layers=fields.layers("n_layer"),
        heads=heads,
        dim=dim,
        mlp_dim=none_if(fields.count("n_inner", 4 * dim), 4 * dim),
        positions="rope",
        rope_interleaved=True,
        rope_dim=none_if(fields.count("rotary_dim"), dim // heads),
        norm_eps=fields.number("layer_norm_epsilon"),
        mlp=fields.choice("activation_function", PLAIN),
        dropout=fields.number("resid_pdrop", 0.0),
        tied_head=fields.flag("tie_word_embeddings"),
        qkv_bias=False,
        out_bias=False,
        head_bias=True,
        parallel=True,
        shared_norm=True,
    )


def write(config: GPTConfig) -> dict[str, Any]:
    return {
        "vocab_size": config.vocab_size,
        "n_positions": config.context,
        "n_layer": config.layers,
        "n_head": config.heads,
        "n_embd": config.dim,
        "n_inner": config.mlp_size,
        "rotary_dim": config.rotated,
        "activation_function": PLAIN_NAMES.get(config.mlp, "gelu"),
        "layer_norm_epsilon": config.norm_eps,
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.dropout,
        "tie_word_embeddings": config.tied_head,
    }


def tensors(config: GPTConfig) -> dict[str, Part]:
    parts: dict[str, Part] = {"embedding.weight": Same("transformer.wte.weight")}
    same = {"norm": "transformer.ln_f", "head": "lm_head"}
    for i in range(config.layers):
        ours, theirs = f"blocks.{i}", f"transformer.h.{i}"
        same |= {f"{ours}.norm1": f"{theirs}.ln_1"}
        same |= {f"{ours}.mlp.up": f"{theirs}.mlp.fc_in", f"{ours}.mlp.down": f"{theirs}.mlp.fc_out"}
        names = [f"{theirs}.attn.{letter}_proj.weight" for letter in "qkv"]
        parts[f"{ours}.attention.qkv.weight"] = stack(names, [config.dim] * 3)
        parts[f"{ours}.attention.out.weight"] = Same(f"{theirs}.attn.out_proj.weight")
    return parts | same_layers(same)


GPTJ = Family(
    "gptj", "GPTJForCausalLM", DEFAULTS, read, write, tensors, prefix="transformer.", spellings=SPELLINGS, surplus=MASKS
)
