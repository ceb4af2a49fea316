"""Which text is held out for validation: whole documents where that is possible, else the tail of the text.

Whole documents are the fairer test, because the model has seen nothing of them. The end of the text is held out, as
nanoGPT does it, when there is a single document, or when no choice of documents comes near the fraction asked for.
"""

from __future__ import annotations

import numpy as np

from llm.data.errors import DataError
from llm.data.permutation import mix


def training_sizes(sizes: np.ndarray, val_fraction: float, seed: int = 0) -> np.ndarray:
    """For each document, how many characters at its beginning are training text. The rest is validation text.

    `sizes`, (documents,) int64, are the lengths of the documents in characters. The result has the same shape: 0 for a
    document that is held out, the whole size for the others, and a number between if the document is cut in two.
    Raises DataError unless 0 < val_fraction < 1.
    """
    if not 0 < val_fraction < 1:
        raise DataError(f"--val-fraction must lie between 0 and 1, such as 0.1, got {val_fraction}")
    total = int(sizes.sum())
    held_out = _choose_documents(sizes, int(total * val_fraction), seed)
    # Whole documents seldom have exactly the size asked for. At least half of it is good enough.
    if sizes[held_out].sum() >= max(1, total * val_fraction / 2):
        return np.where(held_out, 0, sizes)
    # Otherwise all documents are treated as one text, which is cut once, near its end.
    cut = min(int(total * (1 - val_fraction)), total - 1)
    starts = np.cumsum(sizes) - sizes
    return np.clip(cut - starts, 0, sizes)


def _choose_documents(sizes: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Random documents that together have at most `most` characters, as a boolean mask (documents,)."""
    chosen = np.zeros(len(sizes), dtype=bool)
    # A random order: the documents are sorted by hashes of their numbers and the seed. NumPy's own shuffle may change
    # from one version of NumPy to the next, and then other documents would be held out.
    order = np.argsort(mix(np.arange(len(sizes), dtype=np.uint64) + mix(np.array([seed], dtype=np.uint64))))
    for document in order:
        if sizes[document] <= most:
            chosen[document] = True
            most -= sizes[document]
    return chosen
