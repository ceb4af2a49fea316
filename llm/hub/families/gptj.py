"""GPT-J (Wang and Komatsuzaki 2021): attention and MLP side by side after one norm, neighbouring elements of a head
rotated as pairs, no biases in attention, and one in the head.
"""

from __future__ import annotations

from typing import Any

from llm.hub.families.family import Family
from llm.hub.families.gpt2 import MASKS, ROWS, SPELLINGS
from llm.hub.families.rows import Found, Row, head_size, none_if, number, same
from llm.hub.families.tensor_names import qkv
from llm.hub.fields import Fields

DEFAULTS = {
    "vocab_size": 50400, "n_positions": 2048, "n_embd": 4096, "n_layer": 28, "n_head": 16, "rotary_dim": 64,
    "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5,
}  # fmt: skip


def read_rotated(fields: Fields, name: str, found: Found) -> dict[str, Any]:
    return {"rope_dim": none_if(fields.count(name), head_size(found))}


GPTJ = Family(
    "gptj",
    "GPTJForCausalLM",
    defaults=DEFAULTS,
    rows=ROWS | {"resid_pdrop": number("dropout", optional=0.0), "rotary_dim": Row(read_rotated, same("rope_dim"))},
    fixed={
        "positions": "rope",
        "rope_interleaved": True,
        "parallel": True,
        "shared_norm": True,
        "qkv_bias": False,
        "out_bias": False,
        "head_bias": True,
    },
    tensor_names={
        "embedding": "transformer.wte",
        "blocks.*.norm1": "transformer.h.*.ln_1",
        "blocks.*.attention.qkv": qkv("transformer.h.*.attn.{}_proj"),
        "blocks.*.attention.out": "transformer.h.*.attn.out_proj",
        "blocks.*.mlp.up": "transformer.h.*.mlp.fc_in",
        "blocks.*.mlp.down": "transformer.h.*.mlp.fc_out",
        "norm": "transformer.ln_f",
        "head": "lm_head",
    },
    spellings=SPELLINGS,
    prefix="transformer.",
    surplus=MASKS,
)
