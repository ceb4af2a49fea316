"""The way of long texts: the vectorised path (vectorised.py), where the pattern of a tokenizer is known to it; and
back.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable
from functools import cached_property
from itertools import chain
from typing import BinaryIO

import numpy as np

from tokenizer.arrays.token_bytes import TokenBytes
from tokenizer.bpe.textbook import WordEncoder
from tokenizer.fast.vector_encoder import VectorEncoder
from tokenizer.models.bulk import in_a_row
from tokenizer.split.pretokenizer import Pretokenizer
from tokenizer.split.scanner import SCANNERS, WordScanner, chunks, sections
from tokenizer.split.splits import SplitSequence
from tokenizer.text.normalize import Normalizer
from tokenizer.text.prefix import Prefix
from tokenizer.text.special_tokens import AddedToken

LONG = 2500  # characters: shorter texts are encoded faster word by word
TABLES_PAY = 200_000  # characters in long texts so far: before, words are encoded sooner than the tables are made
MANY = 500  # ids: fewer are decoded faster one by one


class FastEncoding:
    """A mixin for tokenizers that encode the words of `_pretokenizer` by `_word_encoder`."""

    tokens: list[bytes | None]
    normalizer: Normalizer | None
    prefix: Prefix | None
    added_tokens: tuple[AddedToken, ...]
    _pretokenizer: Pretokenizer | SplitSequence
    _word_encoder: WordEncoder
    _characters = 0  # in long texts, so far

    @cached_property
    def _vector_encoder(self) -> VectorEncoder | None:
        """None for a pattern that only a regular expression can follow."""
        pretokenizer = self._pretokenizer
        if not isinstance(pretokenizer, Pretokenizer) or pretokenizer.expression not in SCANNERS:
            return None
        return VectorEncoder(WordScanner(pretokenizer), self._word_encoder)

    def _way_of(self, characters: int) -> VectorEncoder | None:
        """The vectorised path if it is the faster one for texts of so many characters."""
        if characters < LONG:
            return None
        self._characters += characters
        return self._vector_encoder if self._characters >= TABLES_PAY else None

    def _encode_ordinary(self, text: str) -> list[int]:
        fast = self._way_of(len(text))
        return fast.encode([text])[0].tolist() if fast else self._encode_words(text)

    def _encode_words(self, text: str) -> list[int]:
        return self._word_encoder.encode(self._pretokenizer.split(text))

    def _encode_many(self, texts: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
        texts = iter(texts)
        begun, characters = [], 0
        while characters < max(LONG, TABLES_PAY - self._characters) and (text := next(texts, None)) is not None:
            begun.append(text)
            characters += len(text)
        fast = self._way_of(characters)
        every = chain(begun, texts)
        return fast.encode(every) if fast else in_a_row(map(self._encode_words, every))

    def _cut(self, text: str, size: int) -> list[str]:
        return list(chunks(text, size)) if len(text) > size and self._vector_encoder else [text]

    def _sections(self, file: BinaryIO) -> Iterable[bytes]:
        across = any(token.rstrip or token.content.split() != [token.content] for token in self.added_tokens)
        is_whole = self.normalizer or self.prefix or across or not self._vector_encoder
        return [file.read()] if is_whole else sections(file)

    @cached_property
    def _token_bytes(self) -> TokenBytes:
        return TokenBytes(self.tokens)

    def decode_bytes(self, ids: Iterable[int], skip_special_tokens: bool = False, continues: bool = False) -> bytes:
        ids = ids if isinstance(ids, Collection) else list(ids)
        if len(ids) >= MANY and not skip_special_tokens:
            numbers = as_array(ids)
            if numbers is not None and self._token_bytes.are_known(numbers):
                return self._token_bytes.join(numbers)
        return super().decode_bytes(ids, skip_special_tokens, continues)  # type: ignore[misc]  # BaseTokenizer's


def as_array(ids: Collection[int]) -> np.ndarray | None:
    """Ids as an array, if they are whole numbers that can be ids at all."""
    if isinstance(ids, np.ndarray):
        return ids if ids.dtype.kind in "iu" and ids.ndim == 1 else None
    try:
        return np.frombuffer(array("I", ids), np.uint32)
    except (TypeError, OverflowError):
        return None
