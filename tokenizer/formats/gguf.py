"""GGUF, the format of llama.cpp: a table of names and values, then the weights. Only the table is read here.

The vocabulary is among the values, as lists of tokens, of merges or scores, and of token types (SentencePiece's).
Source: github.com/ggml-org/ggml, docs/gguf.md; the names of pre-tokenizers are those of llama.cpp.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from mmap import mmap
from typing import Any

from tokenizer.formats import byte_pair, sentencepiece, vocabularies
from tokenizer.formats.checks import by_id
from tokenizer.formats.records import BytePairRecord, FormatError, Record, SentencePieceRecord, WordPieceRecord
from tokenizer.formats.sentencepiece import CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED, Piece, beginning
from tokenizer.text.normalize import UnicodeForm
from tokenizer.text.special_tokens import AddedToken

MAGIC = b"GGUF"
VERSIONS = (2, 3)
NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9

PATTERNS: dict[str, str | tuple[str, ...]] = {
    "gpt-2": "gpt2",
    "llama-bpe": "llama3",
    "qwen2": "qwen2",
    "smollm": (r"\p{N}", "gpt2"),
    "gpt-4o": "o200k",
}
NORMALIZERS = {"qwen2": UnicodeForm("NFC")}
# What llama.cpp does if the file does not say it: a token at the beginning, and words that are tokens stay whole.
ADDS_BOS, IGNORES_MERGES = ("llama-bpe",), ("llama-bpe",)
NAMES = {
    "bos_token": "bos_token_id",
    "eos_token": "eos_token_id",
    "unk_token": "unknown_token_id",
    "pad_token": "padding_token_id",
}


class Reader:
    """Reads one value after another. FormatError if the data ends too early."""

    def __init__(self, data: bytes | mmap):
        self.data, self.at = data, len(MAGIC)

    def numbers(self, code: str, count: int) -> tuple:
        try:
            found = struct.unpack_from(f"<{count}{code}", self.data, self.at)
        except (struct.error, OverflowError):
            raise FormatError("is damaged: it ends within its table of values") from None
        self.at += struct.calcsize(f"<{count}{code}")
        return found

    def number(self, code: str) -> Any:
        return self.numbers(code, 1)[0]

    def text(self) -> str:
        size = self.number("Q")
        data = self.data[self.at : self.at + size] if size <= len(self.data) else b""
        self.at += size
        if len(data) < size:
            raise FormatError("is damaged: it ends within its table of values")
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise FormatError("is damaged: a text in its table of values is not UTF-8") from None

    def value(self, kind: int) -> Any:
        if kind == STRING:
            return self.text()
        if kind in NUMBERS:
            return self.number(NUMBERS[kind])
        part, count = self.numbers("I", 1) + self.numbers("Q", 1) if kind == ARRAY else (kind, 0)
        if part in NUMBERS:
            return self.numbers(NUMBERS[part], count)
        if kind == ARRAY and part == STRING:
            return [self.text() for _ in range(count)]
        raise FormatError(f"is damaged: it has a value of the unknown kind {part}")


def parse(data: bytes | mmap) -> tuple[Record, dict[str, Any]]:
    """The vocabulary, and what a tokenizer_config.json would say."""
    values = read_values(data)
    kind = values.get("model")
    if not isinstance(kind, str) or kind not in KINDS:
        raise FormatError(f"asks for tokenizer.ggml.model = {kind!r}, which is not supported ({', '.join(KINDS)} are)")
    tokens = values.get("tokens")
    if not isinstance(tokens, list):
        raise FormatError("is damaged: its tokens are not a list of texts")
    record = KINDS[kind](values, tokens)
    names = {name: tokens[i] for name, key in NAMES.items() if (i := id_value(values, key, tokens)) >= 0}
    template = values.get("chat_template")
    return record, names | ({"chat_template": template} if isinstance(template, str) else {})


def id_value(values: dict[str, Any], key: str, tokens: list[str]) -> int:
    """The value `key` if it is an id, or else -1."""
    i = values.get(key)
    return i if isinstance(i, int) and 0 <= i < len(tokens) else -1


def numbers_per_token(values: dict[str, Any], key: str, tokens: list[str], default: Any) -> tuple:
    """The list `key`, which has a number for each token."""
    numbers = values.get(key, (default,) * len(tokens))
    if not isinstance(numbers, tuple) or len(numbers) != len(tokens):
        raise FormatError(f"is damaged: its {key} is not a list with one number for each of its {len(tokens)} tokens")
    return numbers


def read_values(data: bytes | mmap) -> dict[str, Any]:
    """The values that describe the tokenizer, by the last part of their names."""
    reader = Reader(data)
    version = reader.number("I")
    if version not in VERSIONS:
        raise FormatError(f"is GGUF of version {version}, which is not supported (2 and 3 are)")
    _, count = reader.numbers("Q", 2)
    values = {}
    for _ in range(count):
        name = reader.text()
        values[name] = reader.value(reader.number("I"))
    return {name.rpartition(".")[2]: value for name, value in values.items() if name.startswith("tokenizer.")}


def byte_pairs(values: dict[str, Any], tokens: list[str]) -> BytePairRecord:
    pre = values.get("pre")
    if not isinstance(pre, str) or pre not in PATTERNS:
        raise FormatError(f"asks for tokenizer.ggml.pre = {pre!r}, which is not supported ({', '.join(PATTERNS)} are)")
    kinds = numbers_per_token(values, "token_type", tokens, NORMAL)
    added = [
        AddedToken(token, i, special=kind != USER_DEFINED)
        for i, (token, kind) in enumerate(zip(tokens, kinds))
        if kind in (UNKNOWN, CONTROL, USER_DEFINED)
    ]
    id_of = {token: i for i, (token, kind) in enumerate(zip(tokens, kinds)) if kind != UNUSED}
    document = byte_pair.bare_document(id_of, values.get("merges"), PATTERNS[pre], ignore_merges=pre in IGNORES_MERGES)
    record = byte_pair.read(document, by_id(id_of), added)
    begin = id_value(values, "bos_token_id", tokens) if values.get("add_bos_token", pre in ADDS_BOS) else -1
    return record._replace(normalizer=NORMALIZERS.get(pre), template=beginning(begin))


def pieces(values: dict[str, Any], tokens: list[str]) -> SentencePieceRecord:
    """The record of a SentencePiece `.model` with the same pieces and settings."""
    rows = zip(
        tokens,
        numbers_per_token(values, "scores", tokens, 0.0),
        numbers_per_token(values, "token_type", tokens, NORMAL),
    )
    normalizer = {3: values.get("add_space_prefix", True), 4: values.get("remove_extra_whitespaces", False)}
    trainer = {3: sentencepiece.BYTE_PAIR, 35: 1}
    vocabulary = [Piece(*row) for row in rows]
    sentencepiece.check(vocabulary, trainer, normalizer)
    begin = id_value(values, "bos_token_id", tokens) if values.get("add_bos_token", True) else -1
    return sentencepiece.contents_of(vocabulary, trainer, normalizer)._replace(template=beginning(begin))


def word_pieces(values: dict[str, Any], tokens: list[str]) -> WordPieceRecord:
    """The record of BERT, whose settings the file does not vary."""
    return vocabularies.parse_word_pieces(tokens, {})


KINDS: dict[str, Callable[[dict[str, Any], list[str]], Record]] = {
    "gpt2": byte_pairs,
    "llama": pieces,
    "bert": word_pieces,
}
