"""Ordinary text (no special tokens) to ids: word by word for short texts, by arrays for long ones."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from itertools import chain

from tokenizer.arrays.ragged import Ragged, from_lists
from tokenizer.bpe.words import WordEncoder
from tokenizer.fast.vector_encoder import VectorEncoder
from tokenizer.split.chunks import chunks
from tokenizer.split.pretokenizer import Pretokenizer, PretokenizerSequence
from tokenizer.split.scanner import RULES, WordScanner

MIN_VECTOR_CHARACTERS = 2500  # shorter texts are encoded faster word by word
# The table of character classes takes time to build. It is built when all long texts so far have this many characters.
MIN_TOTAL_CHARACTERS = 20_000


class TextEncoder:
    """Encodes text by `pretokenizer` and `word_encoder`, on one of two paths that give the same ids."""

    def __init__(
        self,
        pretokenizer: Pretokenizer | PretokenizerSequence,
        word_encoder: WordEncoder,
        min_vector_characters: int = MIN_VECTOR_CHARACTERS,
        min_total_characters: int = MIN_TOTAL_CHARACTERS,
    ):
        self.pretokenizer = pretokenizer
        self.word_encoder = word_encoder
        self.min_vector_characters = min_vector_characters
        self.min_total_characters = min_total_characters
        self._characters = 0  # of the long texts so far

    def encode(self, text: str) -> list[int]:
        vector_encoder = self._vector_encoder_for(len(text))
        return vector_encoder.encode([text])[0].tolist() if vector_encoder else self.encode_by_word(text)

    def encode_by_word(self, text: str) -> list[int]:
        return self.word_encoder.encode(self.pretokenizer.split(text))

    def encode_many(self, texts: Iterable[str]) -> Ragged:
        """The ids of many texts, (ids,) uint32, and how many each text has, (texts,) int64."""
        texts = iter(texts)
        # The path depends on the length of the texts, which may be read only once. So the first texts are collected
        # until there is enough text to choose the fast path, or no more text.
        first, characters = [], 0
        enough = max(self.min_vector_characters, self.min_total_characters - self._characters)
        while characters < enough and (text := next(texts, None)) is not None:
            first.append(text)
            characters += len(text)
        vector_encoder = self._vector_encoder_for(characters)
        all_texts = chain(first, texts)
        return vector_encoder.encode(all_texts) if vector_encoder else from_lists(map(self.encode_by_word, all_texts))

    def cut(self, text: str, size: int) -> list[str]:
        """Parts of about `size` characters whose ids, joined, are those of `text`. [text] if the pattern is unknown."""
        return list(chunks(text, size)) if len(text) > size and self.vector_encoder else [text]

    @cached_property
    def vector_encoder(self) -> VectorEncoder | None:
        """None if there are no rules for the pattern (see scanner.py)."""
        pretokenizer = self.pretokenizer
        if not isinstance(pretokenizer, Pretokenizer) or pretokenizer.expression not in RULES:
            return None
        return VectorEncoder(WordScanner(pretokenizer), self.word_encoder)

    def _vector_encoder_for(self, characters: int) -> VectorEncoder | None:
        """The vectorised path, if it is the faster one for texts with this number of characters."""
        if characters < self.min_vector_characters:
            return None
        self._characters += characters
        return self.vector_encoder if self._characters >= self.min_total_characters else None
