"""Mistral (Jiang et al. 2023, arXiv 2310.06825): a Llama whose layers all have a window."""

from __future__ import annotations

from typing import Any

from llm.hub.families.llama import LIKE_LLAMA
from llm.hub.families.rows import Found, Row, same
from llm.hub.families.windows import read_windows
from llm.hub.fields import Fields

DEFAULTS = {
    "intermediate_size": 14336, "num_key_value_heads": 8, "max_position_embeddings": 4096 * 32, "sliding_window": 4096,
}  # fmt: skip


def read_window(fields: Fields, name: str, found: Found) -> dict[str, Any]:
    windows = read_windows(fields, fields.get(name), [True] * found["layers"])
    if windows.get("window_layers") is not None:
        raise fields.error("layer_types", fields.get("layer_types"), "the same for all layers of this family")
    return windows


MISTRAL = LIKE_LLAMA.variant(
    "mistral", "MistralForCausalLM", defaults=DEFAULTS, rows={"sliding_window": Row(read_window, same("window"))}
)
