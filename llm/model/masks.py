"""Which keys each query may attend to, and by how much ALiBi lowers the scores of distant keys.

All layers of one kind (layer_kinds.py) share these; in most models that is all layers.

Plain texts (training, ordinary generation) need no mask: the `causal` and `window` arguments of `attention` are enough.
Padding, packed documents and positions given by the caller need a boolean mask, True where a key may be attended to.

A mask or a bias has a value for each pair of tokens. For a long text it would take more memory than everything else. So
both are computed from positions, block by block: attention calls `block` for the part that it works on (`Blockwise` in
minigrad/fused/attention_scores.py). The arguments of `block` are slices of rows, queries and keys. In the shapes of
what it returns, B, T and S are the lengths of these slices, and B is 1 if all rows have the same positions.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass

import numpy as np

from llm.model.config import GPTConfig
from llm.model.experts import Routing
from llm.model.layer_kinds import LayerKind
from llm.model.positions import PADDING, OnDevice, PositionTable, TokenPositions, alibi_slopes
from minigrad.backend import Array, array_module, device_of, to_device
from minigrad.fused.attention_scores import ALL


@dataclass(frozen=True)
class LayerSettings:
    """What a layer needs besides x: arguments of `attention`, and the tables that rotate queries and keys."""

    window: int | None = None  # attend only to this many tokens; None: no limit, or the limit is part of `mask`
    bias: AlibiBias | Array | None = None  # added to the scores; an array (1 or B, H, 1, S) if there is one query
    mask: PositionMask | Array | None = None  # None: all keys may be attended to
    rotation: tuple[Array, Array] | None = None  # cos and sin, (T, n) or (B, 1, T, n), for n rotated pairs
    routing: list[Routing] | None = None  # layers with experts add their decisions to this list, if there is one


def layer_settings(
    config: GPTConfig,
    kind: LayerKind,
    positions: TokenPositions,
    rotary_table: PositionTable | None,
    like: Array,
    routing: list[Routing] | None = None,
) -> LayerSettings:
    """The settings of layers of one kind, for one call of the model, on the device and in the dtype of `like`."""
    rotation = None if rotary_table is None else rotary_table(positions.queries, like)
    bias = alibi_bias(config.heads, positions, like) if config.positions == "alibi" else None
    if rotation is not None and not isinstance(positions.queries, slice):
        cos, sin = rotation  # (B, T, D / 2), (B, T, D / 2)
        rotation = cos[:, None], sin[:, None]  # (B, 1, T, D / 2), (B, 1, T, D / 2)
    if isinstance(positions.queries, OnDevice) and isinstance(positions.keys, slice):
        bias = hiding_bias(positions.queries, positions.keys, kind.window, like)
        return LayerSettings(bias=bias, rotation=rotation, routing=routing)
    if isinstance(positions.keys, slice):
        return LayerSettings(window=kind.window, bias=bias, rotation=rotation, routing=routing)

    # Rows differ, so there is a mask. It contains the window too: here the distance of two tokens is the difference of
    # their positions, while the argument `window` of `attention` compares indices in the array.
    mask = PositionMask(positions, kind.window, device_of(like))
    return LayerSettings(bias=bias, mask=mask, rotation=rotation, routing=routing)


class Distances:
    """The position of each query minus the position of each key: negative if the key is later."""

    def __init__(self, positions: TokenPositions, device: str):
        # (B, T) and (B, S), or (1, T) and (1, S) if all rows have the same positions
        self.queries, self.keys = (as_rows(p, device) for p in (positions.queries, positions.keys))

    def block(self, b: slice, i: slice, j: slice) -> Array:
        """Integers (B, T, S)."""
        queries, keys = (a if len(a) == 1 else a[b] for a in (self.queries, self.keys))
        return queries[:, i, None] - keys[:, None, j]


class PositionMask:
    """True where the key is a token, not padding, in the query's document and in its window.

    It is also True for keys later than the query: the argument `causal` of `attention` excludes these.
    """

    def __init__(self, positions: TokenPositions, window: int | None, device: str):
        self.distances, self.window = Distances(positions, device), window
        documents = positions.document_ids
        self.documents = None if documents is None else to_device(documents, device)  # (B, T)

    def block(self, b: slice, i: slice, j: slice) -> Array:
        """Booleans (B, 1, T, S), or (B, 1, 1, S) if they are the same for all queries; the 1 stands for all heads."""
        visible = self.distances.keys[b, None, j] != PADDING  # (B, 1, S)
        if self.documents is not None:
            visible = visible & (self.documents[b, i, None] == self.documents[b, None, j])  # (B, T, S)
        if self.window is not None:
            visible = visible & (self.distances.block(b, i, j) < self.window)  # (B, T, S)
        return visible[:, None]


class AlibiBias:
    """-slope * distance for each head."""

    def __init__(self, heads: int, positions: TokenPositions, like: Array):
        self.distances = Distances(positions, device_of(like))
        self.slopes = to_device(alibi_slopes(heads).astype(like.dtype), device_of(like))[:, None, None]  # (H, 1, 1)

    def of_heads(self, heads: slice) -> AlibiBias:
        """The bias of some of the heads."""
        part = copy(self)
        part.slopes = self.slopes[heads]
        return part

    def block(self, b: slice, i: slice, j: slice) -> Array:
        """Floats (B, H, T, S)."""
        return -self.slopes * self.distances.block(b, i, j).astype(self.slopes.dtype)[:, None]


def alibi_bias(heads: int, positions: TokenPositions, like: Array) -> AlibiBias | Array:
    """The bias. With one query it is an array (1 or B, H, 1, S): decoding computes it once for all layers."""
    bias = AlibiBias(heads, positions, like)
    return bias.block(ALL, ALL, ALL) if bias.distances.queries.shape[1] == 1 else bias


def hiding_bias(query: OnDevice, keys: slice, window: int | None, like: Array) -> Array:
    """-inf where a key is later than the query, or outside of its window, and 0 elsewhere: (B, 1, T, S)."""
    # As a bias, it is made once for all layers; a mask would be turned into one in each layer.
    distances = query.array[:, None, :, None] - array_module(like).arange(keys.start, keys.stop)
    visible = distances >= 0
    if window is not None:
        visible &= distances < window
    return np.where(visible, 0.0, -np.inf).astype(like.dtype)


def as_rows(positions: slice | np.ndarray | OnDevice, device: str) -> Array:
    """Positions as an array (B, N), or (1, N) if they are the same for all rows."""
    if isinstance(positions, OnDevice):
        return positions.array
    if isinstance(positions, slice):
        positions = np.arange(positions.start, positions.stop)[None]
    return to_device(positions, device)
