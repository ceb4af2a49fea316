"""The ids of many words at once, for a vocabulary that does not change: what `dict.get` gives, with arrays."""

from __future__ import annotations

import numpy as np

from tokenizer.arrays.ragged import slices
from tokenizer.arrays.word_table import MAX_PACKED_BYTES, WordTable, pack

NO_ID = -1  # of a word that is not in the vocabulary


class WordIds:
    """The word data[start : start + length] has the id i, for the i-th of `starts` and `lengths`, (words,) int64 each.

    A word without bytes has no id. No other word occurs twice.
    """

    def __init__(self, data: bytes, starts: np.ndarray, lengths: np.ndarray):
        ids = np.flatnonzero((lengths > 0) & (lengths <= MAX_PACKED_BYTES))
        self._table = WordTable()
        self._table.reserve(len(ids))
        rows, _ = self._table.insert(pack(data, starts[ids], lengths[ids]))
        has_row = rows >= 0
        self._table.set(rows[has_row], ids[has_row])
        # Words that are too long for the table, or have found no free row in it.
        others = np.append(ids[~has_row], np.flatnonzero(lengths > MAX_PACKED_BYTES))
        self._others = dict(zip(slices(data, starts[others], lengths[others]), others.tolist()))

    def find(self, data: bytes, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """The ids of the words data[start : start + length], (n,) int64; NO_ID for those that have none."""
        ids, unknown = self._table.find(pack(data, starts, lengths))
        ids[unknown] = NO_ID
        ids[lengths == 0] = NO_ID  # the table marks a free row with the length 0
        if self._others:
            words = slices(data, starts[unknown], lengths[unknown])
            ids[unknown] = [self._others.get(word, NO_ID) for word in words]
        return ids
