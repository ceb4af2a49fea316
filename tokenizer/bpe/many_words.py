"""Many words to ids. Each word is encoded in the way that is fastest for its length.

- A word that is a token as a whole is looked up, if the vocabulary says that such words are not merged.
- Words of ordinary length are merged together (batch.py) or, if they are few, one by one (heap.py).
- A very long word is merged by itself (long_words.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import repeat

import numpy as np

from tokenizer.arrays.number_table import NOT_FOUND
from tokenizer.arrays.ragged import Ragged, assemble, from_lists
from tokenizer.bpe.batch import MAX_BATCH_BYTES, BatchMerger, PairTable
from tokenizer.bpe.long_words import LongWordMerger
from tokenizer.bpe.merge_table import RankTable, merges_of_ranks
from tokenizer.bpe.rank_pairs import RankPairs
from tokenizer.bpe.words import WordEncoder

MIN_LONG_BYTES = 4096  # words of at least this length are merged by long_words.py
MIN_WORDS_FOR_BATCH = 32  # fewer words are merged faster one by one
# Building the table of all pairs takes as long as merging, one by one, this number of words for each token of the
# vocabulary. It is built only after that many words, so that a short text does not wait for it.
WORDS_FOR_TABLE = 1 / 10


class ManyWordsEncoder:
    """Gives the same ids as `word_encoder`, for many words at once."""

    def __init__(
        self,
        word_encoder: WordEncoder,
        min_words_for_batch: int = MIN_WORDS_FOR_BATCH,
        words_for_table: float = WORDS_FOR_TABLE,
    ):
        self._word_encoder = word_encoder
        self._min_words_for_batch = min_words_for_batch
        self._words_left = words_for_table * len(word_encoder.table)  # this many are merged before the table is built

    @cached_property
    def _pairs(self) -> PairTable:
        table = self._word_encoder.table
        return RankPairs(table) if isinstance(table, RankTable) else PairTable.of(table)

    @cached_property
    def _batch(self) -> BatchMerger:
        return BatchMerger(self._word_encoder.byte_ids, self._pairs)

    def encode(self, words: list[bytes]) -> Ragged:
        """The ids of all words."""
        lengths = np.fromiter(map(len, words), np.int64, len(words))
        find = self._word_encoder.whole_words.get
        whole_ids = np.fromiter(map(find, words, repeat(NOT_FOUND)), np.int64, len(words))
        is_merged = whole_ids == NOT_FOUND
        count = int(is_merged.sum())
        self._words_left -= count
        uses_batch = count >= self._min_words_for_batch and self._words_left <= 0
        fits_batch = (lengths <= MAX_BATCH_BYTES) & uses_batch
        # The indices of three groups of words, which are encoded in different ways.
        whole = np.flatnonzero(~is_merged)
        together = np.flatnonzero(is_merged & fits_batch)
        one_by_one = np.flatnonzero(is_merged & ~fits_batch)
        parts = [
            (whole, whole_ids[whole], np.ones(len(whole), np.int64)),
            (one_by_one, *from_lists(self._encode_one(words[i]) for i in one_by_one.tolist())),
        ]
        if len(together):
            parts.append((together, *self._batch.encode([words[i] for i in together.tolist()])))
        return assemble(parts, len(words))

    def _encode_one(self, word: bytes) -> Sequence[int]:
        if len(word) < MIN_LONG_BYTES:
            return self._word_encoder.encode_word(word)
        ids = self._batch.byte_ids[np.frombuffer(word, np.uint8)]
        return self._long_words.merge(ids[ids >= 0]).tolist()  # bytes without a token are left out

    @cached_property
    def _long_words(self) -> LongWordMerger:
        table = self._word_encoder.table
        merges = merges_of_ranks(table.rank_of) if isinstance(table, RankTable) else table
        return LongWordMerger(table, self._pairs, merges)
