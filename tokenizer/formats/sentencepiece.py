"""SentencePiece's `.model`, a protocol buffer. These are the fields that matter, from the messages in
github.com/google/sentencepiece, src/sentencepiece_model.proto:

    ModelProto       1 pieces (each: 1 text, 2 score, 3 type), 2 trainer, 3 normalizer
    TrainerSpec      3 model type, 24 white space as suffix, 35 byte fallback, 40-43 ids of unk, bos, eos, pad
    NormalizerSpec   2 table of replacements, 3 space before the text, 4 extra spaces removed, 5 spaces as U+2581
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from tokenizer.formats.records import FormatError, SentencePieceRecord
from tokenizer.text.metaspace import SPACE
from tokenizer.text.normalize import CollapseSpaces, Normalizer, Prepend, Replace, Sequence
from tokenizer.text.special_tokens import AddedToken
from tokenizer.text.template import Template

BYTE_PAIR = 2  # of the model types 1 unigram, 2 BPE, 3 word, 4 character
PIECE, TRAINER, NORMALIZER = 1, 2, 3  # the fields of a ModelProto
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)  # the types of pieces


class Piece(NamedTuple):
    """A piece of the vocabulary. Its index is its id."""

    text: str
    score: float
    kind: int


def fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """The fields of a message: (number, value). A value is an integer, four or eight bytes, or a string of bytes."""
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
            raise FormatError("is damaged or not a SentencePiece model")
        yield key >> 3, value


def varint(data: bytes, at: int) -> tuple[int, int]:
    """An integer in groups of seven bits, the lowest group first, and where it ends."""
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
        raise FormatError("is damaged: a part of it is not a message")
    return dict(fields(value))


def parse(data: bytes) -> SentencePieceRecord:
    pieces: list[Piece] = []
    settings: dict[int, dict[int, Any]] = {TRAINER: {}, NORMALIZER: {}}
    for number, value in fields(data):
        if number == PIECE:
            pieces.append(read_piece(message(value), len(pieces)))
        elif number in settings:
            settings[number] = message(value)
    check(pieces, settings[TRAINER], settings[NORMALIZER])
    return contents_of(pieces, settings[TRAINER], settings[NORMALIZER])


def read_piece(spec: dict[int, Any], i: int) -> Piece:
    try:
        return Piece(spec[1].decode(), struct.unpack("<f", spec.get(2, bytes(4)))[0], spec.get(3, NORMAL))
    except (KeyError, AttributeError, UnicodeDecodeError, struct.error, TypeError):
        raise FormatError(f"is damaged: its piece {i} has no text or score") from None


def contents_of(pieces: list[Piece], trainer: dict[int, Any], normalizer: dict[int, Any]) -> SentencePieceRecord:
    begin = signed(trainer.get(41, 1))
    return SentencePieceRecord(
        pieces=[None if piece.kind == UNUSED else piece.text for piece in pieces],
        merges=None,
        scores=[piece.score for piece in pieces],
        added_tokens=tuple(
            AddedToken(piece.text, i) for i, piece in enumerate(pieces) if piece.kind in (UNKNOWN, CONTROL)
        ),
        normalizer=normalizer_of(normalizer),
        template=beginning(begin if begin < len(pieces) else -1),
        unknown=next((i for i, piece in enumerate(pieces) if piece.kind == UNKNOWN), None),
        byte_fallback=bool(trainer.get(35, 0)),
        user_defined=tuple(i for i, piece in enumerate(pieces) if piece.kind == USER_DEFINED),
        strips_space=bool(normalizer.get(3, 1) or normalizer.get(4, 1)),
    )


def beginning(begin: int) -> Template:
    """The template with the token `begin` before each text, or without one if it is negative."""
    return Template() if begin < 0 else Template(((begin,), "A"), ((begin,), "A", (begin,), "B"), (0, 0), (0, 0, 1, 1))


def signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def check(pieces: list[Piece], trainer: dict[int, Any], normalizer: dict[int, Any]) -> None:
    """FormatError for what is damaged or not supported."""
    if not pieces:
        raise FormatError("is damaged or not a SentencePiece model: it has no pieces")
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
    if len({piece.text for piece in pieces}) < len(pieces):
        raise FormatError("is damaged: two of its pieces are the same")


def normalizer_of(spec: dict[int, Any]) -> Normalizer:
    steps: list[Normalizer] = [CollapseSpaces()] if spec.get(4, 1) else []
    steps += [Prepend(SPACE)] if spec.get(3, 1) else []
    return Sequence((*steps, Replace(" ", SPACE)))
