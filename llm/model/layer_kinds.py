"""What differs between the layers of a model: the window, and how queries and keys are rotated.

In most models all layers are of one kind. Gemma 2 and 3 have layers with and without a window in turns, and Gemma 3
gives them different bases for rope. SmolLM3 leaves the rotation out of every fourth layer. The masks and tables of a
call are made once for each kind, not for each layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from llm.model.config import GPTConfig
from llm.model.positions import PositionTable
from llm.model.rope_scaling import RopeScaling
from minigrad.backend import Array
from minigrad.fused.rope import cos_and_sin, rope_frequencies


@dataclass(frozen=True)
class LayerKind:
    """Two layers of the same kind share masks and tables."""

    window: int | None  # attend only to this many tokens; None: to all
    rope_base: float | None  # None: queries and keys are not rotated
    rope_scaling: RopeScaling | None


def layer_kind(config: GPTConfig, layer: int) -> LayerKind:
    """The kind of a layer, counted from 0."""
    has_window = config.window is not None and (config.window_layers is None or layer in config.window_layers)
    has_rope = config.positions == "rope" and (config.rope_layers is None or layer in config.rope_layers)
    base, scaling = config.rope_base, config.rope_scaling
    if has_window and config.window_rope_base is not None:
        base, scaling = config.window_rope_base, None
    return LayerKind(
        window=config.window if has_window else None,
        rope_base=base if has_rope else None,
        rope_scaling=scaling if has_rope else None,
    )


def rotary_table(config: GPTConfig, kind: LayerKind) -> PositionTable | None:
    """Cosines and sines for the layers of this kind, two arrays (T, n) for n rotated pairs; None without rope."""
    base, scaling, dim = kind.rope_base, kind.rope_scaling, config.rotated
    if base is None:
        return None

    def compute(positions: np.ndarray, dtype: Any, length: int) -> tuple[Array, ...]:
        frequencies = scaling.frequencies(base, dim, length) if scaling else rope_frequencies(dim, base)  # (n,)
        return cos_and_sin(positions, frequencies, dtype, scaling.attention_factor if scaling else 1.0)

    return PositionTable(compute, scaling.effective_length if scaling else None)
