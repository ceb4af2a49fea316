"""The byte-pair tokenizer of SentencePiece, as in Llama 2: characters are joined, not bytes, and a space is one of
them, written U+2581 (▁). A character that has no token becomes its bytes, each a token such as `<0xE2>`.

There are no words: merges may go from one into the next. But in most vocabularies no token has a ▁ after another
character, so that no merge crosses the edge before a ▁; then the text is cut there and the pieces are remembered.
Source: Kudo and Richardson 2018, arXiv:1808.06226; github.com/google/sentencepiece, src/bpe_model.cc.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, chain, groupby

import regex

from tokenizer.bpe.characters import (
    SPACE,
    CharacterEncoder,
    byte_length,
    byte_of,
    is_utf8,
    mend_all,
    mend_each,
    surface,
    table_of_scores,
)
from tokenizer.bpe.textbook import Pair, merge_table
from tokenizer.formats.records import SentencePieceContents
from tokenizer.models.base import BaseTokenizer
from tokenizer.text.aligned import Aligned, Span
from tokenizer.text.normalize import Normalizer
from tokenizer.text.prefix import Prefix
from tokenizer.text.special_tokens import AddedToken, matcher
from tokenizer.text.template import Template

WORD = regex.compile(f"{SPACE}*[^{SPACE}]+|{SPACE}+")
CROSSING = regex.compile(f"[^{SPACE}]{SPACE}")


class SentencePieceTokenizer(BaseTokenizer):
    """Byte-pair encoding over characters. Made by `Tokenizer.load`."""

    FILE = SentencePieceContents

    def __init__(
        self,
        pieces: Sequence[str | None],
        merges: Iterable[Pair] | None,
        scores: Sequence[float] | None,
        special_tokens: Mapping[str, int] | Iterable[AddedToken],
        normalizer: Normalizer | None = None,
        prefix: Prefix | None = None,
        template: Template | None = None,
        unknown: int | None = None,
        byte_fallback: bool = True,
        undivided: Iterable[int] = (),
        drops_space: bool = True,
        merely_added: Iterable[int] = (),
    ):
        """`pieces[id]` is how the vocabulary spells a token. What is joined first is said either by `merges`, pairs of
        ids in order, or by `scores`: of all neighbours that make a piece, the one with the highest. `unknown` is for
        characters without bytes in the vocabulary; `undivided` pieces are found as a whole, and so are added
        tokens; those that were `merely_added` and special ones in no other way. `drops_space`: decoding takes one space
        away from the beginning."""
        super().__init__([], special_tokens, normalizer, prefix, template)
        self.pieces = list(pieces)
        self.merges = None if merges is None else list(merges)
        self.scores = None if scores is None else list(scores)
        self.byte_fallback = byte_fallback
        self.undivided = tuple(undivided)
        self.drops_space = drops_space
        self.merely_added = tuple(merely_added)
        self._unknown = unknown
        self._undivided = {self.pieces[i]: i for i in self.undivided}
        self._bytes = self._byte_tokens()
        self._set_tokens(map(self._surface, range(len(self.pieces))))
        self._encoder = self._make_encoder()
        made = {self.pieces[i] or "" for _, i in self._encoder.table.values()}
        self._crosses_words = any(map(CROSSING.search, made))

    def _byte_tokens(self) -> dict[int, int]:
        """id -> byte, of the tokens that stand for one."""
        bytes_of = {i: byte_of(piece) for i, piece in enumerate(self.pieces) if piece} if self.byte_fallback else {}
        return {i: byte for i, byte in bytes_of.items() if byte is not None}

    def _surface(self, i: int) -> bytes | None:
        """The bytes of the token `i`."""
        piece = self.pieces[i]
        return None if piece is None else bytes([self._bytes[i]]) if i in self._bytes else surface(piece)

    def _make_encoder(self) -> CharacterEncoder:
        whole = {*self.undivided, *self.merely_added, *self.special_tokens.values()}
        ids = [i for i, piece in enumerate(self.pieces) if piece is not None and i not in whole]
        ordinary = {self.pieces[i] or "": i for i in ids if i not in self._bytes}
        byte_ids = {self._bytes[i]: i for i in ids if i in self._bytes}
        if self.merges is None:
            table = table_of_scores(ordinary, self.scores or [], len(self.pieces))
        else:
            table = merge_table(self.pieces, self.merges)
        return CharacterEncoder(self.pieces, ordinary, byte_ids, self._unknown, table)

    @property
    def unknown(self) -> int | None:
        """The id for characters that have no token and whose bytes have none."""
        return self._unknown

    def _words(self, text: str) -> list[str]:
        return [text] if self._crosses_words and text else WORD.findall(text)

    def _parts(self, text: str) -> list[str]:
        """The text cut at the undivided pieces, which are every second of the parts."""
        if not self._undivided:
            return [text]
        edges = [0]
        for match in matcher(frozenset(self._undivided)).finditer(text):
            edges += match.span()
        return [text[start:end] for start, end in zip(edges, [*edges[1:], len(text)])]

    def _encode_ordinary(self, text: str) -> list[int]:
        ids: list[int] = []
        for i, part in enumerate(self._parts(text)):
            if i % 2:
                ids.append(self._undivided[part])
            else:
                ids += chain.from_iterable(map(self._encoder.__getitem__, self._words(part)))
        return ids

    def _measure(self, text: str) -> Iterator[tuple[int, int]]:
        """The ids of `text`, each with the number of its bytes."""
        for i, part in enumerate(self._parts(text)):
            if i % 2:
                yield self._undivided[part], byte_length(part)
            else:
                for word in self._words(part):
                    yield from self._encoder.measure(word)

    def _encode_aligned(self, text: Aligned) -> tuple[list[int], list[Span]]:
        measured = list(self._measure(text.text))
        ends = list(accumulate(length for _, length in measured))
        character_of = [i for i, character in enumerate(text.text) for _ in range(byte_length(character))]
        spans = [text.span(character_of[a], character_of[b - 1] + 1) for a, b in zip([0, *ends], ends)]
        return [i for i, _ in measured], spans

    def decode(self, ids: Iterable[int], errors: str = "replace", skip_special_tokens: bool = False) -> str:
        """The text of `ids`. What "replace" makes of byte tokens that are no UTF-8 is what the library of the file's
        format makes of them."""
        if errors != "replace":
            return super().decode(ids, errors, skip_special_tokens)
        return self.readable_bytes(self.shown_ids(ids, skip_special_tokens)).decode()

    def readable_bytes(self, ids: list[int], continues: bool = False) -> bytes:
        """What is UTF-8 as a whole is so run by run: tokens that are no bytes are whole characters."""
        data = self._join(ids, continues)
        if is_utf8(data):
            return data
        runs = groupby(ids, self._bytes.__contains__)
        return self._drop_space(b"".join(self._mended(run, is_byte) for is_byte, run in runs), ids, continues)

    def _mended(self, run: Iterable[int], are_bytes: bool) -> bytes:
        data = super()._join(list(run), continues=True)
        mend = mend_each if self.merges is None else mend_all
        return mend(data) if are_bytes else data

    def settled(self, ids: list[int]) -> int:
        """Byte tokens at the end are not: what they show depends on the ones after them."""
        end = len(ids)
        while end and ids[end - 1] in self._bytes:
            end -= 1
        return end

    def _join(self, ids: list[int], continues: bool) -> bytes:
        return self._drop_space(super()._join(ids, continues), ids, continues)

    def _drop_space(self, data: bytes, ids: list[int], continues: bool) -> bytes:
        """For SentencePiece `<0x20>` is not the space that was put before the text, for Hugging Face it may be."""
        if not self.drops_space or continues or data[:1] != b" " or (self.merges is None and ids[0] in self._bytes):
            return data
        return data[1:]

    def _spelling(self, i: int) -> str:
        return self.pieces[i] or ""

    def _contents(self) -> SentencePieceContents:
        return SentencePieceContents(
            self.pieces,
            self.merges,
            self.scores,
            self.added_tokens,
            self.normalizer,
            self.prefix,
            self.template,
            self._unknown,
            self.byte_fallback,
            self.undivided,
            self.drops_space,
            self.merely_added,
        )

    def __repr__(self) -> str:
        return f"SentencePieceTokenizer(vocab_size={self.vocab_size}, special_tokens={list(self.special_tokens)})"
