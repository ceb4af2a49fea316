"""The byte-pair tokenizer of SentencePiece, as in Llama 2.

It merges characters, not bytes. A space is a character too, written ▁ (U+2581). A character that has no token becomes
its bytes, each of them a token such as `<0xE2>`. Source: Kudo and Richardson 2018, arXiv:1808.06226;
github.com/google/sentencepiece, src/bpe_model.cc.

The text is not split into words, so a merge may go across a space. But in most vocabularies no token has a ▁ after
another character, so that no merge goes across the beginning of a word. Then the text can be split before each ▁, and
the ids of words can be cached.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from itertools import accumulate, chain, groupby

import regex

from tokenizer.bpe.characters import CharacterEncoder, byte_length, table_of_scores
from tokenizer.bpe.merge_table import merge_table
from tokenizer.formats.records import SentencePieceRecord
from tokenizer.models.base import BaseTokenizer
from tokenizer.models.model import Model
from tokenizer.text.aligned_text import AlignedText, Span
from tokenizer.text.metaspace import (
    BYTE_PIECES,
    SPACE,
    is_utf8,
    piece_bytes,
    replace_invalid_bytes,
    replace_invalid_runs,
)
from tokenizer.text.name_search import NameSearch
from tokenizer.text.special_tokens import normalized_names

WORD = regex.compile(f"{SPACE}*[^{SPACE}]+|{SPACE}+")


class SentencePieceBPE(Model):
    """Byte-pair encoding over characters."""

    def __init__(self, record: SentencePieceRecord):
        self.record = record
        self.pieces = pieces = record.pieces
        self._decoded_names = normalized_names(record.added_tokens, record.normalizer)
        self.unknown = record.unknown
        self._user_defined = {pieces[i] or "": i for i in record.user_defined}
        self._search = NameSearch(self._user_defined)
        bytes_of = map(BYTE_PIECES.get, pieces) if record.byte_fallback else ()  # type: ignore[arg-type]
        self._byte_of = {i: byte for i, byte in enumerate(bytes_of) if byte is not None}
        self.tokens = [None if piece is None else piece_bytes(piece) for piece in pieces]
        for i, name in self._decoded_names.items():
            self.tokens[i] = piece_bytes(name)
        for i, byte in self._byte_of.items():
            self.tokens[i] = bytes([byte])

    # The tables for encoding are made for the first text, as in byte_bpe.py.

    @cached_property
    def _has_words(self) -> bool:
        merged = {self.pieces[i] or "" for _, i in self._encoder.table.values()}  # the pieces that merges make
        return not any(SPACE in piece.lstrip(SPACE) for piece in merged)

    @cached_property
    def _encoder(self) -> CharacterEncoder:
        record, pieces = self.record, self.pieces
        special = (token.id for token in record.added_tokens if token.special)
        found_whole = {*record.user_defined, *record.added_only, *special}
        ids = [i for i, piece in enumerate(pieces) if piece is not None and i not in found_whole]
        ordinary = {pieces[i] or "": i for i in ids if i not in self._byte_of}
        byte_ids = {self._byte_of[i]: i for i in ids if i in self._byte_of}
        if record.merges is None:
            table = table_of_scores(ordinary, record.scores or [], len(pieces))
        else:
            table = merge_table(pieces, record.merges)
        return CharacterEncoder(pieces, ordinary, byte_ids, record.unknown, table)

    def _split(self, text: str) -> Iterator[int | str]:
        """The text as ids of user-defined pieces and words."""
        end = 0
        for start, next_end in self._search.find_all(text):
            yield from self._words(text[end:start])
            yield self._user_defined[text[start:next_end]]
            end = next_end
        yield from self._words(text[end:])

    def _words(self, text: str) -> list[str]:
        if self._has_words:
            return WORD.findall(text)
        return [text] if text else []

    def encode(self, text: str) -> list[int]:
        if not self._user_defined:
            return list(chain.from_iterable(map(self._encoder.__getitem__, self._words(text))))
        ids: list[int] = []
        for part in self._split(text):
            ids += [part] if isinstance(part, int) else self._encoder[part]
        return ids

    def encode_aligned(self, text: AlignedText) -> tuple[list[int], list[Span]]:
        pairs = list(self._encode_with_lengths(text.text))
        ends = list(accumulate(length for _, length in pairs))
        character_of = [i for i, character in enumerate(text.text) for _ in range(byte_length(character))]
        spans = [text.span(character_of[a], character_of[b - 1] + 1) for a, b in zip([0, *ends], ends)]
        return [i for i, _ in pairs], spans

    def _encode_with_lengths(self, text: str) -> Iterator[tuple[int, int]]:
        """The ids of `text`, each with the number of bytes that it stands for."""
        for word in self._split(text):
            if isinstance(word, int):
                yield word, byte_length(self.pieces[word] or "")
            else:
                yield from self._encoder.encode_with_lengths(word)

    def decode(self, ids: list[int], *, mid_text: bool) -> bytes:
        return self._strip_space(super().decode(ids, mid_text=mid_text), ids, mid_text)

    def lossy_decode(self, ids: list[int], *, mid_text: bool) -> bytes:
        data = self.decode(ids, mid_text=mid_text)
        # Tokens that are not single bytes are whole characters. So if all is UTF-8, each run of byte tokens is too.
        if is_utf8(data):
            return data
        runs = [self._decode_run(list(run), are_bytes) for are_bytes, run in groupby(ids, self._byte_of.__contains__)]
        return self._strip_space(b"".join(runs), ids, mid_text)

    def _decode_run(self, ids: list[int], are_bytes: bool) -> bytes:
        data = super().decode(ids, mid_text=True)
        # Invalid bytes are replaced as in the library that the file comes from: SentencePiece or Hugging Face's.
        replace = replace_invalid_bytes if self.record.merges is None else replace_invalid_runs
        return replace(data) if are_bytes else data

    def _strip_space(self, data: bytes, ids: list[int], mid_text: bool) -> bytes:
        if not self.record.strips_space or mid_text or data[:1] != b" ":
            return data
        # For SentencePiece, `<0x20>` is never the space that was put before the text; for Hugging Face it may be.
        if self.record.merges is None and ids[0] in self._byte_of:
            return data
        return data[1:]

    def stable_prefix_length(self, ids: list[int]) -> int:
        # Several byte tokens may together be a character, so the last ones may wait for others.
        end = len(ids)
        while end and ids[end - 1] in self._byte_of:
            end -= 1
        return end

    def spelling(self, i: int) -> str:
        return self._decoded_names.get(i) or self.pieces[i] or ""


class SentencePieceTokenizer(BaseTokenizer):
    """Byte-pair encoding over characters. Made by `BaseTokenizer.load`."""

    RECORD = SentencePieceRecord
    model: SentencePieceBPE

    def __init__(self, record: SentencePieceRecord):
        model = SentencePieceBPE(record)
        super().__init__(model, record.added_tokens, record.normalizer, record.prefix, record.template)

    @property
    def unknown(self) -> int | None:
        return self.model.unknown

    @property
    def record(self) -> SentencePieceRecord:
        return self.model.record._replace(added_tokens=self.added_tokens)
