"""Who sees whom: what the attention of all layers shares in one call of the model.

Where every row of the batch simply counts on (training, plain generation), attention's own `causal` and `window` say it
all. With padding, packed documents or positions of the caller's, distances are differences of positions, and a mask
says which keys are real.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from llm.model.config import GPTConfig
from llm.model.positions import PADDING, Places, Table, alibi_slopes
from minigrad.backend import device_of, to_device


@dataclass(frozen=True)
class Sight:
    """Arguments of `attention`, and the rotation of queries and keys."""

    window: int | None = None
    bias: Any = None  # (H, T, S) or (B, H, T, S)
    mask: Any = None  # (B, 1, 1, S) or (B, 1, T, S); True where the key may be seen
    rotation: tuple[Any, Any] | None = None  # cos and sin, (T, D / 2) or (B, 1, T, D / 2)


def look(config: GPTConfig, places: Places, rotary: Table | None, like: Any) -> Sight:
    """The sight of one call; its arrays are where the array `like` is, and of its dtype."""
    rotation = None if rotary is None else rotary(places.queries, like)
    bias = None if config.positions != "alibi" else alibi_bias(config.heads, distances(places), like)
    if isinstance(places.queries, slice):
        return Sight(config.window, bias, None, rotation)
    rotation = None if rotation is None else tuple(a[:, None] for a in rotation)  # (B, 1, T, D / 2)
    return Sight(None, bias, to_device(visible(places, config.window)[:, None], device_of(like)), rotation)


def distances(places: Places) -> np.ndarray:
    """How far the keys lie behind the queries, in tokens: (T, S) or (B, T, S); negative ahead of them."""
    queries, keys = (np.arange(p.start, p.stop) if isinstance(p, slice) else p for p in (places.queries, places.keys))
    return queries[..., :, None] - keys[..., None, :]


def visible(places: Places, window: int | None) -> np.ndarray:
    """Which keys are real, in the query's document and in its window: (B, 1, S) or (B, T, S). What lies ahead is
    attention's `causal`.
    """
    keys: Any = places.keys
    seen = (keys != PADDING)[:, None]  # (B, 1, S)
    if places.runs is not None:
        seen = seen & (places.runs[:, :, None] == places.runs[:, None, :])  # (B, T, S)
    if window is not None:
        seen = seen & (distances(places) < window)  # (B, T, S)
    return seen


def alibi_bias(heads: int, distance: np.ndarray, like: Any) -> Any:
    """-slope * distance for each head: (H, T, S) or (B, H, T, S)."""
    slopes = to_device(alibi_slopes(heads).astype(like.dtype), device_of(like))
    return -slopes[:, None, None] * to_device(distance.astype(like.dtype), device_of(like))[..., None, :, :]
