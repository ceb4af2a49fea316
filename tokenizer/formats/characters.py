"""A tokenizer.json of a character tokenizer. For Hugging Face's library each character is a word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tokenizer.formats.checks import ANY, expect, shorten
from tokenizer.formats.records import CharacterRecord, FormatError
from tokenizer.text.special_tokens import UNKNOWN, AddedToken

EACH_CHARACTER = {"type": "Split", "pattern": {"Regex": r"[\s\S]"}, "behavior": "Isolated", "invert": False}
JOINED = {"type": "Fuse"}
PARTS = {"normalizer": None, "pre_tokenizer": EACH_CHARACTER, "decoder": JOINED, "post_processor": None}


def read(document: dict, spelling: list[str | None], added: Sequence[AddedToken]) -> CharacterRecord:
    expect(document["model"], {"type": ("WordLevel",), "vocab": ANY, "unk_token": (UNKNOWN,)}, "model")
    for part, supported in PARTS.items():
        if document.get(part) != supported:
            raise FormatError(f"asks for {part} = {shorten(document.get(part))}, which is not supported with WordLevel")
    names = {token.content for token in added}
    for text in spelling:
        if text is None or (len(text) != 1 and text not in names):
            raise FormatError(f"has the token {text!r}, which is not a single character")
    return CharacterRecord([text.encode() for text in spelling if text is not None], tuple(added))


def write(record: CharacterRecord) -> dict[str, Any]:
    vocabulary = {token.decode(): i for i, token in enumerate(record.tokens) if token is not None}
    return {**PARTS, "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": UNKNOWN}}
