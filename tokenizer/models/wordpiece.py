"""The tokenizer of BERT: lower-case words, each cut greedily into the longest pieces that there are; pieces that go on
within a word are written `##ing`. What cannot be cut is `[UNK]`, so not every text comes back.
Sources: Devlin et al. 2018, arXiv:1810.04805; github.com/google-research/bert, tokenization.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import regex

from tokenizer.bpe.textbook import CACHE_SIZE
from tokenizer.formats.records import WordPieceContents
from tokenizer.models.base import BaseTokenizer
from tokenizer.text.aligned import Aligned, Span
from tokenizer.text.normalize import Normalizer, character_class
from tokenizer.text.peer_unicode import BERT_PUNCTUATION
from tokenizer.text.special_tokens import AddedToken
from tokenizer.text.template import Template

# A punctuation character is a word; so is what is between them and white space. ASCII symbols count as punctuation.
PUNCTUATION = character_class(BERT_PUNCTUATION)
WORD = regex.compile(rf"[{PUNCTUATION}]|[^\p{{White_Space}}{PUNCTUATION}]+")

# What decoding joins again, in this order; from `clean_up_tokenization` of Hugging Face's libraries.
JOINS = [(" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m")]
JOINS += [(" do not", " don't"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re")]

Placed = tuple[int, int, int]  # an id, and the characters of a word that it stands for: first, and after the last


class WordPieceTokenizer(BaseTokenizer):
    """Greedy longest match within words. Made by `Tokenizer.load`."""

    FILE = WordPieceContents

    def __init__(
        self,
        pieces: Sequence[str | None],
        special_tokens: Mapping[str, int] | Iterable[AddedToken],
        normalizer: Normalizer | None = None,
        template: Template | None = None,
        unknown: str = "[UNK]",
        continues_with: str = "##",
        longest_word: int = 100,
        merely_added: Iterable[int] = (),
    ):
        """`pieces[id]` is how the vocabulary spells a token. A word of more than `longest_word` characters is
        `unknown`. No word is cut into what was `merely_added`, which is found as a whole or not at all."""
        super().__init__([], special_tokens, normalizer, None, template)
        self.pieces = list(pieces)
        self.continues_with = continues_with
        self.longest_word = longest_word
        self.merely_added = tuple(merely_added)
        self._id_of = {piece: i for i, piece in enumerate(pieces) if piece and i not in self.merely_added}
        if unknown not in self._id_of:
            raise ValueError(f"the vocabulary has no token {unknown!r} for unknown words")
        self._unknown = unknown
        self._longest_piece = max(map(len, self._id_of))
        self._cache: dict[str, list[Placed]] = {}
        self._set_tokens(None if piece is None else self._within(piece).encode() for piece in pieces)

    @property
    def unknown(self) -> int | None:
        """The id for words that cannot be cut into pieces."""
        return self._id_of[self._unknown]

    def _within(self, piece: str) -> str:
        """A piece as it shows in text, with a space before it if it begins a word."""
        shown = piece.removeprefix(self.continues_with) if piece.startswith(self.continues_with) else " " + piece
        return join_again(shown)

    def _encode_ordinary(self, text: str) -> list[int]:
        return [i for word in WORD.findall(text) for i, _, _ in self._placed(word)]

    def _encode_aligned(self, text: Aligned) -> tuple[list[int], list[Span]]:
        ids, spans = [], []
        for word in WORD.finditer(text.text):
            for i, start, end in self._placed(word.group()):
                ids.append(i)
                spans.append(text.span(word.start() + start, word.start() + end))
        return ids, spans

    def _placed(self, word: str) -> list[Placed]:
        if word not in self._cache:
            if len(self._cache) >= CACHE_SIZE:
                self._cache.clear()
            self._cache[word] = self._place_afresh(word)
        return self._cache[word]

    def _place_afresh(self, word: str) -> list[Placed]:
        """The longest piece at the beginning, then the longest one that goes on from there, and so on."""
        placed: list[Placed] = []
        start = 0
        while start < len(word) <= self.longest_word:
            prefix = self.continues_with if start else ""
            for end in range(min(len(word), start + self._longest_piece), start, -1):
                i = self._id_of.get(prefix + word[start:end])
                if i is not None:
                    placed.append((i, start, end))
                    start = end
                    break
            else:
                break
        return placed if start == len(word) else [(self._id_of[self._unknown], 0, len(word))]

    def _join(self, ids: list[int], continues: bool) -> bytes:
        if continues or not ids:
            return super()._join(ids, continues)
        return join_again(self.pieces[ids[0]] or "").encode() + super()._join(ids[1:], True)

    def _spelling(self, i: int) -> str:
        return self.pieces[i] or ""

    def _contents(self) -> WordPieceContents:
        return WordPieceContents(
            self.pieces,
            self.added_tokens,
            self.normalizer,
            self.template,
            self._unknown,
            self.continues_with,
            self.longest_word,
            self.merely_added,
        )

    def __repr__(self) -> str:
        return f"WordPieceTokenizer(vocab_size={self.vocab_size}, special_tokens={list(self.special_tokens)})"


def join_again(shown: str) -> str:
    for apart, joined in JOINS:
        shown = shown.replace(apart, joined)
    return shown
