"""How SentencePiece spells spaces and bytes: a space is U+2581 (▁), a byte is a piece such as `<0xE2>`."""

from __future__ import annotations

import regex

from tokenizer.text.aligned_text import AlignedText
from tokenizer.text.normalize import Replace
from tokenizer.text.prefix import Prefix

SPACE = "\u2581"
ESCAPE_SPACES = Replace(" ", SPACE)
BYTE_PIECES = {f"<0x{byte:02X}>": byte for byte in range(256)}
REPLACEMENT = "\ufffd"
ESCAPED_BYTE = regex.compile("[\udc80-\udcff]")  # what "surrogateescape" makes of a byte


class Metaspace(Prefix):
    """Escapes spaces, then puts `text` (an escaped space, or "" for nothing) before a segment.

    A normalizer could do the same, but it comes earlier: added tokens that are looked for in the normalized text are
    found before the spaces are escaped here.
    """

    def __call__(self, segment: str, *, is_first: bool) -> str:
        return super().__call__(ESCAPE_SPACES(segment), is_first=is_first)

    def align(self, segment: AlignedText, *, is_first: bool) -> AlignedText:
        return super().align(ESCAPE_SPACES.align(segment), is_first=is_first)


def byte_of(piece: str) -> int | None:
    """The byte that a piece such as `<0xE2>` stands for; None for other pieces."""
    return BYTE_PIECES.get(piece)


def piece_bytes(piece: str) -> bytes:
    """The bytes that any other piece stands for."""
    return piece.replace(SPACE, " ").encode()


def replace_invalid_bytes(run: bytes) -> bytes:
    """What SentencePiece shows for a run of byte tokens: U+FFFD for each byte that is not part of a character."""
    return ESCAPED_BYTE.sub(REPLACEMENT, run.decode("utf-8", "surrogateescape")).encode()


def replace_invalid_runs(run: bytes) -> bytes:
    """What Hugging Face's ByteFallback shows for it: if anything is not UTF-8, U+FFFD for every byte of the run."""
    return run if is_utf8(run) else REPLACEMENT.encode() * len(run)


def is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
