"""What tokenizers are made of, apart from any format: one record for each kind, in the order of its constructor's
arguments. A file is read into one (formats) and a tokenizer is made from one (`BaseTokenizer.of`)."""

from __future__ import annotations

from typing import NamedTuple

from tokenizer.bpe.textbook import Pair
from tokenizer.text.normalize import Normalizer
from tokenizer.text.offsets import Trimming
from tokenizer.text.prefix import Prefix
from tokenizer.text.special_tokens import AddedToken
from tokenizer.text.template import Template


class FormatError(ValueError):
    """A file that is damaged, foreign, or asks for what is not supported. The message names the file."""


class BytePairContents(NamedTuple):
    """See `tokenizer.Tokenizer`."""

    tokens: list[bytes | None]
    merges: list[Pair] | None
    special_tokens: tuple[AddedToken, ...]
    pattern: str | tuple[str, ...]
    normalizer: Normalizer | None = None
    prefix: Prefix | None = None
    template: Template = Template()
    ignore_merges: bool = False
    trim_offsets: Trimming | None = None


class SentencePieceContents(NamedTuple):
    """See `sentencepiece.SentencePieceTokenizer`."""

    pieces: list[str | None]
    merges: list[Pair] | None
    scores: list[float] | None
    special_tokens: tuple[AddedToken, ...]
    normalizer: Normalizer | None = None
    prefix: Prefix | None = None
    template: Template = Template()
    unknown: int | None = None
    byte_fallback: bool = True
    undivided: tuple[int, ...] = ()
    drops_space: bool = True
    merely_added: tuple[int, ...] = ()


class WordPieceContents(NamedTuple):
    """See `wordpiece.WordPieceTokenizer`."""

    pieces: list[str | None]
    special_tokens: tuple[AddedToken, ...]
    normalizer: Normalizer | None = None
    template: Template = Template()
    unknown: str = "[UNK]"
    continues_with: str = "##"
    longest_word: int = 100
    merely_added: tuple[int, ...] = ()


class CharacterContents(NamedTuple):
    """See `char.CharTokenizer`."""

    tokens: list[bytes | None]
    special_tokens: tuple[AddedToken, ...]


Contents = BytePairContents | SentencePieceContents | WordPieceContents | CharacterContents
