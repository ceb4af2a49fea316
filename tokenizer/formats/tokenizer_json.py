"""`tokenizer.json`, the format of Hugging Face's `tokenizers` library, for every kind of tokenizer."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from tokenizer.formats import byte_pair, character_pair, characters, word_piece
from tokenizer.formats.checks import ANY, by_id, expect, shorten
from tokenizer.formats.components import read_added_tokens, write_added_tokens
from tokenizer.formats.records import BytePairRecord, FormatError, Record, SentencePieceRecord, WordPieceRecord
from tokenizer.text.special_tokens import AddedToken

TOP = {
    "version": ("1.0",),
    "truncation": (None,),
    "padding": (None,),
    **dict.fromkeys(["normalizer", "added_tokens", "pre_tokenizer", "post_processor", "decoder", "model"], ANY),
}


def parse(document: Any) -> Record:
    """What the file says. FormatError if any of it is not supported."""
    if not isinstance(document, dict) or not isinstance(document.get("model"), dict):
        raise FormatError("is not a tokenizer.json: it describes no model")
    expect(document, TOP, "")
    added = read_added_tokens(document.get("added_tokens", []))
    model = document["model"]
    if not isinstance(model.get("vocab"), dict):
        kind = shorten(kind_of(model))
        raise FormatError(f"asks for a model of type {kind}, which is not supported (its vocab is not a table)")
    spelling = spelling_of(model["vocab"], added)
    kind = kind_of(model)
    if kind == "BPE":
        reader = character_pair if model.get("byte_fallback") else byte_pair
        return reader.read(document, spelling, added)
    if kind == "WordPiece":
        return word_piece.read(document, spelling, added)
    if kind == "WordLevel":
        return characters.read(document, spelling, added)
    supported = "BPE, WordPiece, WordLevel"
    raise FormatError(f"asks for a model of type {shorten(kind)}, which is not supported (only {supported})")


def spelling_of(vocab: dict[str, Any], added: Iterable[AddedToken]) -> list[str | None]:
    """How each id is spelled, with those of added tokens."""
    id_of = dict(vocab)
    for token in added:
        if id_of.setdefault(token.content, token.id) != token.id:
            raise FormatError(f"is damaged: the added token {token.content!r} has another id in the vocab")
    return by_id(id_of)


def kind_of(model: dict) -> Any:
    """The type of a model. Older files do not give it for byte pairs."""
    return model.get("type", "BPE" if "merges" in model else None)


def serialize(record: Record) -> bytes:
    """The content of the file. ValueError if it would not be read back the same."""
    parts = document_of(record)
    document = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": write_added_tokens(record.added_tokens),
        **dict.fromkeys(["normalizer", "pre_tokenizer", "post_processor", "decoder", "model"]),
        **parts,
    }
    data = json.dumps(document, ensure_ascii=False, indent=1).encode()
    problem = "this tokenizer cannot be written as a tokenizer.json: "
    try:
        if same(parse(json.loads(data)), record):
            return data
    except FormatError as error:
        raise ValueError(f"{problem}it would be one that {error}") from None
    raise ValueError(f"{problem}two of its tokens are spelled alike")


def document_of(record: Record) -> dict[str, Any]:
    if isinstance(record, BytePairRecord):
        return byte_pair.write(record)
    if isinstance(record, SentencePieceRecord):
        return character_pair.write(record)
    if isinstance(record, WordPieceRecord):
        return word_piece.write(record)
    return characters.write(record)


def same(read: Record, written: Record) -> bool:
    """Whether what was read back is what was written. Scores are written as merges."""
    if isinstance(written, SentencePieceRecord) and isinstance(read, SentencePieceRecord) and written.scores:
        return read._replace(merges=None, scores=written.scores) == written
    return read == written
