"""What tokenizers consist of, apart from any file format: one record for each kind.

A file is read into a record (formats/), and a tokenizer is made from a record (models/).
"""

from __future__ import annotations

from typing import NamedTuple

from tokenizer.bpe.merge_table import Pair
from tokenizer.text.normalize import Normalizer
from tokenizer.text.offsets import OffsetTrimming
from tokenizer.text.prefix import Prefix
from tokenizer.text.special_tokens import AddedToken
from tokenizer.text.template import Template

Spelling = list[str | None]  # spelling[id]: a token as its file spells it; None for an id that is not used


class FormatError(ValueError):
    """A file is damaged, has an unknown format, or asks for what is not supported. The message names the file."""


class BytePairRecord(NamedTuple):
    """Byte-level byte-pair encoding: GPT-2 and most models after it."""

    tokens: list[bytes | None]  # tokens[id]: its bytes; None for an id that is not used
    merges: list[Pair] | None  # pairs of ids, the first learned first; None: the ids are ranks (bpe/merge_table.py)
    added_tokens: tuple[AddedToken, ...]
    pattern: str | tuple[str, ...] = "gpt4"  # how text is split into words; several: one after another
    normalizer: Normalizer | None = None
    prefix: Prefix | None = None
    template: Template = Template()
    ignore_merges: bool = False  # a word that is a token is that token, whatever its merges would make
    trim_offsets: OffsetTrimming | None = None


class SentencePieceRecord(NamedTuple):
    """Byte-pair encoding over characters: Llama 2."""

    pieces: list[str | None]  # pieces[id]: how the vocabulary spells the token
    merges: list[Pair] | None  # what is joined first is said by merges or ...
    scores: list[float] | None  # ... by scores: of all neighbours that make a piece, those of the highest score
    added_tokens: tuple[AddedToken, ...]
    normalizer: Normalizer | None = None
    prefix: Prefix | None = None
    template: Template = Template()
    unknown: int | None = None  # for characters that have no token and whose bytes have none
    byte_fallback: bool = True  # pieces such as <0xE2> are bytes
    user_defined: tuple[int, ...] = ()  # pieces that are found as a whole
    strips_space: bool = True  # decoding removes one space at the beginning
    added_only: tuple[int, ...] = ()  # added tokens that the model itself never makes


class WordPieceRecord(NamedTuple):
    """Greedy longest match within words: BERT."""

    pieces: list[str | None]
    added_tokens: tuple[AddedToken, ...]
    normalizer: Normalizer | None = None
    template: Template = Template()
    unknown: str = "[UNK]"
    continuation: str = "##"  # what pieces inside a word begin with
    max_word_length: int = 100  # characters; longer words are unknown
    added_only: tuple[int, ...] = ()


class CharacterRecord(NamedTuple):
    """One token for each character."""

    tokens: list[bytes | None]  # a character in UTF-8, or the name of a special token
    added_tokens: tuple[AddedToken, ...]


Record = BytePairRecord | SentencePieceRecord | WordPieceRecord | CharacterRecord
