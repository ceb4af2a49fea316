"""Shapes of models by name: published ones, and small ones for a laptop.

GPT-2: Radford et al. 2019, with the sizes of the released weights. Llama 2: Touvron et al. 2023 (arXiv 2307.09288).
SmolLM2: Allal et al. 2025 (arXiv 2502.02737). Qwen3: Yang et al. 2025 (arXiv 2505.09388). Mixtral: Jiang et al. 2024
(arXiv 2401.04088). The last three are mixtures of experts (experts.py). How all are trained: llm/runs/presets.py.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from llm.model.config import GPTConfig

GPT2 = GPTConfig()
LLAMA = GPTConfig(vocab_size=32000, positions="rope", norm="rmsnorm", mlp="swiglu", bias=False, tied_head=False)
TINY: dict[str, Any] = {"vocab_size": 4096, "context": 128, "layers": 4, "heads": 4, "dim": 128}
SMALL: dict[str, Any] = {"vocab_size": 4096, "context": 256, "layers": 6, "heads": 6, "dim": 384}

# fmt: off
PRESETS = {
    "gpt2":             GPT2,                                               # 124M parameters
    "gpt2-medium":      replace(GPT2, layers=24, heads=16, dim=1024),       # 355M
    "gpt2-large":       replace(GPT2, layers=36, heads=20, dim=1280),       # 774M
    "gpt2-xl":          replace(GPT2, layers=48, heads=25, dim=1600),       # 1.6B
    "llama2-7b":        replace(LLAMA, context=4096, layers=32, heads=32, dim=4096, mlp_dim=11008),
    "smollm2-135m":     replace(LLAMA, vocab_size=49152, context=8192, layers=30, heads=9, kv_heads=3, dim=576,
                                mlp_dim=1536, rope_base=1e5, tied_head=True),
    "qwen3-0.6b":       replace(LLAMA, vocab_size=151936, context=40960, layers=28, heads=16, kv_heads=8, dim=1024,
                                head_dim=128, mlp_dim=3072, rope_base=1e6, norm_eps=1e-6, qk_norm=True, tied_head=True),
    "tiny":             replace(GPT2, **TINY),
    "small":            replace(GPT2, **SMALL),
    "llama-tiny":       replace(LLAMA, **TINY, kv_heads=2, tied_head=True),
    "llama-small":      replace(LLAMA, **SMALL, kv_heads=3, tied_head=True),
    # nanoGPT's demo for a CPU, with a token for each character: github.com/karpathy/nanoGPT, "I only have a macbook"
    "nanogpt-char":     replace(GPT2, vocab_size=65, context=64, layers=4, heads=4, dim=128, bias=False),
    # as large as nanogpt-char, and learns twice as fast: docs/LOG.md, 2026-11-26
    "shakespeare-char": replace(LLAMA, vocab_size=65, context=64, layers=4, heads=8, dim=128, mlp="relu_squared",
                                qk_norm=True, tied_head=True),
    "mixtral-8x7b":     replace(LLAMA, context=32768, layers=32, heads=32, kv_heads=8, dim=4096, mlp_dim=14336,
                                rope_base=1e6, experts=8, experts_per_token=2, balance_loss=0.02),
    "qwen3-30b-a3b":    replace(LLAMA, vocab_size=151936, context=40960, layers=48, heads=32, kv_heads=4, dim=2048,
                                head_dim=128, mlp_dim=768, rope_base=1e6, norm_eps=1e-6, qk_norm=True,
                                experts=128, experts_per_token=8, balance_loss=0.001),
    # as many operations for a token as the preset "default", and three times its parameters: docs/LOG.md, 2026-11-30
    "moe-tiny":         replace(LLAMA, vocab_size=4096, context=128, layers=4, heads=8, dim=128, mlp="relu_squared",
                                mlp_dim=256, qk_norm=True, tied_head=True, experts=8, balance_loss=0.01,
                                balance_by_layer=True),
    # Vaswani et al. 2017, an encoder and a decoder (transformer.py), much smaller; add --dropout 0.1 for real languages
    "transformer-translate": replace(GPT2, vocab_size=4096, context=40, layers=2, heads=4, dim=128, mlp="relu",
                                     positions="sinusoidal", norm_position="post"),
}
# fmt: on


def preset(name: str) -> GPTConfig:
    """The configuration called `name`. For another name, ValueError lists the names."""
    if name not in PRESETS:
        raise ValueError(f"there is no preset {name!r}; choose from {', '.join(PRESETS)}")
    return PRESETS[name]
