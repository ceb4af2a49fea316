"""SentencePiece's `.model`: a protocol buffer, read here by hand. Of the messages of
github.com/google/sentencepiece, src/sentencepiece_model.proto, these fields matter:

    ModelProto       1 pieces (each: 1 text, 2 score, 3 type), 2 trainer, 3 normalizer
    TrainerSpec      3 model type, 24 white space as suffix, 35 byte fallback, 40-43 ids of unk, bos, eos, pad
    NormalizerSpec   2 table of replacements, 3 space before the text, 4 extra spaces removed, 5 spaces as U+2581
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from ..character_bpe import SPACE
from ..contents import FormatError, SentencePieceContents
from ..normalize import CollapseSpaces, Normalizer, Prepend, Replace, Sequence
from ..postprocess import Template
from ..special import AddedToken

BYTE_PAIR = 2  # of the model types 1 unigram, 2 BPE, 3 word, 4 character
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)


def fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """The fields of a message: (number, value), an integer, four or eight bytes, or a string of bytes."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        kind = key & 7
        value: Any
        if kind == 0:
            value, at = varint(data, at)
        elif kind in (1, 2, 5):
            size, at = varint(data, at) if kind == 2 else (8 if kind == 1 else 4, at)
            value, at = data[at : at + size], at + size
            if at > len(data):
                raise FormatError("is damaged: it ends within a field")
        else:
            raise FormatError("is damaged or no SentencePiece model")
        yield key >> 3, value


def varint(data: bytes, at: int) -> tuple[int, int]:
    """An integer in groups of seven bits, the lowest first, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        value |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            return value, at
    raise FormatError("is damaged: it ends within a number")


def message(value: Any) -> dict[int, Any]:
    if not isinstance(value, bytes):
        raise FormatError("is damaged: a part of it is no message")
    return dict(fields(value))


def parse(data: bytes) -> SentencePieceContents:
    pieces, scores, kinds = [], [], []
    trainer: dict[int, Any] = {}
    normalizer: dict[int, Any] = {}
    for number, value in fields(data):
        if number == 1:
            piece = message(value)
            try:
                pieces.append(piece[1].decode())
                scores.append(struct.unpack("<f", piece.get(2, bytes(4)))[0])
            except (KeyError, AttributeError, UnicodeDecodeError, struct.error, TypeError):
                raise FormatError(f"is damaged: its piece {len(pieces)} has no text or score") from None
            kinds.append(piece.get(3, NORMAL))
        elif number == 2:
            trainer = message(value)
        elif number == 3:
            normalizer = message(value)
    check(trainer, normalizer, len(pieces))
    if len(set(pieces)) < len(pieces):
        raise FormatError("is damaged: two of its pieces are the same")
    undivided = tuple(i for i, kind in enumerate(kinds) if kind == USER_DEFINED)
    kept = [None if kind == UNUSED else piece for piece, kind in zip(pieces, kinds)]
    begin = signed(trainer.get(41, 1))
    template = Template()
    if 0 <= begin < len(pieces):
        template = Template(((begin,), "A"), ((begin,), "A", (begin,), "B"), (0, 0), (0, 0, 1, 1))
    return SentencePieceContents(
        kept,
        None,
        scores,
        tuple(AddedToken(piece, i) for i, piece in enumerate(pieces) if kinds[i] in (UNKNOWN, CONTROL)),
        normalizer_of(normalizer),
        None,
        template,
        next((i for i, kind in enumerate(kinds) if kind == UNKNOWN), None),
        bool(trainer.get(35, 0)),
        undivided,
        bool(normalizer.get(3, 1) or normalizer.get(4, 1)),
    )


def signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def check(trainer: dict[int, Any], normalizer: dict[int, Any], size: int) -> None:
    if not size:
        raise FormatError("is damaged or no SentencePiece model: it has no pieces")
    if trainer.get(3, 1) != BYTE_PAIR:
        kind = {1: "unigram", 3: "word", 4: "character"}.get(trainer.get(3, 1), "unknown")
        raise FormatError(f"asks for a model of type {kind}, which is not supported (byte pairs are)")
    if trainer.get(24, 0):
        raise FormatError("asks for white space as a suffix, which is not supported")
    if normalizer.get(2):
        name = normalizer.get(1, b"")
        raise FormatError(
            f"asks for the normalizer {name.decode(errors='replace')!r}, which is not supported (identity is)"
        )
    if not normalizer.get(5, 1):
        raise FormatError("asks for spaces that are not escaped, which is not supported")


def normalizer_of(spec: dict[int, Any]) -> Normalizer:
    steps: list[Normalizer] = [CollapseSpaces()] if spec.get(4, 1) else []
    steps += [Prepend(SPACE)] if spec.get(3, 1) else []
    return Sequence((*steps, Replace(" ", SPACE)))
