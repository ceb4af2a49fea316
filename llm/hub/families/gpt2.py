"""GPT-2 (Radford et al. 2019). Its matrices are stored (in, out), transposed."""

from __future__ import annotations

from typing import Any

from llm.hub.families.family import Family
from llm.hub.families.llama import none_if
from llm.hub.fields import Fields
from llm.hub.weights import Part, Same, Transposed, same_layers
from llm.model.config import GPTConfig

# activation_function -> ours, for MLPs without a gate
PLAIN = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_python": "gelu",
    "relu": "relu",
    "relu2": "relu_squared",
    "silu": "silu",
    "swish": "silu",
}
PLAIN_NAMES = {"gelu": "gelu", "gelu_tanh": "gelu_new", "relu": "relu", "relu_squared": "relu2", "silu": "silu"}

DEFAULTS: dict[str, Any] = {
    "vocab_size": 50257,
    "n_positions": 1024,
    "n_embd": 768,
    "n_layer": 12,
    "n_head": 12,
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
    "resid_pdrop": 0.1,
    "embd_pdrop": 0.1,
    "attn_pdrop": 0.1,
    "scale_attn_weights": True,
    "tie_word_embeddings": True,
}
# Names of fields that transformers reads too.
SPELLINGS = {
    "hidden_size": "n_embd",
    "max_position_embeddings": "n_positions",
    "num_attention_heads": "n_head",
    "num_hidden_layers": "n_layer",
}


def read(fields: Fields) -> GPTConfig:
    fields.refuse_unless(add_cross_attention=False)
    dim = fields.count("n_embd")
    rates = {fields.number(name) for name in ("resid_pdrop", "embd_pdrop", "attn_pdrop")}
    return GPTConfig(
        vocab_size=fields.count("vocab_size"),
        context=fields.count("n_positions"),
        layers=fields.layers("n_layer"),
        heads=fields.count("n_head"),
        dim=dim,
        mlp_dim=none_if(fields.count("n_inner", 4 * dim), 4 * dim),
        mlp=fields.choice("activation_function", PLAIN),
        norm_eps=fields.number("layer_norm_epsilon"),
        # One rate here, three there. They act in training only; where they differ, --dropout has to say which.
        dropout=rates.pop() if len(rates) == 1 else 0.0,
        tied_head=fields.flag("tie_word_embeddings"),
        attention_scale=None if fields.flag("scale_attn_weights") else 1.0,
        attention_scale_by_layer=fields.flag("scale_attn_by_inverse_layer_idx"),
    )


def write(config: GPTConfig) -> dict[str, Any]:
    return {
        "vocab_size": config.vocab_size,
        "n_positions": config.context,
        "n_layer": config.layers,
        "n_head": config.heads,
        "n_embd": config.dim,
        "n_inner": config.mlp_dim,
        "activation_function": PLAIN_NAMES.get(config.mlp, "gelu"),
        "layer_norm_epsilon": config.norm_eps,
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.dropout,
        "tie_word_embeddings": config.tied_head,
        "scale_attn_weights": config.attention_scale != 1.0,
        "scale_attn_by_inverse_layer_idx": config.attention_scale_by_layer,
    }


def tensors(config: GPTConfig) -> dict[str, Part]:
    parts: dict[str, Part] = {
        "embedding.weight": Same("transformer.wte.weight"),
        "positions.weight": Same("transformer.wpe.weight"),
        "head.weight": Same("lm_head.weight"),
    }
    norms = {"norm": "transformer.ln_f"}
    for i in range(config.layers):
        ours, theirs = f"blocks.{i}", f"transformer.h.{i}"
        norms |= {f"{ours}.norm1": f"{theirs}.ln_1", f"{ours}.norm2": f"{theirs}.ln_2"}
        layers = {"attention.qkv": "attn.c_attn", "attention.out": "attn.c_proj"}
        layers |= {"mlp.up": "mlp.c_fc", "mlp.down": "mlp.c_proj"}
        for name, other in layers.items():
            parts[f"{ours}.{name}.weight"] = Transposed(f"{theirs}.{other}.weight")
            parts[f"{ours}.{name}.bias"] = Same(f"{theirs}.{other}.bias")
    return parts | same_layers(norms)


# Old files hold the causal mask of each layer too.
MASKS = ("*.attn.bias", "*.attn.masked_bias")
GPT2 = Family(
    "gpt2", "GPT2LMHeadModel", DEFAULTS, read, write, tensors, prefix="transformer.", spellings=SPELLINGS, surplus=MASKS
)
