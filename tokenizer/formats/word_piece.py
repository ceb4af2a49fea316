"""A tokenizer.json of a WordPiece tokenizer: BERT and its family."""

from __future__ import annotations

from typing import Any

from tokenizer.formats.checks import ANY, expect, is_text, unsupported
from tokenizer.formats.components import Document, added_only, model_vocab
from tokenizer.formats.records import FormatError, Spelling, WordPieceRecord

SETTINGS = ("unk_token", "continuing_subword_prefix", "max_input_chars_per_word", "vocab")
MODEL = {"type": ("WordPiece",), **dict.fromkeys(SETTINGS, ANY)}
PRE_TOKENIZER = {"type": "BertPreTokenizer"}


def read(document: Document) -> WordPieceRecord:
    model = document.model
    expect(model, MODEL, "model")
    if document.pre_tokenizer != PRE_TOKENIZER:
        raise unsupported("pre_tokenizer", document.pre_tokenizer)
    unknown = model.get("unk_token", "[UNK]")
    continuation = model.get("continuing_subword_prefix", "##")
    max_length = model.get("max_input_chars_per_word", 100)
    expect(document.decoder, {"type": ("WordPiece",), "prefix": (continuation,), "cleanup": (True,)}, "decoder")
    if not is_text(continuation) or not continuation or type(max_length) is not int:
        raise FormatError("is damaged: the prefix of pieces inside words is not text, or the longest word not a number")
    if not is_text(unknown) or unknown not in model["vocab"]:
        raise FormatError(f"is damaged: its unk_token {unknown!r} is not a token")
    return WordPieceRecord(
        document.spelling,
        document.added,
        document.normalizer,
        document.template,
        unknown,
        continuation,
        max_length,
        added_only(document.added, model["vocab"]),
    )


def write(record: WordPieceRecord) -> tuple[Spelling, dict[str, Any]]:
    vocab = model_vocab(record.pieces, record.added_only)
    values = (record.unknown, record.continuation, record.max_word_length, vocab)
    return record.pieces, {
        "pre_tokenizer": PRE_TOKENIZER,
        "decoder": {"type": "WordPiece", "prefix": record.continuation, "cleanup": True},
        "model": {"type": "WordPiece", **dict(zip(SETTINGS, values))},
    }
