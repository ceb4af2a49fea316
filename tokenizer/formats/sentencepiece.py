"""SentencePiece's `.model`: a protocol buffer with pieces and settings.

A protocol buffer is a sequence of fields, each a number and a value; a value may again be a message of fields. The
numbers are from github.com/google/sentencepiece, src/sentencepiece_model.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from tokenizer.formats.checks import MAX_UNUSED_IDS
from tokenizer.formats.records import FormatError, SentencePieceRecord
from tokenizer.text.metaspace import ESCAPE_SPACES, SPACE
from tokenizer.text.normalize import CollapseSpaces, Normalizer, Prepend, Sequence
from tokenizer.text.special_tokens import AddedToken
from tokenizer.text.template import Template, begin_template

# The numbers of the fields that matter. All other fields are skipped.
PIECE, TRAINER, NORMALIZER = 1, 2, 3  # the fields of a model
TEXT, SCORE, KIND = 1, 2, 3  # the fields of a piece
SETTINGS = {
    TRAINER: {3: "model_type", 24: "space_is_suffix", 35: "byte_fallback", 41: "bos_id"},
    NORMALIZER: {1: "name", 2: "replacements", 3: "prefix_space", 4: "remove_extra_spaces", 5: "escape_spaces"},
}

UNIGRAM, BYTE_PAIR = 1, 2  # types of models
MODEL_TYPES = {UNIGRAM: "unigram", BYTE_PAIR: "byte pairs", 3: "word", 4: "character"}
ENDS = {"bos_token": "<s>", "eos_token": "</s>"}  # the usual names of the tokens that begin and end a text
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)  # kinds of pieces


class Piece(NamedTuple):
    """A piece of the vocabulary. Its index is its id."""

    text: str
    score: float
    kind: int


@dataclass(frozen=True)
class Settings:
    """The values of the fields in `SETTINGS`, with the defaults of SentencePiece."""

    model_type: int = UNIGRAM
    space_is_suffix: int = 0
    byte_fallback: int = 0
    bos_id: int = 1
    name: bytes = b""  # of the normalizer
    replacements: bytes = b""
    prefix_space: int = 1
    remove_extra_spaces: int = 1
    escape_spaces: int = 1


def fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """The fields of a message: (number, value). A value is an integer, four or eight bytes, or a string of bytes."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        wire_type = key & 7  # 0: an integer, 1: eight bytes, 2: a string of bytes after its length, 5: four bytes
        value: Any
        if wire_type == 0:
            value, at = varint(data, at)
        elif wire_type in (1, 2, 5):
            size, at = varint(data, at) if wire_type == 2 else (8 if wire_type == 1 else 4, at)
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
    settings: dict[str, Any] = {}
    for number, value in fields(data):
        if number == PIECE:
            pieces.append(read_piece(message(value), len(pieces)))
        elif number in SETTINGS:
            names = SETTINGS[number]
            settings |= {names[i]: setting for i, setting in message(value).items() if i in names}
    return make_record(pieces, Settings(**settings))


def read_piece(spec: dict[int, Any], i: int) -> Piece:
    try:
        (score,) = struct.unpack("<f", spec.get(SCORE, bytes(4)))
        return Piece(spec[TEXT].decode(), score, spec.get(KIND, NORMAL))
    except (KeyError, AttributeError, UnicodeDecodeError, struct.error, TypeError):
        raise FormatError(f"is damaged: its piece {i} has no text or score") from None


def make_record(pieces: list[Piece], settings: Settings) -> SentencePieceRecord:
    check(pieces, settings)
    begin = settings.bos_id  # -1, for none, is written as the unsigned number 2**64 - 1
    return SentencePieceRecord(
        pieces=[None if piece.kind == UNUSED else piece.text for piece in pieces],
        merges=None,
        scores=[piece.score for piece in pieces],
        added_tokens=tuple(AddedToken(pieces[i].text, i) for i in ids_of_kind(pieces, UNKNOWN, CONTROL)),
        normalizer=make_normalizer(settings),
        template=begin_template(begin) if 0 <= begin < len(pieces) else Template(),
        unknown=next(iter(ids_of_kind(pieces, UNKNOWN)), None),
        byte_fallback=bool(settings.byte_fallback),
        user_defined=ids_of_kind(pieces, USER_DEFINED),
        strips_space=bool(settings.prefix_space or settings.remove_extra_spaces),
    )


def with_added_tokens(record: SentencePieceRecord, added: tuple[AddedToken, ...]) -> SentencePieceRecord:
    """The record with other added tokens. Those that are no pieces yet become pieces that no merge makes.

    They are found in the text as it is given, so that each text between them gets a space before it, as all texts do.
    """
    added = tuple(replace(token, normalized=False) for token in added)
    pieces, scores, known = [*record.pieces], [*(record.scores or ())], {*record.pieces}
    new = {token.id: token.content for token in added if token.content not in known}
    if len(pieces) + MAX_UNUSED_IDS < max(new, default=0):
        raise FormatError(
            f"has {len(pieces)} pieces, but a file beside it gives the id {max(new)} to {new[max(new)]!r}"
        )
    missing = max(new, default=-1) + 1 - len(pieces)
    pieces += [None] * missing
    scores += [0.0] * missing
    for i, name in new.items():
        pieces[i] = name
    user_defined = tuple(i for i in record.user_defined if all(token.id != i for token in added))
    return record._replace(
        pieces=pieces,
        scores=scores,
        added_tokens=added,
        user_defined=user_defined,
        added_only=(*record.added_only, *new),
    )


def check(pieces: list[Piece], settings: Settings) -> None:
    """FormatError for what is damaged or not supported."""
    if not pieces:
        raise FormatError("is damaged or not a SentencePiece model: it has no pieces")
    if settings.model_type != BYTE_PAIR:
        kind = MODEL_TYPES.get(settings.model_type, "unknown")
        raise FormatError(f"asks for a model of type {kind}, which is not supported (byte pairs are)")
    if settings.space_is_suffix:
        raise FormatError("asks for white space as a suffix, which is not supported")
    if settings.replacements:
        name = settings.name.decode(errors="replace")
        raise FormatError(f"asks for the normalizer {name!r}, which is not supported (identity is)")
    if not settings.escape_spaces:
        raise FormatError("asks for spaces that are not escaped, which is not supported")
    if len({piece.text for piece in pieces}) < len(pieces):
        raise FormatError("is damaged: two of its pieces are the same")


def ids_of_kind(pieces: list[Piece], *kinds: int) -> tuple[int, ...]:
    return tuple(i for i, piece in enumerate(pieces) if piece.kind in kinds)


def make_normalizer(settings: Settings) -> Normalizer:
    steps: list[Normalizer] = [CollapseSpaces()] if settings.remove_extra_spaces else []
    steps += [Prepend(SPACE)] if settings.prefix_space else []
    return Sequence((*steps, ESCAPE_SPACES))
