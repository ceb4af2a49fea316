"""GGUF, the format of llama.cpp: a table of names and values, then the weights. Only the table is read here.

Among its values are lists of the tokens, of merges or scores, and of the kinds of tokens, which are SentencePiece's
kinds of pieces. Sources: github.com/ggml-org/ggml, docs/gguf.md; llama.cpp for the names of pre-tokenizers.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from mmap import mmap
from typing import Any

from tokenizer.formats import byte_pair, sentencepiece, vocabularies
from tokenizer.formats.checks import spelling_of_ids
from tokenizer.formats.records import BytePairRecord, FormatError, Record, SentencePieceRecord, WordPieceRecord
from tokenizer.formats.sentencepiece import CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED, Piece, Settings
from tokenizer.text.normalize import UnicodeForm
from tokenizer.text.special_tokens import AddedToken
from tokenizer.text.template import Template, begin_template

MAGIC = b"GGUF"
VERSIONS = (2, 3)
# The kinds of values: numbers, with their codes in the module struct, and two others.
NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9

# fmt: off
# tokenizer.ggml.pre -> how text is split into words
PATTERNS: dict[str, str | tuple[str, ...]] = {
    "gpt-2": "gpt2", "llama-bpe": "llama3", "qwen2": "qwen2", "smollm": (r"\p{N}", "gpt2"), "gpt-4o": "o200k",
}
# The names of special tokens in a tokenizer_config.json -> the names of the values that hold their ids
ID_KEYS = {
    "bos_token": "bos_token_id", "eos_token": "eos_token_id", "unk_token": "unknown_token_id",
    "pad_token": "padding_token_id",
}
# fmt: on
NORMALIZERS = {"qwen2": UnicodeForm("NFC")}
# For Llama 3, llama.cpp does two things that the file need not say: it puts a token at the beginning, and a word that
# is a token stays whole.
ADDS_BOS, IGNORES_MERGES = ("llama-bpe",), ("llama-bpe",)


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
        """A number, a text, a tuple of numbers or a list of texts."""
        if kind in NUMBERS:
            return self.number(NUMBERS[kind])
        if kind == STRING:
            return self.text()
        if kind == ARRAY:
            kind, count = self.number("I"), self.number("Q")
            if kind in NUMBERS:
                return self.numbers(NUMBERS[kind], count)
            if kind == STRING:
                return [self.text() for _ in range(count)]
        raise FormatError(f"is damaged: it has a value of the unknown kind {kind}")


def parse(data: bytes | mmap) -> tuple[Record, dict[str, Any]]:
    """The vocabulary, and what a tokenizer_config.json would say."""
    values = read_values(data)
    kind = values.get("model")
    if not isinstance(kind, str) or kind not in MODELS:
        raise FormatError(f"asks for tokenizer.ggml.model = {kind!r}, which is not supported ({', '.join(MODELS)} are)")
    tokens = values.get("tokens")
    if not isinstance(tokens, list):
        raise FormatError("is damaged: its tokens are not a list of texts")
    record = MODELS[kind](values, tokens)
    settings = {name: tokens[i] for name, key in ID_KEYS.items() if (i := id_value(values, key, tokens)) is not None}
    template = values.get("chat_template")
    if template is not None:
        if not isinstance(template, str):
            raise FormatError("is damaged: its chat template is not text")
        settings["chat_template"] = template
    return record, settings


def id_value(values: dict[str, Any], key: str, tokens: list[str]) -> int | None:
    """The value `key`, or None if there is none or it is not the id of a token: some files write -1 for none."""
    i = values.get(key)
    if i is not None and type(i) is not int:
        raise FormatError(f"is damaged: its {key} is not a number")
    return i if i is not None and 0 <= i < len(tokens) else None


def read_template(values: dict[str, Any], tokens: list[str], *, adds_bos: bool) -> Template:
    """The token at the beginning of each text, if there is one. `adds_bos` applies if the file does not say it."""
    begin = id_value(values, "bos_token_id", tokens) if values.get("add_bos_token", adds_bos) else None
    return Template() if begin is None else begin_template(begin)


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


def read_byte_pairs(values: dict[str, Any], tokens: list[str]) -> BytePairRecord:
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
    return byte_pair.make_record(
        spelling_of_ids(id_of),
        id_of,
        values.get("merges"),
        added,
        pattern=PATTERNS[pre],
        normalizer=NORMALIZERS.get(pre),
        template=read_template(values, tokens, adds_bos=pre in ADDS_BOS),
        ignore_merges=pre in IGNORES_MERGES,
    )


def read_sentence_pieces(values: dict[str, Any], tokens: list[str]) -> SentencePieceRecord:
    """The record of a SentencePiece `.model` with the same pieces and settings."""
    scores = numbers_per_token(values, "scores", tokens, 0.0)
    kinds = numbers_per_token(values, "token_type", tokens, NORMAL)
    settings = Settings(
        model_type=sentencepiece.BYTE_PAIR,
        byte_fallback=1,
        prefix_space=values.get("add_space_prefix", True),
        remove_extra_spaces=values.get("remove_extra_whitespaces", False),
    )
    record = sentencepiece.make_record([*map(Piece, tokens, scores, kinds)], settings)
    return record._replace(template=read_template(values, tokens, adds_bos=True))


def read_word_pieces(values: dict[str, Any], tokens: list[str]) -> WordPieceRecord:
    """The record of BERT. Its settings are always the same."""
    return vocabularies.parse_word_pieces(tokens, {})


MODELS: dict[str, Callable[[dict[str, Any], list[str]], Record]] = {
    "gpt2": read_byte_pairs,
    "llama": read_sentence_pieces,
    "bert": read_word_pieces,
}
