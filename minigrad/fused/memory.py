"""What fused functions hold in memory on the CPU, for callers that predict it without running them."""

from __future__ import annotations

from minigrad.fused._attention_blocks import weights_kept
from minigrad.fused.linear_cross_entropy import CHUNK

LOGITS_CHUNK = CHUNK  # `linear_cross_entropy` makes this many rows of logits at a time


def saved_attention_weights(length: int, head_dim: int, window: int | None = None) -> int:
    """How many attention weights one head keeps for the backward pass, for a text of `length` tokens."""
    return weights_kept(length, head_dim, window)
