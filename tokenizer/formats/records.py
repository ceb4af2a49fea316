"""What tokenizers consist of, apart from any file format: one record for each kind.

A file is read into a record (formats/), and a tokenizer is made from a record (models/).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from tokenizer.bpe.merge_table import Pair
from tokenizer.text.normalize import Normalizer
from tokenizer.text.offsets import OffsetTrimming
from tokenizer.text.prefix import Prefix
from tokenizer.text.special_tokens import AddedToken
from tokenizer.text.template import Template

SpecialTokens = Mapping[str, int] | Iterable[str] | None  # names, with or without ids, as a caller gives them
Spelling = list[str | None]  # spelling[id]: a token as its file spells it; None for an id that is not used


class FormatError(ValueError):
    """A file is damaged, has an unknown format, or asks for what is not supported. The message names the file."""


class PatternKnown(FormatError):
    """A pattern was given for a file that says itself how text is split."""


class BytePairRecord(NamedTuple):
    """Byte-level byte-pair encoding: GPT-2 and most models after it."""

    tokens: list[bytes | None]  # tokens[id]: its bytes; None for an id that is not used
    merges: list[Pair] | None  # pairs of ids, in the order in which they were learned; None: the ids are the ranks
    added_tokens: tuple[AddedToken, ...]
    pattern: str | tuple[str, ...] = "gpt4"  # splits text into words; several patterns are applied one after another
    normalizer: Normalizer | None = None
    prefix: Prefix | None = None
    template: Template = Template()
    ignore_merges: bool = False  # a word that is a token becomes that token, whatever its merges would make
    trim_offsets: OffsetTrimming | None = None


class SentencePieceRecord(NamedTuple):
    """Byte-pair encoding over characters: Llama 2."""

    pieces: Spelling
    # One of these two is None. They say which neighbours are merged first: the pair that comes first in `merges`, or
    # the pair that makes the piece of the highest score.
    merges: list[Pair] | None
    scores: list[float] | None
    added_tokens: tuple[AddedToken, ...]
    normalizer: Normalizer | None = None
    prefix: Prefix | None = None
    template: Template = Template()
    unknown: int | None = None  # the id for a character without a token, if its bytes have no tokens either
    byte_fallback: bool = True  # whether pieces such as <0xE2> are bytes
    user_defined: tuple[int, ...] = ()  # ids of pieces that are found as a whole, before anything is merged
    strips_space: bool = True  # decoding removes one space at the beginning
    added_only: tuple[int, ...] = ()  # ids of added tokens that are not in the vocabulary of the model


class WordPieceRecord(NamedTuple):
    """Greedy longest match within words: BERT."""

    pieces: Spelling
    added_tokens: tuple[AddedToken, ...]
    normalizer: Normalizer | None = None
    template: Template = Template()
    unknown: str = "[UNK]"
    continuation: str = "##"  # what pieces inside a word begin with
    max_word_length: int = 100  # in characters; a longer word becomes the unknown token
    added_only: tuple[int, ...] = ()


class CharacterRecord(NamedTuple):
    """One token for each character."""

    tokens: list[bytes | None]  # a character in UTF-8, or the name of a special token
    added_tokens: tuple[AddedToken, ...]


Record = BytePairRecord | SentencePieceRecord | WordPieceRecord | CharacterRecord
