"""A tokenizer.json of a character tokenizer. For Hugging Face's library each character is a word."""

from __future__ import annotations

from typing import Any

from tokenizer.formats.checks import ANY, expect, unsupported
from tokenizer.formats.components import Document
from tokenizer.formats.records import CharacterRecord, FormatError, Spelling
from tokenizer.text.special_tokens import UNKNOWN
from tokenizer.text.template import Template

EACH_CHARACTER = {"type": "Split", "pattern": {"Regex": r"[\s\S]"}, "behavior": "Isolated", "invert": False}
JOINED = {"type": "Fuse"}


def read(document: Document) -> CharacterRecord:
    if document.pre_tokenizer != EACH_CHARACTER:
        raise FormatError(
            'asks for a model of type "WordLevel" and a pre_tokenizer that makes words, which is not supported (single '
            "characters are)"
        )
    expect(document.model, {"type": ("WordLevel",), "vocab": ANY, "unk_token": (UNKNOWN,)}, "model")
    if document.decoder != JOINED:
        raise unsupported("decoder", document.decoder, "which is not supported with WordLevel")
    if document.normalizer or document.trim_offsets or document.template != Template():
        raise FormatError("asks for a normalizer or post_processor, which is not supported with WordLevel")
    names = {token.content for token in document.added}
    for text in document.spelling:
        if text is None or (len(text) != 1 and text not in names):
            raise FormatError(f"has the token {text!r}, which is not a single character")
    return CharacterRecord([text.encode() for text in document.spelling if text is not None], document.added)


def write(record: CharacterRecord) -> tuple[Spelling, dict[str, Any]]:
    spelling: Spelling = [None if token is None else token.decode() for token in record.tokens]
    vocab = {text: i for i, text in enumerate(spelling) if text is not None}
    model = {"type": "WordLevel", "vocab": vocab, "unk_token": UNKNOWN}
    return spelling, {"pre_tokenizer": EACH_CHARACTER, "decoder": JOINED, "model": model}
