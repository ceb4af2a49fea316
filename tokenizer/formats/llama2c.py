"""The tokenizer of llama2.c, such as tok512.bin: a SentencePiece vocabulary with the settings of Llama 2.

The file holds the length of the longest token, then the score, length and text of each token.
Source: github.com/karpathy/llama2.c, tokenizer.py and run.c.
"""

from __future__ import annotations

import struct

from tokenizer.formats.records import FormatError, SentencePieceRecord
from tokenizer.text.metaspace import ESCAPE_SPACES, SPACE
from tokenizer.text.normalize import Prepend, Sequence
from tokenizer.text.special_tokens import AddedToken
from tokenizer.text.template import begin_template

# The file spells the second and the third of these with line ends around them, so its spelling is not used.
FIRST_TOKENS = ["<unk>", "<s>", "</s>"]
BOS = 1  # the id of <s>
FIRST_BYTE = 3  # the id of <0x00>


def is_llama2c(data: bytes) -> bool:
    """Whether a file begins like one of llama2.c."""
    return len(data) > 17 and data[12:17] == b"<unk>" and data[8:12] == struct.pack("<i", 5)


def parse(data: bytes) -> SentencePieceRecord:
    texts, scores = read_tokens(data)
    pieces = FIRST_TOKENS + [text.replace(" ", SPACE) for text in texts[len(FIRST_TOKENS) :]]
    expected = [f"<0x{byte:02X}>" for byte in range(256)]
    if pieces[FIRST_BYTE : FIRST_BYTE + 256] != expected or len(set(pieces)) < len(pieces):
        raise FormatError("is damaged: its tokens 3 to 258 are not the 256 bytes, or two are the same")
    return SentencePieceRecord(
        pieces=[*pieces],
        merges=None,
        scores=scores,
        added_tokens=tuple(AddedToken(name, i) for i, name in enumerate(FIRST_TOKENS)),
        normalizer=Sequence((Prepend(SPACE), ESCAPE_SPACES)),
        template=begin_template(BOS),
        unknown=0,
    )


def read_tokens(data: bytes) -> tuple[list[str], list[float]]:
    """The texts of the tokens, and their scores."""
    texts: list[str] = []
    scores: list[float] = []
    at = 4  # after the length of the longest token, which is not needed
    while at < len(data):
        try:
            score, size = struct.unpack_from("<fi", data, at)
            text = data[at + 8 : at + 8 + size].decode()
        except (struct.error, UnicodeDecodeError):
            raise FormatError(f"is damaged: its token {len(texts)} cannot be read") from None
        at += 8 + size
        if size < 0 or at > len(data):
            raise FormatError(f"is damaged: it ends within its token {len(texts)}")
        texts.append(text)
        scores.append(score)
    return texts, scores
