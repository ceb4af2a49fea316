"""What a `tokenizer.json` says: the format of Hugging Face's `tokenizers` library, for both kinds of tokenizer.

Only what gives the same ids here and there is read. A file that asks for anything else (a normalizer, say) is refused
by naming it, and so is a damaged one: half a tokenizer would quietly give wrong ids. Every check below raises
`FormatError` with what is wrong, as the predicate of a sentence; files.py puts the file's name in front of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple

from .bpe import Pair, merge_table
from .byte_level import ALPHABET, spell, unspell
from .pretokenize import PATTERNS, Pretokenizer
from .special import UNKNOWN


class FormatError(ValueError):
    """A file that is damaged, foreign, or asks for what is not supported. The message names the file."""


class BytePairContents(NamedTuple):
    """All there is to a byte-pair tokenizer."""

    tokens: list[bytes]
    merges: list[Pair]
    special_tokens: dict[str, int]
    pattern: str


class CharacterContents(NamedTuple):
    """All there is to a character tokenizer."""

    tokens: list[bytes]
    special_tokens: dict[str, int]


Contents = BytePairContents | CharacterContents


def serialize(contents: Contents) -> bytes:
    """The text of the file. ValueError if it would not read back the same."""
    document = byte_pair_document(contents) if isinstance(contents, BytePairContents) else character_document(contents)
    data = json.dumps(document, ensure_ascii=False, indent=1).encode()
    with suppress(FormatError):
        if parse(data) == contents:
            return data
    raise ValueError("this tokenizer cannot be written as a tokenizer.json: two of its tokens are spelled alike")


def parse(data: bytes) -> Contents:
    """What the file says. FormatError if it cannot be understood, all of it."""
    try:
        document = json.loads(data)
    except ValueError as error:
        raise FormatError(f"is damaged or no tokenizer.json: it is not JSON ({error})") from None
    if not isinstance(document, dict) or not isinstance(document.get("model"), dict):
        raise FormatError("is no tokenizer.json: it describes no model")
    expect(document, TOP, "")
    kind = document["model"].get("type")
    if kind == "BPE":
        return parse_byte_pair(document)
    if kind == "WordLevel":
        return parse_character(document)
    raise FormatError(f"asks for a model of type {shorten(kind)}, which is not supported (BPE and WordLevel are)")


# What may stand in each part of the file: its keys, and for each the values that are understood.

ANY = object()
TOP = {
    "version": ("1.0",),
    "truncation": (None,),
    "padding": (None,),
    "normalizer": (None,),
    **dict.fromkeys(["added_tokens", "pre_tokenizer", "post_processor", "decoder", "model"], ANY),
}
ADDED_TOKEN = {
    "id": ANY,
    "content": ANY,
    "special": ANY,  # read below
    "single_word": (False,),
    "lstrip": (False,),
    "rstrip": (False,),
    "normalized": ANY,  # there is no normalizer
}
BYTE_PAIR_MODEL = {
    "type": ("BPE",),
    "vocab": ANY,
    "merges": ANY,
    "dropout": (None,),
    "unk_token": ANY,  # every byte has a token, so that nothing is unknown
    "fuse_unk": ANY,
    "continuing_subword_prefix": (None, ""),
    "end_of_word_suffix": (None, ""),
    "byte_fallback": (False,),
    "ignore_merges": (False,),
}
BYTE_LEVEL = {
    "type": ("ByteLevel",),
    "add_prefix_space": (False, True),
    "trim_offsets": ANY,
    "use_regex": (False, True),
}
BYTE_LEVEL_SPLIT = BYTE_LEVEL | {"add_prefix_space": (False,)}
SPLIT = {"type": ("Split",), "pattern": ANY, "behavior": ("Isolated",), "invert": (False,)}


def expect(part: Any, understood: dict[str, Any], name: str) -> None:
    """Refuse `part` of a file, called `name`, unless each of its keys has a value that is `understood`. A key may be
    missing where Hugging Face's default is an understood one; its type may not."""
    if not isinstance(part, dict):
        raise FormatError(f"asks for {name} = {shorten(part)}, which is not supported")
    for key in ["type", *part] if "type" in understood else part:
        values = understood.get(key, ())
        if values is not ANY and part.get(key) not in values:
            where = f"{name}.{key}" if name else key
            raise FormatError(f"asks for {where} = {shorten(part.get(key))}, which is not supported")


