"""StarCoder 2 (Lozhkov et al. 2024, arXiv 2402.19173): grouped queries, rope and a window, with the norms, biases and
MLP of GPT-2.
"""

from __future__ import annotations

from llm.hub.families.gpt2 import PLAIN
from llm.hub.families.llama import LIKE_LLAMA
from llm.hub.families.rows import all_biases, choice, number, value, written

DEFAULTS = {
    "vocab_size": 49152, "hidden_size": 3072, "intermediate_size": 12288, "num_hidden_layers": 30,
    "num_attention_heads": 24, "num_key_value_heads": 2, "hidden_act": "gelu_pytorch_tanh",
    "max_position_embeddings": 4096, "norm_epsilon": 1e-5, "use_bias": True, "tie_word_embeddings": True,
}  # fmt: skip

STARCODER2 = LIKE_LLAMA.variant(
    "starcoder2",
    "Starcoder2ForCausalLM",
    defaults=DEFAULTS,
    rows={
        "hidden_act": choice("mlp", PLAIN),
        "norm_epsilon": number("norm_eps"),
        "use_bias": all_biases(),
        "sliding_window": value("window"),
        "residual_dropout": written("dropout"),
        "embedding_dropout": written("dropout"),
    },
    fixed={"norm": "layernorm"},
    tensor_names={"blocks.*.mlp.up": "model.layers.*.mlp.c_fc", "blocks.*.mlp.down": "model.layers.*.mlp.c_proj"},
)
