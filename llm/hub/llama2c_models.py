"""The model in a .bin file of llama2.c (llama2c.py): a Llama."""

from __future__ import annotations

from llm.hub.llama2c import Llama2C
from llm.hub.weights import Part, Same, interleaved_qkv, stack
from llm.model.config import GPTConfig


def llama2c_config(file: Llama2C) -> GPTConfig:
    sizes = file.sizes
    return GPTConfig(
        vocab_size=sizes["vocab_size"],
        context=sizes["max_seq_len"],
        layers=sizes["n_layers"],
        heads=sizes["n_heads"],
        kv_heads=sizes["n_kv_heads"],
        dim=sizes["dim"],
        mlp_dim=sizes["hidden_dim"],
        positions="rope",
        norm="rmsnorm",
        norm_eps=1e-5,
        mlp="swiglu",
        bias=False,
        tied_head=file.shared_classifier,
    )


def llama2c_tensors(config: GPTConfig) -> dict[str, Part]:
    """Our names -> theirs."""
    parts: dict[str, Part] = {
        "embedding.weight": Same("tok_embeddings.weight"),
        "norm.weight": Same("norm.weight"),
        "head.weight": Same("output.weight"),
    }
    for layer in range(config.layers):
        ours, theirs = f"blocks.{layer}", f"layers.{layer}"
        names = [f"{theirs}.attention.w{letter}.weight" for letter in "qkv"]
        qkv = interleaved_qkv(names, config.heads, config.key_heads, config.head_size)
        gate_up = stack([f"{theirs}.feed_forward.w1.weight", f"{theirs}.feed_forward.w3.weight"], [config.mlp_size] * 2)
        parts |= {
            f"{ours}.norm1.weight": Same(f"{theirs}.attention_norm.weight"),
            f"{ours}.attention.qkv.weight": qkv,
            f"{ours}.attention.out.weight": Same(f"{theirs}.attention.wo.weight"),
            f"{ours}.norm2.weight": Same(f"{theirs}.ffn_norm.weight"),
            f"{ours}.mlp.up.weight": gate_up,
            f"{ours}.mlp.down.weight": Same(f"{theirs}.feed_forward.w2.weight"),
        }
    return parts
