"""The byte-pair tokenizer of SentencePiece, as in Llama 2: characters are joined, not bytes, and a space is one of
them, written U+2581 (▁). A character that has no token becomes its bytes, each a token such as `<0xE2>`.

There are no words: merges may go from one into the next. But in most vocabularies no token has a ▁ after another
character, so that no merge crosses the edge before a ▁; then the text is cut there and the pieces are remembered.
Source: Kudo and Richardson 2018, arXiv:1808.06226; github.com/google/sentencepiece, src/bpe_model.cc.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

import regex

from .aligned import Aligned, Span
from .base import BaseTokenizer
from .bpe import Pair
from .character_bpe import BYTE, SPACE, CharacterEncoder, byte_length, surface, table_of_scores
from .contents import SentencePieceContents
from .normalize import Normalizer
from .postprocess import Template
from .prefix import Prefix
from .special import AddedToken, matcher

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
    ):
        """`pieces[id]` is how the vocabulary spells a token. What is joined first is said either by `merges`, pairs of
        ids in order, or by `scores`: of all neighbours that make a piece, the one with the highest. `unknown` is for
        characters without bytes in the vocabulary; `undivided` pieces are found as a whole; `drops_space`: decoding
        takes one space away from the beginning."""
        super().__init__([], special_tokens, normalizer, prefix, template)
        added = {token.id for token in self.added_tokens}
        self._set_tokens(
            None if piece is None else piece.encode() if i in added else surface(piece, byte_fallback)
            for i, piece in enumerate(pieces)
        )
        self.pieces = list(pieces)
        self.merges = None if merges is None else [(left, right) for left, right in merges]
        self.scores = None if scores is None else list(scores)
        self.byte_fallback = byte_fallback
        self.undivided = tuple(undivided)
        self.drops_space = drops_space
        self._unknown = unknown
        self._undivided = {pieces[i]: i for i in self.undivided}

        whole = {*added, *self.undivided}
        byte_ids = {}
        ordinary = {}
        for i, piece in enumerate(pieces):
            if piece is not None and i not in whole:
                byte = BYTE.fullmatch(piece) if byte_fallback else None
                if byte:
                    byte_ids[int(byte[1], 16)] = i
                else:
                    ordinary[piece] = i
        self._crosses_words = any(map(CROSSING.search, ordinary))
        n = len(self.pieces)
        if self.merges is None:
            table = table_of_scores(ordinary, self.scores or [], n)
        else:
            id_of = {piece: i for i, piece in enumerate(pieces)}
            table = {(a, b): (rank, id_of[pieces[a] + pieces[b]]) for rank, (a, b) in enumerate(self.merges)}  # type: ignore[operator]
        self._encoder = CharacterEncoder(ordinary, byte_ids, unknown, table, n)

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

    def _encode_aligned(self, text: Aligned) -> tuple[list[int], list[Span]]:
        ids, ends, done = [], [], 0  # ends[k]: the bytes of `text` up to the end of token k
        for i, part in enumerate(self._parts(text.text)):
            for word in [part] if i % 2 else self._words(part):
                measured = [(self._undivided[word], byte_length(word))] if i % 2 else self._encoder.measure(word)
                for token, length in measured:
                    done += length
                    ids.append(token)
                    ends.append(done)
        character_of = [i for i, character in enumerate(text.text) for _ in range(byte_length(character))]
        starts = [0, *ends]
        return ids, [text.span(character_of[a], character_of[b - 1] + 1) for a, b in zip(starts, ends)]

    def _join(self, ids: list[int], continues: bool) -> bytes:
        data = super()._join(ids, continues)
        return data[1:] if self.drops_space and not continues and data[:1] == b" " else data

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
        )

    def __repr__(self) -> str:
        return f"SentencePieceTokenizer(vocab_size={self.vocab_size}, special_tokens={list(self.special_tokens)})"
