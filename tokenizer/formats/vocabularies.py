"""Bare vocabularies, whose files say nothing else.

A table of spellings and ids with a file of merges is a byte-pair vocabulary (encoder.json + vocab.bpe of GPT-2,
vocab.json + merges.txt of Hugging Face). A list of pieces that contains [UNK] is BERT's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tokenizer.formats import byte_pair
from tokenizer.formats.checks import by_id, is_text, shorten
from tokenizer.formats.components import read_added_tokens
from tokenizer.formats.records import BytePairRecord, FormatError, WordPieceRecord
from tokenizer.text.bert_normalizer import BertNormalizer
from tokenizer.text.normalize import Normalizer, UnicodeForm
from tokenizer.text.special_tokens import END_OF_TEXT, AddedToken
from tokenizer.text.template import Template

# The pattern and normalizer of the class that a tokenizer_config.json names; the vocabulary files do not say them.
CLASSES: dict[str, tuple[str, Normalizer | None]] = {
    "GPT2Tokenizer": ("gpt2", None),
    "Qwen2Tokenizer": ("qwen2", UnicodeForm("NFC")),
}
BERT_SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def parse_byte_pairs(
    vocabulary: Any,
    merges: bytes,
    settings: dict[str, Any],
    pattern: str | None,
    special_tokens: Mapping[str, int] | Iterable[str] | None,
) -> BytePairRecord:
    """`special_tokens` are names that the vocabulary has, or new ones with their ids. `settings` are those of a
    tokenizer_config.json, which may list added tokens, and name a class from which the pattern is known."""
    if not isinstance(vocabulary, dict):
        raise FormatError("is not a table of tokens and ids")
    normalizer = None
    if pattern is None:
        kind = settings.get("tokenizer_class", "GPT2Tokenizer").removesuffix("Fast")
        if kind not in CLASSES:
            raise FormatError(f"belongs to a {kind}, whose pattern is not known: give pattern=")
        pattern, normalizer = CLASSES[kind]
    added = added_tokens(vocabulary, settings, special_tokens)
    spelling = by_id(dict(vocabulary) | {token.content: token.id for token in added})
    has_prefix = bool(settings.get("add_prefix_space")) and pattern == "gpt2"
    document = byte_pair.bare_document(vocabulary, lines_of(merges), pattern, has_prefix=has_prefix)
    return byte_pair.read(document, spelling, added)._replace(normalizer=normalizer)


def lines_of(merges: bytes) -> list[str]:
    """The merges of a merges.txt, which may begin with a line that says its version."""
    try:
        lines = merges.decode().split("\n")
    except UnicodeDecodeError:
        raise FormatError("has a file of merges beside it that is not text in UTF-8") from None
    lines = lines[1:] if lines[0].startswith("#version") else lines
    return [line.rstrip("\r") for line in lines if line.strip()]


def added_tokens(
    vocabulary: dict, settings: dict[str, Any], special_tokens: Mapping[str, int] | Iterable[str] | None
) -> tuple[AddedToken, ...]:
    """`special_tokens` if given, or else those that the settings list, or else the end of text."""
    if isinstance(special_tokens, Mapping):
        return tuple(AddedToken(name, i) for name, i in special_tokens.items())
    if special_tokens is not None:
        for name in special_tokens:
            if name not in vocabulary:
                raise FormatError(f"has no token {name!r}: give special_tokens as a table of names and ids")
        return tuple(AddedToken(name, vocabulary[name]) for name in special_tokens)
    listed = settings.get("added_tokens_decoder")
    if isinstance(listed, dict) and all(i.isdecimal() and isinstance(token, dict) for i, token in listed.items()):
        return read_added_tokens([{**token, "id": int(i)} for i, token in listed.items()])
    return (AddedToken(END_OF_TEXT, vocabulary[END_OF_TEXT]),) if END_OF_TEXT in vocabulary else ()


def parse_word_pieces(vocabulary: Any, settings: dict[str, Any]) -> WordPieceRecord:
    """`vocabulary` is a table, or a list in the order of the ids.

    A list for TensorFlow.js marks the pieces that begin words (with U+2581) instead of the pieces inside words.
    """
    if isinstance(vocabulary, list):
        if not all(map(is_text, vocabulary)):
            raise FormatError("is damaged: its vocabulary contains something that is not text")
        if sum(piece.startswith("\u2581") for piece in vocabulary) > len(vocabulary) // 2:
            vocabulary = [with_continuation_marks(piece) for piece in vocabulary]
        vocabulary = {piece: i for i, piece in enumerate(vocabulary)}
    pieces = by_id(vocabulary)
    specials = [name for name in BERT_SPECIALS if name in vocabulary]
    for name in "[UNK]", "[CLS]", "[SEP]":
        if name not in vocabulary:
            raise FormatError(f"is not a vocabulary of BERT: it has no {name}")
    begin, end = (vocabulary["[CLS]"],), (vocabulary["[SEP]"],)
    lowercase = settings.get("do_lower_case", True)
    accents, chinese = settings.get("strip_accents"), settings.get("tokenize_chinese_chars", True)
    if not {lowercase, chinese} <= {True, False} or accents not in (None, True, False):
        raise FormatError(f"has settings beside it that are not supported: {shorten(settings)}")
    return WordPieceRecord(
        pieces,
        tuple(sorted((AddedToken(name, vocabulary[name]) for name in specials), key=lambda token: token.id)),
        BertNormalizer(True, chinese, accents, lowercase),
        Template((begin, "A", end), (begin, "A", end, "B", end), (0, 0, 0), (0, 0, 0, 1, 1)),
    )


def with_continuation_marks(piece: str) -> str:
    if piece.startswith("\u2581"):
        return piece[1:]
    return piece if piece.startswith("[") and piece.endswith("]") and len(piece) > 2 else "##" + piece
