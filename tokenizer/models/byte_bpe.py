"""Byte-pair encoding over bytes: the tokenizer that this project trains. Radford et al. 2019, section 2.2.

Each of the 256 bytes is a token, so any text can be encoded. `ByteBPE` encodes and decodes ordinary text. `Tokenizer`
adds special tokens and the other steps that all tokenizers share (base.py).
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from tokenizer.arrays.ragged import Ragged
from tokenizer.arrays.token_bytes import TokenBytes
from tokenizer.bpe.merge_table import MergeTable, Pair, RankTable, merge_table, merges_of_ranks
from tokenizer.bpe.words import WordEncoder
from tokenizer.fast.text_encoder import TextEncoder
from tokenizer.formats.records import BytePairRecord
from tokenizer.models.base import BaseTokenizer
from tokenizer.models.model import Model
from tokenizer.split.pretokenizer import Pretokenizer, PretokenizerSequence
from tokenizer.text.aligned_text import AlignedText, Span
from tokenizer.text.byte_alphabet import spell, unspell
from tokenizer.text.special_tokens import AddedToken, check_names, normalized_names
from tokenizer.training.learn import learn
from tokenizer.training.vocabulary import Vocabulary
from tokenizer.training.word_counts import Progress

MIN_ARRAY_IDS = 500  # fewer ids are decoded faster one by one


class ByteBPE(Model):
    """Byte-pair encoding over bytes: text -> words (split/) -> ids (bpe/)."""

    def __init__(self, record: BytePairRecord):
        self._record = record
        tokens = record.tokens
        pattern = record.pattern
        self.pretokenizer = Pretokenizer(pattern) if isinstance(pattern, str) else PretokenizerSequence(pattern)
        self.trim_offsets = record.trim_offsets
        # For decoding, an added token may have another name than in the file, and so other bytes than `record.tokens`.
        normalized = normalized_names(record.added_tokens, record.normalizer)
        self._added_names = {token.id: token.content for token in record.added_tokens} | normalized
        self.tokens, self._tokens_of_text = list(tokens), tokens
        for i, name in normalized.items():
            self.tokens[i] = unspell(name) or name.encode()

    # The tables for encoding are made for the first text. A tokenizer that is only loaded or decodes needs none.

    @cached_property
    def word_encoder(self) -> WordEncoder:
        record, tokens = self._record, self._record.tokens
        # `id_of`: the tokens that text may be encoded as, so without special tokens. `ordinary` leaves out all added
        # tokens. Those that are not special are put back: such a token may be a single byte, or the result of a merge.
        ordinary = ids_without(tokens, (token.id for token in record.added_tokens))
        not_special = {tokens[token.id] or b"": token.id for token in record.added_tokens if not token.special}
        id_of = (not_special | ordinary) if not_special else ordinary  # a copy of a large dict only where needed
        table: MergeTable | RankTable
        if record.merges is None:  # a file of OpenAI: the ranks of tokens say which pairs are merged
            table = RankTable(tokens, id_of)
        else:
            table = merge_table(tokens, record.merges, id_of)
        byte_ids = [id_of.get(bytes([byte]), -1) for byte in range(256)]
        return WordEncoder(byte_ids, table, whole_words=ordinary if record.ignore_merges else None)

    @cached_property
    def text_encoder(self) -> TextEncoder:
        """Splits text into words and looks each up in `word_encoder`. For long texts, a faster way to the same ids."""
        return TextEncoder(self.pretokenizer, self.word_encoder)

    def encode(self, text: str) -> list[int]:
        return self.text_encoder.encode(text)

    def encode_many(self, texts: Iterable[str]) -> Ragged:
        return self.text_encoder.encode_many(texts)

    def cut(self, text: str, size: int) -> list[str]:
        return self.text_encoder.cut(text, size)

    def decode_fast(self, ids: Collection[int]) -> bytes | None:
        if len(ids) < MIN_ARRAY_IDS:
            return None  # decoded one by one, by `Model.decode`
        numbers = as_array(ids)
        if numbers is None or not self._token_bytes.are_known(numbers):
            return None
        return self._token_bytes.join(numbers)

    @cached_property
    def _token_bytes(self) -> TokenBytes:
        return TokenBytes(self.tokens)

    @cached_property
    def merges(self) -> list[Pair]:
        """The pairs of ids that are merged, in the order of their ranks."""
        table = self.word_encoder.table
        if isinstance(table, RankTable):
            return merges_of_ranks(table.rank_of)
        return sorted(table, key=table.__getitem__)  # each pair once

    def encode_aligned(self, text: AlignedText) -> tuple[list[int], list[Span]]:
        ids = self.encode(text.text)
        missing = self.word_encoder.missing_bytes
        character_of = [  # for each byte that has a token, the index of its character
            i
            for i, character in enumerate(text.text)
            for _ in character.encode("utf-8", "surrogateescape").translate(None, missing)
        ]
        # The tokens divide the bytes of the text, so the length of each token says where it ends.
        spans, start = [], 0
        for i in ids:
            end = start + len(self._tokens_of_text[i] or b"")
            spans.append(text.span(character_of[start], character_of[end - 1] + 1))
            start = end
        return ids, spans

    def trim(self, ids: list[int], spans: list[Span], added_texts: dict[int, str]) -> list[Span]:
        trim = self.trim_offsets  # a function of text/offsets.py
        if trim is None:
            return spans
        tokens = self._tokens_of_text
        spellings = [added_texts[k] if k in added_texts else spell(tokens[i] or b"") for k, i in enumerate(ids)]
        return [trim(token, span, is_first=k == 0) for k, (token, span) in enumerate(zip(spellings, spans))]

    def spelling(self, i: int) -> str:
        return self._added_names[i] if i in self._added_names else spell(self.tokens[i] or b"")


class Tokenizer(BaseTokenizer):
    """Byte-pair encoding over bytes. Usually made by `Tokenizer.train` or `Tokenizer.load`."""

    RECORD = BytePairRecord
    model: ByteBPE

    def __init__(self, record: BytePairRecord):
        super().__init__(ByteBPE(record), record.added_tokens, record.normalizer, record.prefix, record.template)
        self._record = record

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        vocab_size: int,
        special_tokens: Iterable[str] = (),
        pattern: str = "gpt4",
        progress: Progress | None = None,
        **options: Any,
    ) -> Tokenizer:
        """Learn a vocabulary of `vocab_size` ids, special tokens and the 256 bytes included.

        `texts` is read once, so it may be a generator over a corpus larger than memory. `options` are those of
        `training.learn.learn`, which says more: min_frequency, max_token_length, initial_alphabet, ties, processes.
        """
        names = check_names(special_tokens)
        vocabulary = learn(texts, Pretokenizer(pattern), vocab_size, names, progress, **options)
        return cls.from_vocabulary(vocabulary, names, pattern)

    @classmethod
    def from_vocabulary(cls, vocabulary: Vocabulary, special_tokens: Sequence[str], pattern: str) -> Tokenizer:
        """The tokenizer of a vocabulary that was learned with these special tokens and this pattern."""
        added = tuple(AddedToken(name, i) for i, name in enumerate(special_tokens))
        return cls(BytePairRecord([*vocabulary.tokens], vocabulary.merges, added, pattern))

    @property
    def merges(self) -> list[Pair]:
        """The pairs of ids that are merged, in the order of their ranks."""
        return self.model.merges

    @property
    def pattern(self) -> str | tuple[str, ...]:
        """How text is split into words: the name of a pattern or a regular expression, or a tuple of several."""
        return self.model.pretokenizer.pattern

    @property
    def record(self) -> BytePairRecord:
        return self._record._replace(merges=self.merges, added_tokens=self.added_tokens, pattern=self.pattern)

    def __repr__(self) -> str:
        return (
            f"Tokenizer(vocab_size={self.vocab_size}, merges={len(self.merges)}, pattern={self.pattern!r}, "
            f"special_tokens={list(self.special_tokens)})"
        )


def ids_without(tokens: Sequence[bytes | None], excluded: Iterable[int]) -> dict[bytes, int]:
    """token -> id, without the ids `excluded`. Of equal tokens, the last one counts."""
    remaining: list[Any] = list(tokens)
    for i in excluded:
        remaining[i] = None
    ids = dict(zip(remaining, range(len(remaining))))  # twice as fast as a comprehension with a condition
    ids.pop(None, None)
    ids.pop(b"", None)  # Whisper has a token without bytes: no text is encoded as it
    return ids


def as_array(ids: Collection[int]) -> np.ndarray | None:
    """Ids as an array of integers, whose range is not checked here. None if they are not integers."""
    if isinstance(ids, np.ndarray):
        return ids if ids.dtype.kind in "iu" and ids.ndim == 1 else None
    try:
        return np.frombuffer(array("I", ids), np.uint32)
    except (TypeError, OverflowError):
        return None
