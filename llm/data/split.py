"""Which text is held out for validation: whole documents where that is possible, else the tail of the text.

Holding out whole documents is the fairer test, as the model has seen nothing of them. With a single document, or
when no choice of documents comes near the wanted share, the end of the text is held out, as nanoGPT does.
"""

from __future__ import annotations

import numpy as np

from llm.data.errors import DataError
from llm.data.permutation import mix


def training_sizes(sizes: np.ndarray, val_fraction: float, seed: int = 0) -> np.ndarray:
    """How many leading characters of each document are training text; what follows them is validation text.

    `sizes` (documents,) int64 are the documents' lengths in characters. The result, of the same shape, is 0 where a
    document is held out and its size where it is not; only the one in which a tail begins lies in between.
    Raises DataError unless 0 < val_fraction < 1.
    """
    if not 0 < val_fraction < 1:
        raise DataError(f"--val-fraction is {val_fraction}: give the share of the text to hold out, such as 0.1.")
    total = int(sizes.sum())
    held_out = _documents_within(sizes, int(total * val_fraction), seed)
    if sizes[held_out].sum() >= max(1, total * val_fraction / 2):
        return np.where(held_out, 0, sizes)
    cut = min(int(total * (1 - val_fraction)), total - 1)
    starts = np.cumsum(sizes) - sizes
    return np.clip(cut - starts, 0, sizes)


def _documents_within(sizes: np.ndarray, budget: int, seed: int) -> np.ndarray:
    """A boolean mask of documents, chosen in the order of a seeded hash of their index, that fit into the budget."""
    chosen = np.zeros(len(sizes), dtype=bool)
    order = np.argsort(mix(np.arange(len(sizes), dtype=np.uint64) + mix(np.array([seed], dtype=np.uint64))))
    for document in order:
        if sizes[document] <= budget:
            chosen[document] = True
            budget -= sizes[document]
    return chosen
