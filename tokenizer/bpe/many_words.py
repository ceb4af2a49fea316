"""Words to ids for many words at once, each by the way that is the fastest for its length: as a whole where the
vocabulary has it so, all of ordinary length together (pairs.py), a few one by one (bpe.py), and very long ones with
many pairs of one word at once (long_words.py).
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from tokenizer.arrays.number_table import NEVER
from tokenizer.bpe.batch import LONGEST, BatchMerger, PairTable, assemble
from tokenizer.bpe.long_words import LongWordMerger
from tokenizer.bpe.rank_pairs import RankPairs
from tokenizer.bpe.ranks import merges_of_ranks
from tokenizer.bpe.textbook import MergeTable, RankTable, WordEncoder

VERY_LONG = 4096  # bytes: longer words are merged by many pairs at once
MANY = 1000  # words: so many are looked up faster together
FEW = 32  # words: so many are merged faster one by one


class WordMerger:
    """The ids are those of `word_encoder`."""

    def __init__(self, word_encoder: WordEncoder):
        self._word_encoder = word_encoder
        self._batch = BatchMerger(word_encoder.byte_ids, pairs_of(word_encoder.table))

    def encode(self, words: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """The ids of all words, one after the other, and how many each has. (ids,), (words,) int64."""
        sizes = np.fromiter(map(len, words), np.int64, len(words))
        whole = self._find_whole(words)
        is_split = whole == NEVER
        is_alone = (sizes > LONGEST) | (is_split.sum() < FEW)
        together, alone, as_whole = map(np.flatnonzero, (is_split & ~is_alone, is_split & is_alone, ~is_split))
        parts = [
            (as_whole, whole[as_whole], np.ones(len(as_whole), np.int64)),
            (together, *self._batch.encode([words[i] for i in together.tolist()])),
            (alone, *self._one_by_one([words[i] for i in alone.tolist()])),
        ]
        return assemble(parts, len(words))

    def _find_whole(self, words: list[bytes]) -> np.ndarray:
        """The ids of words that the vocabulary has as a whole, (words,) int64; NEVER for others."""
        ids, pairs = self._word_encoder.whole_words, self._batch.pairs
        # Whole words are among the tokens that merges can make: so many are all of them.
        if len(words) > MANY and isinstance(pairs, RankPairs) and len(ids) == len(pairs.tokens.ids):
            return pairs.tokens.find(words)
        return np.array([ids.get(word, NEVER) for word in words], np.int64)

    def _one_by_one(self, words: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
        ids = [self._one(word) for word in words]
        counts = np.fromiter(map(len, ids), np.int64, len(ids))
        return np.concatenate([np.empty(0, np.int64), *ids]), counts

    def _one(self, word: bytes) -> np.ndarray:
        if len(word) < VERY_LONG:
            return np.array(self._word_encoder.encode_word(word), np.int64)
        ids = self._batch.byte_ids[np.frombuffer(word, np.uint8)]
        return self._long_words.merge(ids[ids >= 0])

    @cached_property
    def _long_words(self) -> LongWordMerger:
        table, pairs = self._word_encoder.table, self._batch.pairs
        return LongWordMerger(table, pairs, merges_of_ranks(table.rank_of) if isinstance(table, RankTable) else table)


def pairs_of(table: MergeTable | RankTable) -> PairTable:
    return RankPairs(table) if isinstance(table, RankTable) else PairTable.of(table)
