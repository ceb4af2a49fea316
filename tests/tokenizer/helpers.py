"""Helpers of the tokenizer's tests: real vocabularies and the libraries they were made for, awkward texts, and small
tokenizers of every kind with the files to make them from."""

from __future__ import annotations

import base64
import importlib
import json
import struct
import unicodedata
from collections.abc import Callable, Iterable
from functools import cache, reduce
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import example, settings
from hypothesis import strategies as st

import tokenizer
from tokenizer import AddedToken, BaseTokenizer, CharTokenizer, Tokenizer
from tokenizer.formats import llama2c, sentencepiece, tokenizer_json, vocabularies
from tokenizer.formats.records import BytePairRecord

LONG = settings().max_examples >= 500

# Characters on the borders of what patterns and normalizers distinguish, and texts that only look like special tokens.
# Characters that Python's Unicode assigns are assigned in all libraries; others depend on their versions.
BORDERS = [
    *"aZé日1٣ '\n\r\t\u00a0\u2028\x0b\x1c\x1f\x85ſs😀!_/-ǅʰªⅣ²ॐाΣİßÅ\u212b한\u1112\u1161\u11ab\u0301\u0327\u0328\u0344"
]
BORDERS += [*"\u0958\u2126\ufb01\u200d\u200b\ufeff\x00\x04\ufffd\ue000\u2581\u1ab0\u0300\u0323\U0001e944\u2e43"]
BORDERS += [
    "'s",
    "'T",
    "'lL",
    "'ve",
    "  ",
    " \n",
    " the",
    "Hello",
    "<|endoftext|>",
    "<s>",
    "</s>",
    "<tool_call>",
    "[MASK]",
]
BORDERS += ["<|im_end|>", "<unk>", "<0x41>", "##a", "<|eot_id|>", "n't", " .", " do not"]
ASSIGNED = st.characters(exclude_categories=["Cs", "Cn"]).filter(lambda c: unicodedata.category(c) not in ("Cn", "Cs"))
awkward = st.lists(st.sampled_from(BORDERS) | ASSIGNED, max_size=14).map("".join)


def cases(times: int) -> settings:
    """The number of texts to compare: so many times the usual number, and 100,000 with the long profile."""
    return settings(max_examples=100_000 if LONG else times * settings().max_examples)


def examples_of(texts: Iterable[str]) -> Callable[[Callable], Callable]:
    """Texts that a property of hypothesis always tries, before those that it draws."""
    return lambda test: reduce(lambda function, text: example(text)(function), texts, test)


def file_in(shared_data: Path, name: str) -> Path:
    """A file or folder of real vocabularies. The test is skipped if it does not exist."""
    path = shared_data / "tokenizers" / name
    if not path.exists():
        pytest.skip(f"needs tokenizers/{name} in the folder of real data")
    return path


@cache
def load(path: Path, **options: Any) -> BaseTokenizer:
    return tokenizer.load(path, **options)


@cache
def hugging_face(path: Path, *, as_text: bool = False) -> Any:
    """The same file in `tokenizers`. `as_text`: special tokens in a text are ordinary text."""
    peer = pytest.importorskip("tokenizers").Tokenizer.from_file(str(path))
    peer.encode_special_tokens = as_text
    return peer


@cache
def tiktoken(path: Path) -> Any:
    """tiktoken's own encoding of that name, its vocabulary read from this file instead of the network."""
    library = pytest.importorskip("tiktoken")
    definitions = importlib.import_module("tiktoken_ext.openai_public")
    ranks = {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, path.read_bytes().splitlines())}
    with patch.object(definitions, "load_tiktoken_bpe", lambda *_, **__: ranks):
        return library.Encoding(**getattr(definitions, path.stem)())


def check_plain(own: BaseTokenizer, text: str, theirs: list[int]) -> None:
    """Ordinary text gives no special tokens (except the unknown one) and the ids of `tokenizers`. These may differ only
    where the model of `tokenizers` makes special tokens from plain text."""
    ids, specials = own.encode_ordinary(text), {*own.special_tokens.values()} - {own.unknown}
    assert specials.isdisjoint(ids)
    assert ids == theirs or not specials.isdisjoint(theirs)


# Small tokenizers of every kind, and the files to make them from

TEXT = "the cat sat on the mat; 'twas naïve — 日本語 日本 😀😀 and 1234 more cats.\n\n  the end\n" * 3
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
WORDS = [*"▁theacs", "▁t", "he", "▁the", "at", "▁cat", "cat", "ca", "▁▁", "▁▁▁▁", "日", "aa", "aaa"]
BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "##s", "sa", "##t"]
BERT += [",", ".", "don", "'", "t", "日", "a"]
Piece = tuple[str, float, int]
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)


def pieces(words: Iterable[str] = WORDS, *, bytes_too: bool = True) -> list[Piece]:
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
    prefixes = {"chat_template": "tokenizer."}  # the one name with another beginning
    rows: dict[str, Any] = {"general.architecture": "llama"}
    rows |= {f"{prefixes.get(name, 'tokenizer.ggml.')}{name}": value for name, value in values.items()}
    body = b"".join(gguf_text(name) + gguf_value(value) for name, value in rows.items())
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(rows)) + body + bytes(64)


def gguf_text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def gguf_value(value: Any) -> bytes:
    """Its kind and the value; of a list, the parts are alike."""
    if isinstance(value, list):
        parts = [gguf_value(part) for part in value]
        head = struct.pack("<I", 9) + parts[0][:4] + struct.pack("<Q", len(parts))
        return head + b"".join(part[4:] for part in parts)
    if isinstance(value, str):
        return struct.pack("<I", 8) + gguf_text(value)
    code = {bool: "<I?", float: "<If", int: "<Ii"}[type(value)]
    return struct.pack(code, {bool: 7, float: 6, int: 5}[type(value)], value)


def byte_pairs(
    tokens: list[bytes | None],
    merges: list | None,
    added: Iterable[AddedToken] = (),
    pattern: str = "gpt4",
    **more: Any,
) -> Tokenizer:
    return Tokenizer(BytePairRecord(tokens, merges, tuple(added), pattern, **more))


def spellings(tokenizer: BaseTokenizer, text: str, **options: Any) -> list[str | None]:
    """The tokens of `text` as a tokenizer.json spells them."""
    return [tokenizer.id_to_token(i) for i in tokenizer.encode(text, **options)]


def spelled_vocabulary(tokenizer: BaseTokenizer) -> dict[str | None, int]:
    ids = (i for i, token in enumerate(tokenizer.tokens) if token is not None)
    return {tokenizer.id_to_token(i): i for i in ids}


def every_kind() -> dict[str, BaseTokenizer]:
    by_scores = BaseTokenizer.of(sentencepiece.parse(model_file(pieces())))
    document = json.loads(tokenizer_json.serialize(by_scores.record))
    return {
        "byte pairs": Tokenizer.train([TEXT], 300, ["<|endoftext|>"]),
        "characters": CharTokenizer.train([TEXT, "\ufffd"], ["<|endoftext|>", "<|unknown|>"]),
        "SentencePiece": by_scores,
        "SentencePiece in JSON": BaseTokenizer.of(tokenizer_json.parse(document)),
        "llama2.c": BaseTokenizer.of(llama2c.parse(llama2c_file(pieces()))),
        "WordPiece": BaseTokenizer.of(vocabularies.parse_word_pieces(BERT, {})),
    }
