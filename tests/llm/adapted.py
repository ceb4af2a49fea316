"""Models with adapters for tests: every kind, drawn, with random values in all their parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.tuning import add_lora, add_prefix, add_prompt
from minigrad.backend import to_device
from tests.llm.gpts import random_gpt

TARGETS = st.sampled_from(
    [None, "all-linear", ["qkv"], ["attention.out", "down"], ["embedding", "qkv"], ["head"], ["embedding", "head"]]
)


@st.composite
def lora_options(draw: st.DrawFn) -> dict[str, Any]:
    targets = draw(TARGETS)
    dora = draw(st.booleans()) and "embedding" not in (targets or [])
    return {
        "targets": targets, "rank": draw(st.integers(1, 3)), "alpha": draw(st.sampled_from([1, 3, 8])),
        "rslora": draw(st.booleans()), "dora": dora,
    }  # fmt: skip


ADAPTERS = st.one_of(
    lora_options().map(lambda options: (add_lora, options)),
    st.integers(1, 5).map(lambda tokens: (add_prefix, {"tokens": tokens})),
    st.integers(1, 5).map(lambda tokens: (add_prompt, {"tokens": tokens})),
)


def adapt(model: GPT, adapter: Any, seed: int) -> GPT:
    """Attach a drawn adapter, with random values in all its parameters."""
    add, options = adapter
    add(model, **options)
    rng = np.random.default_rng(seed)
    for _, p in model.named_trainable():
        p.data += to_device(rng.normal(0, 0.3, p.shape).astype(p.dtype), p.device)
    return model


def adapted_gpt(config: GPTConfig, adapter: Any, seed: int, dtype: Any = np.float64) -> GPT:
    return adapt(random_gpt(config, seed, dtype), adapter, seed)
