"""Which keys each query may attend to. Computed once per call of the model and shared by all layers.

Plain texts (training, ordinary generation) need no mask: the `causal` and `window` arguments of `attention` are enough.
Padding, packed documents and positions given by the caller need a boolean mask, True where a key may be attended to.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llm.model.config import GPTConfig
from llm.model.positions import PADDING, PositionTable, TokenPositions, alibi_slopes
from minigrad.backend import Array, device_of, to_device


@dataclass(frozen=True)
class AttentionSettings:
    """What all layers need besides x: arguments of `attention`, and the tables that rotate queries and keys."""

    window: int | None = None  # attend only to this many tokens; None: no limit, or the limit is part of `mask`
    bias: Array | None = None  # (H, T, S) or (B, H, T, S): added to the scores
    mask: Array | None = None  # (B, 1, 1, S) or (B, 1, T, S): True where a key may be attended to; None: everywhere
    rotation: tuple[Array, Array] | None = None  # cos and sin, (T, D / 2) or (B, 1, T, D / 2)


def attention_settings(
    config: GPTConfig, positions: TokenPositions, rotary_table: PositionTable | None, like: Array
) -> AttentionSettings:
    """The settings for one call of the model. The arrays have the device and the dtype of the array `like`."""
    rotation = None if rotary_table is None else rotary_table(positions.queries, like)
    bias = alibi_bias(config.heads, distances(positions), like) if config.positions == "alibi" else None
    if isinstance(positions.queries, slice):
        return AttentionSettings(window=config.window, bias=bias, rotation=rotation)

    # Rows differ, so there is a mask. It contains the window too: here the distance of two tokens is the difference of
    # their positions, while the argument `window` of `attention` compares indices in the array.
    mask = to_device(attention_mask(positions, config.window), device_of(like))
    if rotation is not None:
        cos, sin = rotation  # (B, T, D / 2), (B, T, D / 2)
        rotation = cos[:, None], sin[:, None]  # (B, 1, T, D / 2), (B, 1, T, D / 2)
    return AttentionSettings(bias=bias, mask=mask[:, None], rotation=rotation)


def distances(positions: TokenPositions) -> np.ndarray:
    """Position of each query minus position of each key: (T, S) or (B, T, S). Negative if the key is later."""
    queries, keys = as_array(positions.queries), as_array(positions.keys)
    return queries[..., :, None] - keys[..., None, :]


def as_array(positions: slice | np.ndarray) -> np.ndarray:
    return np.arange(positions.start, positions.stop) if isinstance(positions, slice) else positions


def attention_mask(positions: TokenPositions, window: int | None) -> np.ndarray:
    """Which keys are real tokens, in the query's document and in its window: (B, 1, S) or (B, T, S)."""
    # Keys later than the query are not excluded here: `causal`, which `attention` applies as well, does that.
    keys, documents = np.asarray(positions.keys), positions.document_ids
    mask = (keys != PADDING)[:, None]  # (B, 1, S)
    if documents is not None:
        mask = mask & (documents[:, :, None] == documents[:, None, :])  # (B, T, S)
    if window is not None:
        mask = mask & (distances(positions) < window)  # (B, T, S)
    return mask


def alibi_bias(heads: int, distance: np.ndarray, like: Array) -> Array:
    """-slope * distance for each head: (H, T, S) or (B, H, T, S)."""
    slopes = to_device(alibi_slopes(heads).astype(like.dtype), device_of(like))
    return -slopes[:, None, None] * to_device(distance.astype(like.dtype), device_of(like))[..., None, :, :]
