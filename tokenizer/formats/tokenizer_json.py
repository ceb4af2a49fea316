"""`tokenizer.json`, the format of Hugging Face's `tokenizers` library, for every kind of tokenizer."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from tokenizer.formats import byte_pair, character_pair, characters, word_piece
from tokenizer.formats.checks import ANY, by_id, expect, shorten
from tokenizer.formats.records import BytePairContents, Contents, FormatError, SentencePieceContents, WordPieceContents
from tokenizer.formats.stages import read_added_tokens, write_added_tokens
from tokenizer.text.special_tokens import AddedToken

TOP = {
    "version": ("1.0",),
    "truncation": (None,),
    "padding": (None,),
    **dict.fromkeys(["normalizer", "added_tokens", "pre_tokenizer", "post_processor", "decoder", "model"], ANY),
}


def parse(document: Any) -> Contents:
    """What the file says. FormatError if it cannot be understood, all of it."""
    if not isinstance(document, dict) or not isinstance(document.get("model"), dict):
        raise FormatError("is no tokenizer.json: it describes no model")
    expect(document, TOP, "")
    added = read_added_tokens(document.get("added_tokens", []))
    model = document["model"]
    if not isinstance(model.get("vocab"), dict):
        raise FormatError(
            f"asks for a model of type {shorten(kind_of(model))}, which is not supported (its vocab is no table)"
        )
    spelling = spelling_of(model["vocab"], added)
    kind = kind_of(model)
    if kind == "BPE":
        reader = character_pair if model.get("byte_fallback") else byte_pair
        return reader.read(document, spelling, added)
    if kind == "WordPiece":
        return word_piece.read(document, spelling, added)
    if kind == "WordLevel":
        return characters.read(document, spelling, added)
    raise FormatError(
        f"asks for a model of type {shorten(kind)}, which is not supported (BPE, WordPiece, WordLevel are)"
    )


def spelling_of(vocab: dict[str, Any], added: Iterable[AddedToken]) -> list[str | None]:
    """How each id is spelled, those that were added among them."""
    id_of = dict(vocab)
    for token in added:
        if id_of.setdefault(token.content, token.id) != token.id:
            raise FormatError(f"is damaged: the added token {token.content!r} has another id in the vocab")
    return by_id(id_of)


def kind_of(model: dict) -> Any:
    """The type of a model; older files do not give it for byte pairs."""
    return model.get("type", "BPE" if "merges" in model else None)


def serialize(contents: Contents) -> bytes:
    """The text of the file. ValueError if it would not read back the same."""
    parts = document_of(contents)
    document = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": write_added_tokens(contents.special_tokens),
        **dict.fromkeys(["normalizer", "pre_tokenizer", "post_processor", "decoder", "model"]),
        **parts,
    }
    data = json.dumps(document, ensure_ascii=False, indent=1).encode()
    try:
        if same(parse(json.loads(data)), contents):
            return data
    except FormatError as error:
        raise ValueError(
            f"this tokenizer cannot be written as a tokenizer.json: it would be one that {error}"
        ) from None
    raise ValueError("this tokenizer cannot be written as a tokenizer.json: two of its tokens are spelled alike")


def document_of(contents: Contents) -> dict[str, Any]:
    if isinstance(contents, BytePairContents):
        return byte_pair.write(contents)
    if isinstance(contents, SentencePieceContents):
        return character_pair.write(contents)
    if isinstance(contents, WordPieceContents):
        return word_piece.write(contents)
    return characters.write(contents)


def same(read: Contents, written: Contents) -> bool:
    """Whether what was read back is what was written. Scores are written as the merges that they make."""
    if isinstance(written, SentencePieceContents) and isinstance(read, SentencePieceContents) and written.scores:
        return read._replace(merges=None, scores=written.scores) == written
    return read == written
