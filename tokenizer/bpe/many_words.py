"""Many words to ids, each in the way that is the fastest for its length.

A word that is a token as a whole (if the vocabulary says so) is looked up. Words of ordinary length are merged together
(batch.py) or, if they are few, one by one (heap.py). A very long word is merged by itself (long_words.py).
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from tokenizer.arrays.number_table import NOT_FOUND
from tokenizer.arrays.ragged import Ragged, assemble
from tokenizer.bpe.batch import MAX_BATCH_BYTES, BatchMerger, PairTable
from tokenizer.bpe.long_words import LongWordMerger
from tokenizer.bpe.merge_table import MergeTable, RankTable, merges_of_ranks
from tokenizer.bpe.rank_pairs import RankPairs
from tokenizer.bpe.words import WordEncoder

MIN_LONG_BYTES = 4096  # longer words are merged by long_words.py
MIN_WORDS_FOR_LOOKUP = 1000  # from this number of words on, a table is faster than a dict
MIN_WORDS_FOR_BATCH = 32  # fewer words are merged faster one by one


class WordMerger:
    """Gives the ids that `word_encoder` gives."""

    def __init__(
        self,
        word_encoder: WordEncoder,
        min_words_for_batch: int = MIN_WORDS_FOR_BATCH,
        min_words_for_lookup: int = MIN_WORDS_FOR_LOOKUP,
    ):
        self._word_encoder = word_encoder
        self._batch = BatchMerger(word_encoder.byte_ids, pair_table(word_encoder.table))
        self._min_words_for_batch = min_words_for_batch
        self._min_words_for_lookup = min_words_for_lookup

    def encode(self, words: list[bytes]) -> Ragged:
        """The ids of all words."""
        lengths = np.fromiter(map(len, words), np.int64, len(words))
        whole_ids = self._find_whole(words)
        is_merged = whole_ids == NOT_FOUND
        is_single = (lengths > MAX_BATCH_BYTES) | (is_merged.sum() < self._min_words_for_batch)
        together, one_by_one, whole = map(np.flatnonzero, (is_merged & ~is_single, is_merged & is_single, ~is_merged))
        parts = [
            (whole, whole_ids[whole], np.ones(len(whole), np.int64)),
            (together, *self._batch.encode([words[i] for i in together.tolist()])),
            (one_by_one, *self._encode_one_by_one([words[i] for i in one_by_one.tolist()])),
        ]
        return assemble(parts, len(words))

    def _find_whole(self, words: list[bytes]) -> np.ndarray:
        """The ids of words that the vocabulary has as a whole, (words,) int64; NOT_FOUND for others."""
        ids, pairs = self._word_encoder.whole_words, self._batch.pairs
        # The whole words are among the tokens of `pairs`: if there are as many, they are all of them.
        is_table = isinstance(pairs, RankPairs) and len(ids) == len(pairs.tokens.ids)
        if is_table and len(words) > self._min_words_for_lookup:
            return pairs.tokens.find(words)  # type: ignore[attr-defined]
        return np.array([ids.get(word, NOT_FOUND) for word in words], np.int64)

    def _encode_one_by_one(self, words: list[bytes]) -> Ragged:
        ids = [self._encode_one(word) for word in words]
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        return np.concatenate([np.empty(0, np.int64), *ids]), lengths

    def _encode_one(self, word: bytes) -> np.ndarray:
        if len(word) < MIN_LONG_BYTES:
            return np.array(self._word_encoder.encode_word(word), np.int64)
        ids = self._batch.byte_ids[np.frombuffer(word, np.uint8)]
        return self._long_words.merge(ids[ids >= 0])

    @cached_property
    def _long_words(self) -> LongWordMerger:
        table, pairs = self._word_encoder.table, self._batch.pairs
        return LongWordMerger(table, pairs, merges_of_ranks(table.rank_of) if isinstance(table, RankTable) else table)


def pair_table(table: MergeTable | RankTable) -> PairTable:
    return RankPairs(table) if isinstance(table, RankTable) else PairTable.of(table)
