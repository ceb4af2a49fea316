"""Phi 1, 1.5 and 2 (Gunasekar et al. 2023, arXiv 2306.11644; Li et al. 2023, arXiv 2309.05463): attention and MLP side
by side after one norm, a rotation of the first half of each head, and biases everywhere, in the head too.
"""

from __future__ import annotations

from llm.hub.families.gpt2 import PLAIN
from llm.hub.families.llama import FREQUENCIES, LIKE_LLAMA
from llm.hub.families.rope import rope, rotated_part
from llm.hub.families.rows import choice, number, written

DEFAULTS = {
    "vocab_size": 51200, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 24,
    "hidden_act": "gelu_new", "layer_norm_eps": 1e-5, "partial_rotary_factor": 0.5,
}  # fmt: skip

PHI = LIKE_LLAMA.variant(
    "phi",
    "PhiForCausalLM",
    defaults=DEFAULTS,
    rows={
        "hidden_act": choice("mlp", PLAIN),
        "layer_norm_eps": number("norm_eps"),
        "rope_parameters": rope(partial=True),
        "partial_rotary_factor": rotated_part(),
        "resid_pdrop": written("dropout"),
        "embd_pdrop": written("dropout"),
    },
    fixed={"norm": "layernorm", "bias": True, "head_bias": True, "parallel": True, "shared_norm": True},
    tensor_names={
        "blocks.*.attention.out": "model.layers.*.self_attn.dense",
        "blocks.*.mlp.up": "model.layers.*.mlp.fc1",
        "blocks.*.mlp.down": "model.layers.*.mlp.fc2",
        "norm": "model.final_layernorm",
    },
    only={"qk_layernorm": False},
    surplus=FREQUENCIES,
)
