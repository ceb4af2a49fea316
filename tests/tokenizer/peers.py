"""Real vocabularies, the libraries that they were made for, and texts on which those might disagree with us."""

from __future__ import annotations

import base64
import importlib
import unicodedata
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import settings
from hypothesis import strategies as st

import tokenizer
from tokenizer import BaseTokenizer

LONG = settings().max_examples >= 500

# Characters on the borders of what patterns and normalizers tell apart, and what only looks like a special token.
# What is assigned in Python's Unicode is so in all the libraries' too; others are a matter of their versions.
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


def cases(default: int) -> settings:
    """How many texts to compare: 100,000 with the long profile."""
    return settings(max_examples=100_000 if LONG else default)


def file_in(shared_data: Path, name: str) -> Path:
    """A file or folder of real vocabularies; where there is none, the test is skipped."""
    path = shared_data / "tokenizers" / name
    if not path.exists():
        pytest.skip(f"needs tokenizers/{name} in the folder of real data")
    return path


@cache
def load(path: Path, **options: Any) -> BaseTokenizer:
    return tokenizer.load(path, **options)


@cache
def hugging_face(path: Path, as_text: bool = False) -> Any:
    """The same file in `tokenizers`; `as_text`: special tokens in a text are ordinary text."""
    peer = pytest.importorskip("tokenizers").Tokenizer.from_file(str(path))
    peer.encode_special_tokens = as_text
    return peer


@cache
def tiktoken(path: Path) -> Any:
    """tiktoken's own encoding of that name, its vocabulary read from this disk instead of the network."""
    library = pytest.importorskip("tiktoken")
    definitions = importlib.import_module("tiktoken_ext.openai_public")
    ranks = {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, path.read_bytes().splitlines())}
    with patch.object(definitions, "load_tiktoken_bpe", lambda *_, **__: ranks):
        return library.Encoding(**getattr(definitions, path.stem)())


def check_plain(own: BaseTokenizer, text: str, theirs: list[int]) -> None:
    """As ordinary text: no special tokens (but the unknown one), and the ids of `tokenizers`, unless its model makes
    special tokens of plain text, as ours never does.
    """
    ids, specials = own.encode_ordinary(text), {*own.special_tokens.values()} - {own.unknown}
    assert specials.isdisjoint(ids)
    assert ids == theirs or not specials.isdisjoint(theirs)
