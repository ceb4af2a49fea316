"""Small tokenizers of every kind, made here, and small files to make them from."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from typing import Any

from tokenizer import BaseTokenizer, CharTokenizer, Tokenizer
from tokenizer.formats import llama2c, sentencepiece, tokenizer_json, vocabularies

TEXT = "the cat sat on the mat; 'twas naïve — 日本語 日本 😀😀 and 1234 more cats.\n\n  the end\n" * 3
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
WORDS = [
    "▁",
    "t",
    "h",
    "e",
    "a",
    "c",
    "s",
    "▁t",
    "he",
    "▁the",
    "at",
    "▁cat",
    "cat",
    "ca",
    "▁▁",
    "▁▁▁▁",
    "日",
    "aa",
    "aaa",
]
BERT = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "the",
    "cat",
    "##s",
    "sa",
    "##t",
    ",",
    ".",
    "don",
    "'",
    "t",
    "日",
    "a",
]
Piece = tuple[str, float, int]
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)


def pieces(words: Iterable[str] = WORDS, bytes_too: bool = True) -> list[Piece]:
    """The pieces of a SentencePiece model: text, score, type."""
    head = [("<unk>", 0.0, UNKNOWN), ("<s>", 0.0, CONTROL), ("</s>", 0.0, CONTROL)]
    middle = [(name, 0.0, BYTE) for name in BYTES] if bytes_too else []
    return [*head, *middle, *((word, -float(i), NORMAL) for i, word in enumerate(words))]


def field(number: int, value: int | float | bytes) -> bytes:
    """A field of a protocol buffer."""
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    return varint(number << 3) + varint(value)


def varint(value: int) -> bytes:
    groups = []
    while value >= 0x80:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])


def model_file(rows: Iterable[Piece], trainer: bytes = b"", normalizer: bytes = b"") -> bytes:
    """A `.model`; the last field of two of the same number counts."""
    body = b"".join(field(1, field(1, text.encode()) + field(2, score) + field(3, kind)) for text, score, kind in rows)
    trainer = field(3, 2) + field(35, 1) + trainer
    normalizer = field(1, b"identity") + field(4, 0) + normalizer
    return body + field(2, trainer) + field(3, normalizer)


def llama2c_file(rows: Iterable[Piece]) -> bytes:
    body = b""
    for text, score, kind in rows:
        data = (f"\n{text}\n" if kind == CONTROL else text.replace("▁", " ")).encode()
        body += struct.pack("<fi", score, len(data)) + data
    return struct.pack("<i", 7) + body


def gguf_file(values: dict[str, Any]) -> bytes:
    """A table of values by their names (without what all begin with), and something after it."""
    rows = {"general.architecture": "llama"} | {f"tokenizer.ggml.{name}": value for name, value in values.items()}
    body = b"".join(gguf_text(name) + gguf_value(value) for name, value in rows.items())
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(rows)) + body + bytes(64)


def gguf_text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def gguf_value(value: Any) -> bytes:
    """Its kind and the value; of a list, the parts are alike."""
    if isinstance(value, list):
        parts = [gguf_value(part) for part in value]
        return (
            struct.pack("<I", 9) + parts[0][:4] + struct.pack("<Q", len(parts)) + b"".join(part[4:] for part in parts)
        )
    if isinstance(value, str):
        return struct.pack("<I", 8) + gguf_text(value)
    code = {bool: "<I?", float: "<If", int: "<Ii"}[type(value)]
    return struct.pack(code, {bool: 7, float: 6, int: 5}[type(value)], value)


def of(contents: tuple) -> BaseTokenizer:
    return BaseTokenizer.KINDS[type(contents)].of(contents)


def every_kind() -> dict[str, BaseTokenizer]:
    byte_pairs = Tokenizer.train([TEXT], 300, ["<|endoftext|>"])
    by_scores = of(sentencepiece.parse(model_file(pieces())))
    document = json.loads(tokenizer_json.serialize(by_scores._contents()))
    return {
        "byte pairs": byte_pairs,
        "characters": CharTokenizer.train([TEXT, "\ufffd"], ["<|endoftext|>", "<|unknown|>"]),
        "SentencePiece": by_scores,
        "SentencePiece in JSON": of(tokenizer_json.parse(document)),
        "llama2.c": of(llama2c.parse(llama2c_file(pieces()))),
        "WordPiece": of(vocabularies.parse_word_pieces(BERT, {})),
    }
