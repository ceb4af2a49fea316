"""The tokenizer of BERT: lower-case words, each split greedily into the longest pieces of the vocabulary.

A piece that is not at the beginning of a word is written `##ing`. A word that cannot be split becomes `[UNK]`, so
decoding does not always give the same text.
Sources: Devlin et al. 2018, arXiv:1810.04805; github.com/google-research/bert, tokenization.py.
"""

from __future__ import annotations

import regex

from tokenizer.bpe.words import MAX_CACHED_WORDS
from tokenizer.formats.records import WordPieceRecord
from tokenizer.models.base import BaseTokenizer
from tokenizer.models.model import Model
from tokenizer.text.aligned_text import AlignedText, Span
from tokenizer.text.huggingface_unicode import BERT_PUNCTUATION
from tokenizer.text.normalize import character_class
from tokenizer.text.special_tokens import normalized_names

# Each punctuation character is a word. So is each run of other characters, except white space.
PUNCTUATION = character_class(BERT_PUNCTUATION)
WORD = regex.compile(rf"[{PUNCTUATION}]|[^\p{{White_Space}}{PUNCTUATION}]+")

# Spaces that decoding removes, in this order. Source: `clean_up_tokenization` of Hugging Face's libraries.
JOINS = [(" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m")]
JOINS += [(" do not", " don't"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re")]

PieceInWord = tuple[int, int, int]  # an id, and the start and end of the piece in its word


class WordPiece(Model):
    """Greedy longest match within words."""

    def __init__(self, record: WordPieceRecord):
        self.record = record
        self.pieces = record.pieces
        self._id_of = {piece: i for i, piece in enumerate(self.pieces) if piece and i not in record.added_only}
        if record.unknown not in self._id_of:
            raise ValueError(f"the vocabulary has no token {record.unknown!r} for unknown words")
        self.unknown: int = self._id_of[record.unknown]
        self._max_piece_length = max(map(len, self._id_of))
        self._decoded_names = normalized_names(record.added_tokens, record.normalizer)
        self._cache: dict[str, list[PieceInWord]] = {}
        self.tokens = [
            None if piece is None else self._text_of(self.spelling(i)).encode() for i, piece in enumerate(self.pieces)
        ]

    def _text_of(self, piece: str) -> str:
        """The text of a piece that is not the first one: with a space before it if it begins a word."""
        inside = piece.startswith(self.record.continuation)
        return clean_up(piece.removeprefix(self.record.continuation) if inside else " " + piece)

    def encode(self, text: str) -> list[int]:
        return [i for word in WORD.findall(text) for i, _, _ in self._split_word(word)]

    def encode_aligned(self, text: AlignedText) -> tuple[list[int], list[Span]]:
        ids, spans = [], []
        for word in WORD.finditer(text.text):
            for i, start, end in self._split_word(word.group()):
                ids.append(i)
                spans.append(text.span(word.start() + start, word.start() + end))
        return ids, spans

    def _split_word(self, word: str) -> list[PieceInWord]:
        if word not in self._cache:
            if len(self._cache) >= MAX_CACHED_WORDS:
                self._cache.clear()
            self._cache[word] = self._find_pieces(word)
        return self._cache[word]

    def _find_pieces(self, word: str) -> list[PieceInWord]:
        """The longest piece at the beginning, then the longest one that continues from there, and so on."""
        unknown = [(self.unknown, 0, len(word))]
        if len(word) > self.record.max_word_length:
            return unknown
        pieces: list[PieceInWord] = []
        start = 0
        while start < len(word):
            piece = self._longest_piece(word, start)
            if piece is None:
                return unknown
            pieces.append(piece)
            start = piece[2]
        return pieces

    def _longest_piece(self, word: str, start: int) -> PieceInWord | None:
        prefix = self.record.continuation if start else ""
        for end in range(min(len(word), start + self._max_piece_length), start, -1):
            i = self._id_of.get(prefix + word[start:end])
            if i is not None:
                return i, start, end
        return None

    def decode(self, ids: list[int], *, mid_text: bool) -> bytes:
        if mid_text or not ids:
            return super().decode(ids, mid_text=mid_text)
        return clean_up(self.spelling(ids[0])).encode() + super().decode(ids[1:], mid_text=True)

    def spelling(self, i: int) -> str:
        return self._decoded_names.get(i) or self.pieces[i] or ""


class WordPieceTokenizer(BaseTokenizer):
    """BERT's tokenizer. Made by `BaseTokenizer.load`."""

    RECORD = WordPieceRecord
    model: WordPiece

    def __init__(self, record: WordPieceRecord):
        super().__init__(WordPiece(record), record.added_tokens, record.normalizer, None, record.template)

    @property
    def record(self) -> WordPieceRecord:
        return self.model.record._replace(added_tokens=self.added_tokens)


def clean_up(text: str) -> str:
    for apart, joined in JOINS:
        text = text.replace(apart, joined)
    return text
