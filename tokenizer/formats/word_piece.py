"""A tokenizer.json of a WordPiece tokenizer: BERT and its family."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tokenizer.formats.checks import ANY, expect, shorten
from tokenizer.formats.components import (
    added_only,
    model_vocab,
    read_normalizer,
    read_post_processor,
    write_post_processor,
)
from tokenizer.formats.records import FormatError, WordPieceRecord
from tokenizer.text.special_tokens import AddedToken

MODEL = {
    "type": ("WordPiece",),
    "vocab": ANY,
    "unk_token": ANY,
    "continuing_subword_prefix": ANY,
    "max_input_chars_per_word": ANY,
}


def read(document: dict, pieces: list[str | None], added: Sequence[AddedToken]) -> WordPieceRecord:
    model = document["model"]
    expect(model, MODEL, "model")
    prefix, longest = model.get("continuing_subword_prefix", "##"), model.get("max_input_chars_per_word", 100)
    if document.get("pre_tokenizer") != {"type": "BertPreTokenizer"}:
        raise FormatError(f"asks for pre_tokenizer = {shorten(document.get('pre_tokenizer'))}, which is not supported")
    expect(document.get("decoder"), {"type": ("WordPiece",), "prefix": (prefix,), "cleanup": (True,)}, "decoder")
    unknown = model.get("unk_token", "[UNK]")
    if unknown not in model["vocab"] or not isinstance(prefix, str) or not prefix or type(longest) is not int:
        raise FormatError("is damaged: its unk_token is not a token, or the prefix of pieces inside words is not text")
    template, _ = read_post_processor(document.get("post_processor"))
    normalizer = read_normalizer(document.get("normalizer"))
    unseen = added_only(added, model["vocab"])
    return WordPieceRecord(pieces, tuple(added), normalizer, template, unknown, prefix, longest, unseen)


def write(record: WordPieceRecord) -> dict[str, Any]:
    pieces = record.pieces
    model = {
        "type": "WordPiece",
        "unk_token": record.unknown,
        "continuing_subword_prefix": record.continuation,
        "max_input_chars_per_word": record.max_word_length,
        "vocab": model_vocab(pieces, record.added_only),
    }
    return {
        "normalizer": record.normalizer.spec() if record.normalizer else None,
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": write_post_processor(record.template, None, lambda i: pieces[i] or ""),
        "decoder": {"type": "WordPiece", "prefix": record.continuation, "cleanup": True},
        "model": model,
    }