def shorten(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."


# What is the same in both kinds


def assemble(special_tokens: dict[str, int], pre_tokenizer: dict, decoder: dict, model: dict) -> dict:
    flags = dict.fromkeys(["single_word", "lstrip", "rstrip", "normalized"], False)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, "content": name, **flags, "special": True} for name, i in special_tokens.items()],
        "normalizer": None,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": None,
        "decoder": decoder,
        "model": model,
    }


def parse_vocabulary(document: dict) -> tuple[list[str], dict[str, int]]:
    """The spelling of every id, and the special tokens."""
    vocabulary, added = document["model"].get("vocab"), document.get("added_tokens", [])
    if not isinstance(vocabulary, dict) or not isinstance(added, list):
        raise FormatError("is damaged: its vocab is not a table or its added_tokens are not a list")
    id_of = dict(vocabulary)
    special_tokens = {}
    for token in added:
        expect(token, ADDED_TOKEN, "added_tokens")
        name, i = token.get("content"), token.get("id")
        if not is_text(name) or not name or name in special_tokens or id_of.setdefault(name, i) != i:
            raise FormatError(f"is damaged: the added token {shorten(token)} contradicts others or is incomplete")
        if not token.get("special"):
            raise FormatError(f"has the added token {name!r} that is not special, which is not supported")
        special_tokens[name] = i
    spelling = {i: text for text, i in id_of.items() if type(i) is int and is_text(text)}
    if sorted(spelling) != list(range(len(id_of))):
        raise FormatError(f"has {len(id_of)} tokens, whose ids are not 0 to {len(id_of) - 1}, each once")
    return [spelling[i] for i in range(len(spelling))], special_tokens


def is_text(value: Any) -> bool:
    """A string that has a UTF-8 form: JSON can spell surrogates, which have none."""
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)


# Byte-pair


def byte_pair_document(contents: BytePairContents) -> dict:
    tokens, merges, special_tokens, pattern = contents
    name_of = {i: name for name, i in special_tokens.items()}
    spelling = [name_of.get(i) or spell(token) for i, token in enumerate(tokens)]
    by_regex = pattern == "gpt2"  # the regular expression that is built into ByteLevel
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": by_regex}
    expression = {"Regex": PATTERNS.get(pattern, pattern)}
    split = {"type": "Split", "pattern": expression, "behavior": "Isolated", "invert": False}
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": {text: i for i, text in enumerate(spelling)},
        "merges": [f"{spelling[left]} {spelling[right]}" for left, right in merges],
    }
    pre_tokenizer = byte_level if by_regex else {"type": "Sequence", "pretokenizers": [split, byte_level]}
    return assemble(special_tokens, pre_tokenizer, byte_level, model)


def parse_byte_pair(document: dict) -> BytePairContents:
    expect(document["model"], BYTE_PAIR_MODEL, "model")
    expect(document.get("decoder"), BYTE_LEVEL, "decoder")
    parse_post_processor(document.get("post_processor"))
    pattern = parse_pattern(document.get("pre_tokenizer"))
    spelling, special_tokens = parse_vocabulary(document)
    tokens, ordinary = [], set()
    for text in spelling:
        token = text.encode() if text in special_tokens else unspell(text)
        if not token:
            raise FormatError(f"has the token {text!r}, which is not spelled in the byte-level alphabet")
        tokens.append(token)
        if text not in special_tokens:
            ordinary.add(token)
    for byte in ALPHABET:
        if byte not in ordinary:
            raise FormatError(f"has no token for the byte 0x{byte.hex()}, so that not every text could be encoded")
    merges = parse_merges(document["model"].get("merges"), spelling)
    try:
        merge_table(tokens, merges, special_tokens.values())
    except KeyError as error:
        raise FormatError(f"is damaged: a merge makes {error}, which is no ordinary token") from None
    return BytePairContents(tokens, merges, special_tokens, pattern)


