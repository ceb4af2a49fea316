"""Level 3, one idea: a cache of words and their ids, because a text repeats the same words again and again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from tokenizer.bpe.heap import merge_heap
from tokenizer.bpe.merge_table import MergeTable, RankTable

MAX_CACHED_WORDS = 1 << 17
MAX_CACHED_CHARACTERS = 64  # longer words are too rare to be worth caching


class WordEncoder(dict):
    """word (str) -> ids (tuple). The ids are computed when a word is first looked up.

    It is a dict, because finding a cached word then runs no Python code: `__missing__` is called only for new words.
    When `max_words` are cached, the cache is cleared, so that its memory is bounded. A word may contain surrogate
    escapes (U+DC80 to U+DCFF), which stand for bytes that are not UTF-8.
    """

    def __init__(
        self,
        byte_ids: Sequence[int],
        table: MergeTable | RankTable,
        max_words: int = MAX_CACHED_WORDS,
        whole_words: Mapping[bytes, int] | None = None,
    ):
        """`byte_ids[b]` is the id of the one-byte token b, or -1 if there is none. Bytes without a token are left out
        of every text, as in Hugging Face's library. `whole_words` (word -> id) are words that are not merged."""
        super().__init__()
        self.byte_ids = byte_ids
        self.missing_bytes = bytes(byte for byte in range(256) if byte_ids[byte] < 0)
        self.table = table
        self.whole_words = whole_words or {}
        self.max_words = max_words

    def __missing__(self, word: str) -> tuple[int, ...]:
        ids = self.encode_word(word.encode("utf-8", "surrogateescape"))
        if len(word) <= MAX_CACHED_CHARACTERS:
            if len(self) >= self.max_words:
                self.clear()
            self[word] = ids
        return ids

    def encode_word(self, word: bytes) -> tuple[int, ...]:
        """The ids of one word, without the cache."""
        if word in self.whole_words:
            return (self.whole_words[word],)
        return tuple(merge_heap(self.ids_of_bytes(word), self.table))

    def ids_of_bytes(self, word: bytes) -> list[int]:
        """The ids of the bytes of a word, before any merge."""
        byte_ids = self.byte_ids
        return [byte_ids[byte] for byte in word.translate(None, self.missing_bytes)]

    def encode(self, words: Iterable[str]) -> list[int]:
        """The ids of all `words`, one word after another."""
        return list(chain.from_iterable(map(self.__getitem__, words)))
