"""A tokenizer.json of a byte-level byte-pair tokenizer: GPT-2, Llama 3, Qwen, SmolLM and most others today."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import regex

from tokenizer.bpe.merge_table import Pair
from tokenizer.formats.checks import ANY, expect, ordinary_pairs, pairs_of, shorten
from tokenizer.formats.components import (
    BYTE_LEVEL,
    byte_pair_model,
    read_normalizer,
    read_post_processor,
    write_post_processor,
)
from tokenizer.formats.records import BytePairRecord, FormatError
from tokenizer.split.pretokenizer import PATTERNS, Pretokenizer
from tokenizer.text.byte_alphabet import spell, unspell
from tokenizer.text.prefix import Prefix
from tokenizer.text.special_tokens import AddedToken

MODEL = {
    "type": ("BPE", None),
    "vocab": ANY,
    "merges": ANY,
    "dropout": (None, 0),
    "unk_token": ANY,  # has no effect if every byte is a token
    "fuse_unk": ANY,
    "continuing_subword_prefix": (None, ""),
    "end_of_word_suffix": (None, ""),
    "byte_fallback": (False,),
    "ignore_merges": (False, True),
}
SPLIT = {"type": ("Split",), "pattern": ANY, "behavior": ("Isolated", "Removed"), "invert": (False, True)}
BYTES = {bytes([byte]) for byte in range(256)}
NOT_IN_UTF8 = {bytes([byte]) for byte in (0xC0, 0xC1, *range(0xF5, 0x100))}  # bytes that never occur in UTF-8
DIGITS = {"type": ("Digits",), "individual_digits": (False, True)}


def read(document: dict, spelling: list[str | None], added: Sequence[AddedToken]) -> BytePairRecord:
    model = document["model"]
    expect(model, MODEL, "model")
    expect(document.get("decoder"), BYTE_LEVEL, "decoder")
    patterns, prefix = read_pre_tokenizer(document.get("pre_tokenizer"))
    template, trim_offsets = read_post_processor(document.get("post_processor"))
    refuse_bytes(added, model["vocab"])
    tokens = read_tokens(spelling, added)
    specials = {token.id for token in added if token.special}
    ordinary = {token for i, token in enumerate(tokens) if i not in specials}
    if model.get("unk_token") and BYTES - ordinary:
        raise FormatError("asks for model.unk_token, which is not supported where not every byte is a token")
    pairs = pairs_of(model.get("merges"), {text: i for i, text in enumerate(spelling) if text is not None})
    return BytePairRecord(
        tokens,
        checked(ordinary_pairs(pairs, spelling, added), tokens, ordinary),
        tuple(added),
        patterns[0] if len(patterns) == 1 else patterns,
        read_normalizer(document.get("normalizer")),
        prefix,
        template,
        bool(model.get("ignore_merges")),
        trim_offsets,
    )


def refuse_bytes(added: Sequence[AddedToken], vocab: dict[str, int]) -> None:
    """FormatError for an added token that is the spelling of a byte: ordinary text could be encoded as it."""
    for token in added:
        byte = unspell(token.content) or b""
        if byte in BYTES and (token.special or token.content not in vocab and byte not in NOT_IN_UTF8):
            raise FormatError(f"has the added token {token.content!r}, which is the spelling of a single byte")


def read_tokens(spelling: Iterable[str | None], added: Iterable[AddedToken]) -> list[bytes | None]:
    """The bytes of each token."""
    is_special = {token.content: token.special for token in added}
    return [
        None if text is None else name_bytes(text, special=is_special[text]) if text in is_special else bytes_of(text)
        for text in spelling
    ]


def checked(merges: list[Pair], tokens: Sequence[bytes | None], ordinary: Collection[bytes | None]) -> list[Pair]:
    """`merges`. FormatError if one of them does not make an `ordinary` token."""
    for left, right in merges:
        made = (tokens[left] or b"") + (tokens[right] or b"")
        if made not in ordinary:
            raise FormatError(f"is damaged: a merge makes {made!r}, which is no token")
    return merges


def name_bytes(text: str, *, special: bool) -> bytes:
    """What is decoded for an added token. Hugging Face's decoder reads it as spelled bytes if it can. Here that is done
    only for tokens that are not special, which may really stand for bytes ("ü" of DeepSeek)."""
    return (None if special else unspell(text)) or text.encode()


def bytes_of(text: str) -> bytes:
    token = unspell(text)
    if not token:
        raise FormatError(f"has the token {text!r}, which is not spelled in the byte-level alphabet")
    return token


def read_pre_tokenizer(spec: Any) -> tuple[tuple[str, ...], Prefix | None]:
    """The patterns, one after another, and what is put before a text."""
    steps = spec.get("pretokenizers") if isinstance(spec, dict) and spec.get("type") == "Sequence" else [spec]
    if not isinstance(steps, list) or not steps or not all(isinstance(step, dict) for step in steps):
        raise FormatError(f"asks for pre_tokenizer = {shorten(spec)}, which is not supported")
    *splits, last = steps
    expect(last, BYTE_LEVEL | ({"add_prefix_space": (False,)} if splits else {}), "pre_tokenizer")
    patterns = [read_split(split) for split in splits]
    if last.get("use_regex", True):
        patterns.append("gpt2")
    if not patterns:
        raise FormatError(f"asks for pre_tokenizer = {shorten(spec)}, which does not split the text")
    return tuple(patterns), Prefix() if last.get("add_prefix_space", True) else None


def read_split(split: dict) -> str:
    """The pattern of a step that splits text."""
    if split.get("type") == "Digits":
        expect(split, DIGITS, "pre_tokenizer")
        return r"\p{N}" if split.get("individual_digits") else r"\p{N}+"
    expect(split, SPLIT, "pre_tokenizer")
    pattern = split.get("pattern")
    if not isinstance(pattern, dict) or not isinstance(pattern.get("Regex", pattern.get("String")), str):
        raise FormatError(f"asks for pre_tokenizer.pattern = {shorten(pattern)}, which is not supported")
    try:
        expression = pattern["Regex"] if "Regex" in pattern else f"(?:{regex.escape(pattern['String'])})"
        name = Pretokenizer(expression).pattern
    except ValueError as error:
        raise FormatError(f"asks for a split that is not supported: {error}") from None
    # "Removed" with "invert" keeps only the matches: the same for the named patterns, which match all of a text.
    behaviors = [("Isolated", False), ("Removed", True)] if name in PATTERNS else [("Isolated", False)]
    if (split.get("behavior"), split.get("invert", False)) not in behaviors:
        raise FormatError(f"asks for pre_tokenizer.behavior = {shorten(split.get('behavior'))}, which is not supported")
    return name


def write(record: BytePairRecord) -> dict[str, Any]:
    name_of = {token.id: token.content for token in record.added_tokens}
    spelling = [
        None if token is None else name_of[i] if i in name_of else spell(token) for i, token in enumerate(record.tokens)
    ]
    merges = [f"{spelling[left]} {spelling[right]}" for left, right in record.merges or ()]
    vocab, has_prefix = write_vocab(record, spelling), record.prefix is not None
    return {
        "normalizer": record.normalizer.spec() if record.normalizer else None,
        "post_processor": write_post_processor(record.template, record.trim_offsets, lambda i: spelling[i] or ""),
        **bare_document(vocab, merges, record.pattern, has_prefix=has_prefix, ignore_merges=record.ignore_merges),
    }


def write_vocab(record: BytePairRecord, spelling: list[str | None]) -> dict[str, int]:
    """The vocab: all tokens but the added ones at the end, which get the ids after the others anyway.

    They are left out because with `ignore_merges` a word that is in the vocab would be that token.
    """
    tokens = record.tokens
    made = {(tokens[left] or b"") + (tokens[right] or b"") for left, right in record.merges or ()}
    added = {token.id for token in record.added_tokens if tokens[token.id] not in made}
    vocab = {text: i for i, text in enumerate(spelling) if text is not None}
    end = len(tokens)
    while end - 1 in added and unspell(spelling[end - 1] or "") not in BYTES - NOT_IN_UTF8:
        end -= 1
    inside = {text: i for text, i in vocab.items() if i < end}
    return inside if len(inside) == end else vocab


def bare_document(
    vocab: dict[str, int],
    merges: Any,
    pattern: str | tuple[str, ...],
    *,
    has_prefix: bool = False,
    ignore_merges: bool = False,
) -> dict[str, Any]:
    """The parts of a tokenizer.json that every vocabulary has, even one from a file of another format."""
    return {
        "pre_tokenizer": write_pre_tokenizer(pattern, has_prefix=has_prefix),
        "decoder": byte_level(use_regex=True, has_prefix=False),
        "model": byte_pair_model(vocab, merges, ignore_merges=ignore_merges),
    }


def byte_level(*, use_regex: bool, has_prefix: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": has_prefix, "trim_offsets": True, "use_regex": use_regex}


def write_pre_tokenizer(pattern: str | tuple[str, ...], *, has_prefix: bool) -> dict[str, Any]:
    if pattern == "gpt2":  # the regular expression that is built into ByteLevel
        return byte_level(use_regex=True, has_prefix=has_prefix)
    if has_prefix:
        raise ValueError("a tokenizer.json can ask for a space before the text only with the pattern of GPT-2")
    splits = [
        {"type": "Split", "pattern": {"Regex": PATTERNS.get(step, step)}, "behavior": "Isolated", "invert": False}
        for step in ([pattern] if isinstance(pattern, str) else pattern)
    ]
    return {"type": "Sequence", "pretokenizers": [*splits, byte_level(use_regex=False, has_prefix=False)]}
