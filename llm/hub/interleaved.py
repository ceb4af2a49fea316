"""Two orders of the rows of query and key projections.

RoPE turns pairs of numbers. Meta's Llama, and with it llama2.c and the GGUF files of the architecture "llama", put the
two of a pair beside each other: rows 0 and 1 of a head, 2 and 3 ... (interleaved). Hugging Face and this project put
them half a head apart: rows 0 and d/2, 1 and d/2 + 1 ..., for heads of d rows. The other rows stay where they are.
"""

from __future__ import annotations

import numpy as np


def unpermute(rows: np.ndarray, heads: int) -> np.ndarray:
    """Rows (heads * d, ...) of pairs beside each other, in the order of pairs half a head apart.

    `heads`: of the queries, or of the keys. Biases go the same way. For tensors that stay as they are stored:
    `stored.reordered(unpermute(np.arange(len(stored)), heads))`.
    """
    pairs = rows.reshape(heads, -1, 2, *rows.shape[1:])  # (heads, d/2, 2, ...)
    return pairs.swapaxes(1, 2).reshape(rows.shape)


def permute(rows: np.ndarray, heads: int) -> np.ndarray:
    """The inverse of `unpermute`."""
    halves = rows.reshape(heads, 2, -1, *rows.shape[1:])  # (heads, 2, d/2, ...)
    return halves.swapaxes(1, 2).reshape(rows.shape)
