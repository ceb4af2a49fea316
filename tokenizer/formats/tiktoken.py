"""OpenAI's format: one line for each ordinary token, with its bytes in base64 and its rank, which is its id.

The file contains neither the pattern nor the special tokens. For OpenAI's own encodings, both follow from its name.
Source: github.com/openai/tiktoken, tiktoken/load.py and tiktoken_ext/openai_public.py.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping

from tokenizer.bpe.merge_table import merges_of_ranks
from tokenizer.formats.checks import MAX_UNUSED_IDS, is_id
from tokenizer.formats.records import BytePairRecord, FormatError, PatternKnown, SpecialTokens
from tokenizer.split.pretokenizer import PATTERNS
from tokenizer.text.special_tokens import END_OF_TEXT, AddedToken, check_names

FILL_IN = ["<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>"]
END_OF_PROMPT = "<|endofprompt|>"
EMPTY = b"="  # Whisper's file spells a token without bytes like this. No text becomes this token

# fmt: off
# name of the file -> pattern and special tokens
ENCODINGS: dict[str, tuple[str, dict[str, int]]] = {
    "gpt2":        ("gpt2", {END_OF_TEXT: 50256}),
    "r50k_base":   ("gpt2", {END_OF_TEXT: 50256}),
    "p50k_base":   ("gpt2", {END_OF_TEXT: 50256}),
    "p50k_edit":   ("gpt2", {END_OF_TEXT: 50256, **dict(zip(FILL_IN, range(50281, 50284)))}),
    "cl100k_base": ("gpt4", {END_OF_TEXT: 100257, **dict(zip(FILL_IN, range(100258, 100261))), END_OF_PROMPT: 100276}),
    "o200k_base":  ("o200k", {END_OF_TEXT: 199999, END_OF_PROMPT: 200018}),
}
# fmt: on


def parse(data: bytes, name: str, pattern: str | None, special_tokens: SpecialTokens) -> BytePairRecord:
    """`name` is that of the file, without its suffix. Special tokens without ids get those after the last rank."""
    rank_of = parse_ranks(data)
    known_pattern, known_specials = ENCODINGS.get(name, (None, {}))
    if known_pattern and pattern not in (None, known_pattern, PATTERNS[known_pattern]):
        raise PatternKnown(
            f"has the name of an encoding with the pattern {known_pattern}: rename it to use another one"
        )
    pattern = pattern or known_pattern
    if pattern is None:
        known = ", ".join(ENCODINGS)
        raise FormatError(f"does not say how text is split: give pattern=, or name the file after one of {known}")
    size = max(rank_of.values()) + 1
    id_of = special_ids(known_specials if special_tokens is None else special_tokens, size, {*rank_of.values()})
    tokens: list[bytes | None] = [None] * max([size, *(i + 1 for i in id_of.values())])
    for token, i in rank_of.items():
        tokens[i] = token
    for special, i in id_of.items():
        tokens[i] = special.encode()
    added = tuple(sorted((AddedToken(special, i) for special, i in id_of.items()), key=lambda token: token.id))
    return BytePairRecord(tokens, None, added, pattern, ignore_merges=True)


def special_ids(special_tokens: Mapping[str, int] | Iterable[str], size: int, used: set[int]) -> dict[str, int]:
    """The ids of the special tokens: those given, or those from `size` on. FormatError if an id is wrong or `used`."""
    if not isinstance(special_tokens, Mapping):
        special_tokens = {special: size + i for i, special in enumerate(check_names(special_tokens))}
    for special, i in special_tokens.items():
        if not is_id(i) or i > size + MAX_UNUSED_IDS:
            limit = size + MAX_UNUSED_IDS
            raise FormatError(
                f"cannot give the special token {special!r} the id {i!r}: give a number from 0 to {limit}"
            )
        if i in used:
            raise FormatError(f"has a token with the id {i}, which is asked for the special token {special!r}")
        used.add(i)
    return dict(special_tokens)


def parse_ranks(data: bytes) -> dict[bytes, int]:
    """token -> rank. FormatError if the file is damaged."""
    rank_of: dict[bytes, int] = {}
    for number, line in enumerate(data.splitlines(), 1):
        if line:
            try:
                token, rank = line.split()
                rank_of[b"" if token == EMPTY else binascii.a2b_base64(token, strict_mode=True)] = int(rank)
            except ValueError:  # also binascii.Error, which is one
                raise FormatError(f"is damaged: line {number} is not a token in base64 and its rank") from None
    ranks = {*rank_of.values()}
    if len(ranks) < len(rank_of):
        raise FormatError("is damaged: two of its tokens have the same rank")
    if min(ranks, default=0) < 0 or max(ranks, default=0) > len(rank_of) + MAX_UNUSED_IDS:
        raise FormatError("is damaged: a token has an impossible rank")
    for byte in range(256):
        if bytes([byte]) not in rank_of:
            raise FormatError(f"is damaged or incomplete: it has no token for the byte 0x{byte:02x}")
    return rank_of


def serialize(record: BytePairRecord) -> bytes:
    """The content of the file. ValueError if tiktoken would give other ids for it."""
    specials = {token.id for token in record.added_tokens}
    tokens = record.tokens
    id_of = {token: i for i, token in enumerate(tokens) if token is not None and i not in specials}
    problem = "this tokenizer cannot be written in tiktoken's format: "
    if not all(bytes([byte]) in id_of for byte in range(256)):
        raise ValueError(problem + "not every byte is a token")
    if record.normalizer or record.prefix or not all(token.special for token in record.added_tokens):
        raise ValueError(problem + "the format has no place for a normalizer, a prefix or tokens that are not special")
    if record.merges != merges_of_ranks(id_of):
        raise ValueError(problem + "its merges are not in the order of its ids")
    return b"".join((base64.b64encode(token) or EMPTY) + b" %d\n" % i for token, i in id_of.items())
