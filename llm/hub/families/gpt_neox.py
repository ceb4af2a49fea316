"""GPT-NeoX and Pythia (Black et al. 2022, arXiv 2204.06745; Biderman et al. 2023, arXiv 2304.01373): attention and MLP
side by side, and a rotation of the first quarter of each head.
"""

from __future__ import annotations

from typing import Any

from llm.hub.families.family import Family
from llm.hub.families.gpt2 import PLAIN, PLAIN_NAMES
from llm.hub.families.rope import read_rope, write_rope
from llm.hub.fields import Fields
from llm.hub.weights import Part, Same, heads_in_turns, same_layers
from llm.model.config import GPTConfig

DEFAULTS: dict[str, Any] = {
    "vocab_size": 50432,
    "hidden_size": 6144,
    "num_hidden_layers": 44,
    "num_attention_heads": 64,
    "intermediate_size": 24576,
    "hidden_act": "gelu",
    "max_position_embeddings": 2048,
    "layer_norm_eps": 1e-5,
    "use_parallel_residual": True,
    "attention_bias": True,
    "rotary_emb_base": 10000.0,
    "rotary_pct": 0.25,
}


def read(fields: Fields) -> GPTConfig:
    heads, dim = fields.count("num_attention_heads"), fields.count("hidden_size")
    fields.refuse_unless(head_dim=dim // heads)  # transformers would rotate by this, but split heads by dim / heads
    attention = None if fields.flag("attention_bias") else False
    names = {"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"}
    return GPTConfig(
        vocab_size=fields.count("vocab_size"),
        context=fields.count("max_position_embeddings"),
        layers=fields.layers("num_hidden_layers"),
        heads=heads,
        dim=dim,
        mlp_dim=fields.count("intermediate_size"),
        positions="rope",
        norm_eps=fields.number("layer_norm_eps"),
        mlp=fields.choice("hidden_act", PLAIN),
        dropout=fields.number("hidden_dropout", 0.0),
        tied_head=fields.flag("tie_word_embeddings"),
        parallel=fields.flag("use_parallel_residual"),
        qkv_bias=attention,
        out_bias=attention,
        **read_rope(fields, dim // heads, names=names, partial=True),
    )


def write(config: GPTConfig) -> dict[str, Any]:
    return {
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.context,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "hidden_size": config.dim,
        "intermediate_size": config.mlp_size,
        "layer_norm_eps": config.norm_eps,
        "hidden_act": PLAIN_NAMES.get(config.mlp, "gelu"),
        "hidden_dropout": config.dropout,
        "attention_dropout": config.dropout,
        "tie_word_embeddings": config.tied_head,
        "use_parallel_residual": config.parallel,
        "attention_bias": config.has_bias("qkv"),
        "rotary_emb_base": config.rope_base,
        "rotary_pct": config.rotated / config.head_size,
        **write_rope(config),
    }


def tensors(config: GPTConfig) -> dict[str, Part]:
    parts: dict[str, Part] = {
        "embedding.weight": Same("gpt_neox.embed_in.weight"),
        "head.weight": Same("embed_out.weight"),
    }
    same = {"norm": "gpt_neox.final_layer_norm"}
    for i in range(config.layers):
        ours, theirs = f"blocks.{i}", f"gpt_neox.layers.{i}"
        same |= {f"{ours}.norm1": f"{theirs}.input_layernorm", f"{ours}.norm2": f"{theirs}.post_attention_layernorm"}
        same |= {f"{ours}.attention.out": f"{theirs}.attention.dense"}
        same |= {f"{ours}.mlp.up": f"{theirs}.mlp.dense_h_to_4h", f"{ours}.mlp.down": f"{theirs}.mlp.dense_4h_to_h"}
        for kind in ("weight", "bias"):
            name = f"{theirs}.attention.query_key_value.{kind}"
            parts[f"{ours}.attention.qkv.{kind}"] = heads_in_turns(name, config.heads, config.head_size)
    return parts | same_layers(same)


GPT_NEOX = Family(
    "gpt_neox",
    "GPTNeoXForCausalLM",
    DEFAULTS,
    read,
    write,
    tensors,
    prefix="gpt_neox.",
    renamed={"lm_head.weight": "embed_out.weight"},
    surplus=("*.attention.bias", "*.attention.masked_bias", "*.rotary_emb.inv_freq"),
)
