"""The way of long texts: the vectorised path (vectorised.py), where the pattern of a tokenizer is known to it."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from .bpe import WordEncoder
from .pretokenize import Pretokenizer
from .scan import SCANNERS, WordScanner, chunks
from .splits import SplitSequence
from .vectorised import VectorEncoder

LONG = 2000  # characters: shorter texts are encoded faster word by word


class FastEncoding:
    """A mixin for tokenizers that encode the words of `_pretokenizer` by `_word_encoder`."""

    _pretokenizer: Pretokenizer | SplitSequence
    _word_encoder: WordEncoder

    @cached_property
    def _vector_encoder(self) -> VectorEncoder | None:
        """None for a pattern that only a regular expression can follow."""
        pretokenizer = self._pretokenizer
        if not isinstance(pretokenizer, Pretokenizer) or pretokenizer.expression not in SCANNERS:
            return None
        return VectorEncoder(WordScanner(pretokenizer), self._word_encoder)

    def _encode_ordinary(self, text: str) -> list[int]:
        if len(text) >= LONG and self._vector_encoder:
            return self._vector_encoder.encode(text).tolist()
        return self._word_encoder.encode(self._pretokenizer.split(text))

    def _encode_ordinary_array(self, text: str) -> np.ndarray:
        if len(text) >= LONG and self._vector_encoder:
            return self._vector_encoder.encode(text)
        return np.array(self._encode_ordinary(text), np.uint32)

    def _cut(self, text: str, size: int) -> list[str]:
        return list(chunks(text, size)) if len(text) > size and self._vector_encoder else [text]