def parse_merges(merges: Any, spelling: Iterable[str]) -> list[Pair]:
    """Merges are written "left right" in older files, ["left", "right"] in newer ones."""
    if not isinstance(merges, list):
        raise FormatError("is damaged: its merges are not a list")
    id_of = {text: i for i, text in enumerate(spelling)}
    pairs = []
    for merge in merges:
        parts = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(parts, list) or len(parts) != 2 or not all(isinstance(p, str) and p in id_of for p in parts):
            raise FormatError(f"is damaged: the merge {shorten(merge)} is not a pair of its tokens")
        pairs.append((id_of[parts[0]], id_of[parts[1]]))
    return pairs


def parse_pattern(pre_tokenizer: Any) -> str:
    """The pattern of a ByteLevel pre-tokenizer, with its own regular expression or after a Split by another one."""
    part = pre_tokenizer if isinstance(pre_tokenizer, dict) else {}
    if part.get("type") == "ByteLevel" and part.get("use_regex", True):
        expect(part, BYTE_LEVEL_SPLIT, "pre_tokenizer")
        return "gpt2"
    parts = part.get("pretokenizers")
    if part.get("type") != "Sequence" or not isinstance(parts, list) or len(parts) != 2:
        raise FormatError(f"asks for pre_tokenizer = {shorten(pre_tokenizer)}, which is not supported")
    split, byte_level = parts
    expect(split, SPLIT, "pre_tokenizer")
    expect(byte_level, BYTE_LEVEL_SPLIT | {"use_regex": (False,)}, "pre_tokenizer")
    pattern = split.get("pattern")
    if not isinstance(pattern, dict) or not isinstance(pattern.get("Regex"), str):
        raise FormatError(f"asks for pre_tokenizer.pattern = {shorten(pattern)}, which is not supported")
    try:
        return Pretokenizer(pattern["Regex"]).pattern
    except ValueError as error:
        raise FormatError(f"asks for a split that is not supported: {error}") from None


def parse_post_processor(post_processor: Any) -> None:
    """Accept those that add no tokens: none, ByteLevel (about offsets only), and a template of nothing but the text."""
    template = post_processor.get("single") if isinstance(post_processor, dict) else None
    if isinstance(template, list) and [list(part) for part in template if isinstance(part, dict)] == [["Sequence"]]:
        return
    if post_processor is not None:
        expect(post_processor, BYTE_LEVEL, "post_processor")


# Characters: to Hugging Face's library each character is a word

EACH_CHARACTER = {"type": "Split", "pattern": {"Regex": r"[\s\S]"}, "behavior": "Isolated", "invert": False}
JOINED = {"type": "Fuse"}


def character_document(contents: CharacterContents) -> dict:
    tokens, special_tokens = contents
    vocabulary = {token.decode(): i for i, token in enumerate(tokens)}
    model = {"type": "WordLevel", "vocab": vocabulary, "unk_token": UNKNOWN}
    return assemble(special_tokens, EACH_CHARACTER, JOINED, model)


def parse_character(document: dict) -> CharacterContents:
    expect(document["model"], {"type": ("WordLevel",), "vocab": ANY, "unk_token": (UNKNOWN,)}, "model")
    expect(document, TOP | {"pre_tokenizer": (EACH_CHARACTER,), "decoder": (JOINED,), "post_processor": (None,)}, "")
    spelling, special_tokens = parse_vocabulary(document)
    for text in spelling:
        if len(text) != 1 and text not in special_tokens:
            raise FormatError(f"has the token {text!r}, which is not a single character")
    return CharacterContents([text.encode() for text in spelling], special_tokens)
