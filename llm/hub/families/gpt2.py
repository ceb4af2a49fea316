"""GPT-2 (Radford et al. 2019). Its matrices are stored (in, out), transposed."""

from __future__ import annotations

from typing import Any

from llm.hub.families.family import Family
from llm.hub.families.rows import Found, Row, choice, count, flag, layers, number, same, size, written
from llm.hub.families.tensor_names import transposed
from llm.hub.fields import Fields

# activation_function -> ours, for MLPs without a gate. Of several names, the first is written.
PLAIN = {
    "gelu": "gelu", "gelu_python": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh", "relu": "relu", "relu2": "relu_squared", "silu": "silu", "swish": "silu",
}  # fmt: skip
DEFAULTS = {
    "vocab_size": 50257, "n_positions": 1024, "n_embd": 768, "n_layer": 12, "n_head": 12,
    "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "resid_pdrop": 0.1, "embd_pdrop": 0.1,
    "attn_pdrop": 0.1, "scale_attn_weights": True, "tie_word_embeddings": True,
}  # fmt: skip


def read_dropout(fields: Fields, _: str, found: Found) -> dict[str, Any]:
    """One rate here, three there. They act in training only; where they differ, --dropout has to say which."""
    rates = {fields.number(name) for name in ("resid_pdrop", "embd_pdrop", "attn_pdrop")}
    return {"dropout": rates.pop() if len(rates) == 1 else 0.0}


# What GPT-J has too.
ROWS = {
    "vocab_size": count("vocab_size"),
    "n_positions": count("context"),
    "n_layer": layers(),
    "n_head": count("heads"),
    "n_embd": count("dim"),
    "n_inner": size("mlp_dim", lambda found: 4 * found["dim"]),
    "activation_function": choice("mlp", PLAIN),
    "layer_norm_epsilon": number("norm_eps"),
    "resid_pdrop": Row(read_dropout, same("dropout")),
    "embd_pdrop": written("dropout"),
    "attn_pdrop": written("dropout"),
    "tie_word_embeddings": flag("tied_head"),
}
SPELLINGS = {  # names that transformers reads too
    "hidden_size": "n_embd", "max_position_embeddings": "n_positions", "num_attention_heads": "n_head",
    "num_hidden_layers": "n_layer",
}  # fmt: skip
MASKS = ("*.attn.bias", "*.attn.masked_bias")  # old files hold the causal mask of each layer too

GPT2 = Family(
    "gpt2",
    "GPT2LMHeadModel",
    defaults=DEFAULTS,
    rows={
        **ROWS,
        "scale_attn_weights": flag("attention_scale", yes=None, no=1.0),
        "scale_attn_by_inverse_layer_idx": flag("attention_scale_by_layer"),
    },
    fixed={},
    tensor_names={
        "embedding": "transformer.wte",
        "positions": "transformer.wpe",
        "blocks.*.norm1": "transformer.h.*.ln_1",
        "blocks.*.attention.qkv": transposed("transformer.h.*.attn.c_attn"),
        "blocks.*.attention.out": transposed("transformer.h.*.attn.c_proj"),
        "blocks.*.norm2": "transformer.h.*.ln_2",
        "blocks.*.mlp.up": transposed("transformer.h.*.mlp.c_fc"),
        "blocks.*.mlp.down": transposed("transformer.h.*.mlp.c_proj"),
        "norm": "transformer.ln_f",
        "head": "lm_head",
    },
    only={"add_cross_attention": False},
    spellings=SPELLINGS,
    prefix="transformer.",
    surplus=MASKS,
)
