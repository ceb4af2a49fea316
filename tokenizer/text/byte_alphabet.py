"""Bytes as printable characters, as a `tokenizer.json` spells the tokens of byte-level tokenizers.

JSON holds text, but a token may be any bytes. GPT-2's answer is to give each of the 256 bytes a visible character. A
byte that is a visible Latin-1 character stands for itself; the others, in order, get the characters from U+0100 on. So
`b" the"` is written `Ġthe`. Source: `bytes_to_unicode` in github.com/openai/gpt-2, src/encoder.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

import numpy as np

VISIBLE = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
HIDDEN = [byte for byte in range(256) if byte not in VISIBLE]

CHARACTER = {byte: chr(byte) for byte in VISIBLE} | {byte: chr(0x100 + i) for i, byte in enumerate(HIDDEN)}
BYTE = {character: byte for byte, character in CHARACTER.items()}
CHARACTER_CODES = [*map(ord, BYTE)]

# The 256 bytes in the order of their characters: b"!" is first. Hugging Face's trainer numbers them in this order.
ALPHABET = [bytes([BYTE[character]]) for character in sorted(BYTE)]


def spell(token: bytes) -> str:
    """The printable spelling of any bytes."""
    return token.decode("latin-1").translate(CHARACTER)


def unspell(spelling: str) -> bytes | None:
    """The bytes that `spelling` stands for; None if one of its characters stands for no byte."""
    try:
        return bytes([BYTE[character] for character in spelling])
    except KeyError:
        return None


def unspell_all(spellings: Sequence[str]) -> list[bytes | None]:
    """`unspell` for all tokens of a vocabulary, with arrays, because there may be hundreds of thousands."""
    codes = np.frombuffer("".join(spellings).encode("utf-32-le", "surrogatepass"), "<u4")
    byte_of = np.full(max(CHARACTER_CODES) + 2, -1, np.int16)  # -1: no byte. The last element is for all higher codes
    byte_of[CHARACTER_CODES] = [*BYTE.values()]
    found = byte_of.take(codes, mode="clip")
    data, ends = found.astype(np.uint8).tobytes(), [*accumulate(map(len, spellings), initial=0)]
    tokens: list[bytes | None] = [data[start:end] for start, end in pairwise(ends)]
    for i in np.searchsorted(ends, np.flatnonzero(found < 0), side="right") - 1:
        tokens[i] = None
    return tokens
