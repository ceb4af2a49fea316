"""A tokenizer.json of a byte-level byte-pair tokenizer: GPT-2, Llama 3, Qwen, SmolLM and most others today."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import regex

from tokenizer.bpe.merge_table import Pair, joined
from tokenizer.formats.checks import SWITCH, expect, expect_kind, is_list, is_text, unsupported
from tokenizer.formats.components import BPE_MODEL, BYTE_LEVEL, Document, write_bpe_model, write_byte_level
from tokenizer.formats.merges import read_merges
from tokenizer.formats.records import BytePairRecord, FormatError, Spelling
from tokenizer.split.pretokenizer import PATTERNS, Pretokenizer
from tokenizer.text.byte_alphabet import spell, unspell, unspell_all
from tokenizer.text.prefix import Prefix
from tokenizer.text.special_tokens import AddedToken

BYTES = {bytes([byte]) for byte in range(256)}
NEVER_IN_UTF8 = {bytes([byte]) for byte in (0xC0, 0xC1, *range(0xF5, 0x100))}


def read(document: Document) -> BytePairRecord:
    model = document.model
    expect(model, BPE_MODEL | {"byte_fallback": (False,)}, "model")
    patterns, prefix = read_pre_tokenizer(document.pre_tokenizer)
    if document.decoder is None:
        raise unsupported("decoder", None, 'which gives no text back: {"type": "ByteLevel"} does')
    expect(document.decoder, {"type": ("ByteLevel",), **BYTE_LEVEL}, "decoder")
    record = make_record(
        document.spelling,
        model["vocab"],
        model.get("merges"),
        document.added,
        pattern=patterns[0] if len(patterns) == 1 else patterns,
        normalizer=document.normalizer,
        prefix=prefix,
        template=document.template,
        ignore_merges=bool(model.get("ignore_merges")),
        trim_offsets=document.trim_offsets,
    )
    if model.get("unk_token") and BYTES - ordinary_tokens(record.tokens, record.added_tokens):
        raise FormatError("asks for model.unk_token, which is not supported where not every byte is a token")
    return record


def make_record(
    spelling: Spelling, vocab: Mapping[str, int], merges: Any, added: Sequence[AddedToken], **settings: Any
) -> BytePairRecord:
    """The record of a vocabulary from a file of any format. FormatError if tokens and merges do not fit together.

    `spelling` has the tokens of `vocab` and the `added` tokens, `merges` are as in the file, and `settings` are the
    other fields of the record.
    """
    refuse_byte_tokens(added, vocab)
    tokens = read_tokens(spelling, added)
    pairs = read_merges(merges, spelling, added)
    check_bytes(pairs, tokens, added)
    return BytePairRecord(tokens, pairs, tuple(added), **settings)


def refuse_byte_tokens(added: Sequence[AddedToken], vocab: Mapping[str, int]) -> None:
    """FormatError for an added token that is the spelling of a byte: ordinary text could be encoded as it."""
    for token in added:
        byte = unspell(token.content) or b""
        if byte in BYTES and (token.special or token.content not in vocab and byte not in NEVER_IN_UTF8):
            raise FormatError(f"has the added token {token.content!r}, which is the spelling of a single byte")


def read_tokens(spelling: Spelling, added: Sequence[AddedToken]) -> list[bytes | None]:
    """The bytes of each token."""
    tokens = unspell_all([text or "" for text in spelling])
    # The bytes of a special token are its name. Any other added token is read like an ordinary token ("ü" of DeepSeek
    # is a single byte), or as its name if that is not possible.
    for token in added:
        if token.special or tokens[token.id] is None:
            tokens[token.id] = token.content.encode()
    if None in tokens:
        text = spelling[tokens.index(None)]
        raise FormatError(f"has the token {text!r}, which is not spelled in the byte-level alphabet")
    if None in spelling:
        tokens = [None if text is None else token for text, token in zip(spelling, tokens)]
    return tokens


def check_bytes(merges: Sequence[Pair], tokens: Sequence[bytes | None], added: Sequence[AddedToken]) -> None:
    """FormatError if merges make bytes that are no token, which may be where the bytes of a token are its name."""
    named = {token.id for token in added if tokens[token.id] != unspell(token.content)}
    if not named:
        return
    ordinary = ordinary_tokens(tokens, added)
    for merged in joined(tokens, (pair for pair in merges if not named.isdisjoint(pair))):
        if merged not in ordinary:
            raise FormatError(f"is damaged: a merge makes {merged!r}, which is no token")


def ordinary_tokens(tokens: Sequence[bytes | None], added: Sequence[AddedToken]) -> set[bytes | None]:
    """The tokens that are not special."""
    specials = {token.id for token in added if token.special}
    return {token for i, token in enumerate(tokens) if i not in specials}


# Pre-tokenizers: patterns that split the text, one after another, and ByteLevel

SPLITS: dict[str, dict[str, Any]] = {
    "Digits": {"individual_digits": SWITCH},
    "Split": {
        "pattern": lambda value: isinstance(value, dict) and is_text(value.get("Regex", value.get("String"))),
        "behavior": ("Isolated", "Removed"),
        "invert": SWITCH,
    },
}


def read_pre_tokenizer(spec: Any) -> tuple[tuple[str, ...], Prefix | None]:
    """The patterns, one after another, and what is put before a text."""
    steps = spec.get("pretokenizers") if isinstance(spec, dict) and spec.get("type") == "Sequence" else [spec]
    if not is_list(steps) or not steps:
        raise unsupported("pre_tokenizer", spec)
    *splits, last = steps
    for split in splits:  # before `last` is checked: the error names the first step that is not supported
        if not isinstance(split, dict) or split.get("type") not in [*SPLITS]:  # a list: the type may be unhashable
            raise unsupported("pre_tokenizer", split, "which is not supported before other steps")
    # After other splits, ByteLevel would put a space before each of their results. That is not supported.
    no_space = {"add_prefix_space": (False,)} if splits else {}
    expect(last, {"type": ("ByteLevel",), **BYTE_LEVEL, **no_space}, "pre_tokenizer")
    patterns = [read_split(split) for split in splits]
    if last.get("use_regex", True):
        patterns.append("gpt2")
    if not patterns:
        raise unsupported("pre_tokenizer", spec, "which does not split the text")
    return tuple(patterns), Prefix() if last.get("add_prefix_space", True) else None


def read_split(split: Any) -> str:
    """The pattern of a step that splits text."""
    if expect_kind(split, SPLITS, "pre_tokenizer") == "Digits":
        return r"\p{N}" if split.get("individual_digits") else r"\p{N}+"
    pattern = split["pattern"]
    try:
        expression = pattern["Regex"] if "Regex" in pattern else f"(?:{regex.escape(pattern['String'])})"
        name = Pretokenizer(expression).pattern
    except ValueError as error:
        raise FormatError(f"asks for a split that is not supported: {error}") from None
    # "Removed" with "invert" keeps only the matches. For the named patterns, whose matches cover every text, it is the
    # same as "Isolated".
    behaviors = [("Isolated", False), ("Removed", True)] if name in PATTERNS else [("Isolated", False)]
    if (split.get("behavior"), split.get("invert", False)) not in behaviors:
        raise unsupported("pre_tokenizer.behavior", split.get("behavior"))
    return name


def write_pre_tokenizer(pattern: str | tuple[str, ...], *, has_prefix: bool) -> dict[str, Any]:
    if pattern == "gpt2":  # the regular expression that is built into ByteLevel
        return write_byte_level(use_regex=True, has_prefix=has_prefix)
    if has_prefix:
        raise ValueError("a tokenizer.json can ask for a space before the text only with the pattern of GPT-2")
    patterns = [pattern] if isinstance(pattern, str) else pattern
    regexes = [{"Regex": PATTERNS.get(name, name)} for name in patterns]
    splits = [{"type": "Split", "pattern": p, "behavior": "Isolated", "invert": False} for p in regexes]
    return {"type": "Sequence", "pretokenizers": [*splits, write_byte_level(use_regex=False, has_prefix=False)]}


# Writing


def write(record: BytePairRecord) -> tuple[Spelling, dict[str, Any]]:
    spelling: Spelling = [None if token is None else spell(token) for token in record.tokens]
    for added in record.added_tokens:
        spelling[added.id] = added.content
    merges = [f"{spelling[left]} {spelling[right]}" for left, right in record.merges or ()]
    return spelling, {
        "pre_tokenizer": write_pre_tokenizer(record.pattern, has_prefix=record.prefix is not None),
        "decoder": write_byte_level(use_regex=True, has_prefix=False),
        "model": write_bpe_model(write_vocab(record, spelling), merges, ignore_merges=record.ignore_merges),
    }


def write_vocab(record: BytePairRecord, spelling: Spelling) -> dict[str, int]:
    """The vocabulary of the model, without the added tokens at its end, unless a token is a byte or made by a merge.

    In the vocabulary they would do harm: with `ignore_merges`, a word that is in it becomes that token, even where the
    caller wants ordinary text only.
    """
    tokens = record.tokens
    merged = {(tokens[left] or b"") + (tokens[right] or b"") for left, right in record.merges or ()}
    added = {token.id for token in record.added_tokens if tokens[token.id] not in merged}
    vocab = {text: i for i, text in enumerate(spelling) if text is not None}
    end = len(tokens)
    while end - 1 in added and unspell(spelling[end - 1] or "") not in BYTES - NEVER_IN_UTF8:
        end -= 1
    # Hugging Face's library gives added tokens the ids after the vocabulary, so the vocabulary must not have a gap.
    inside = {text: i for text, i in vocab.items() if i < end}
    return inside if len(inside) == end else vocab
