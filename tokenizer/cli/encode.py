"""`encode` and `decode`: text to ids and back, through pipes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable

import numpy as np
import regex

from tokenizer.cli.inputs import load, opened, read_bytes
from tokenizer.models.base import BaseTokenizer

NUMBER = regex.compile(r"[\s,;\[\]()]+")
IDS_AT_A_TIME = 1 << 16


def encode(arguments: argparse.Namespace) -> None:
    """Ids on one line, or on a line for each of the input, or as binary numbers."""
    tokenizer = load(arguments.tokenizer, arguments)
    data = read_bytes(arguments)
    if arguments.binary:
        ids = ids_of(tokenizer, data, arguments.special)
        kind = np.dtype(arguments.binary)
        if tokenizer.vocab_size - 1 > np.iinfo(kind).max:
            raise ValueError(f"ids go up to {tokenizer.vocab_size - 1}, too high for {kind.name}: use uint32")
        sys.stdout.buffer.write(np.asarray(ids).astype(kind.newbyteorder("<")).tobytes())
        return
    for text in data.splitlines() if arguments.lines else [data]:
        write_ids(ids_of(tokenizer, text, arguments.special))


def ids_of(tokenizer: BaseTokenizer, data: bytes, special: bool) -> np.ndarray | list[int]:
    """Any bytes; special tokens only if they are UTF-8."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        if special:
            raise ValueError("the input is not text in UTF-8, so that --special cannot be used") from None
        return tokenizer.encode_bytes(data)
    return tokenizer.encode_array(text, allowed_special="all" if special else (), disallowed_special=())


def write_ids(ids: np.ndarray | list[int]) -> None:
    ids = np.asarray(ids)
    for start in range(0, len(ids), IDS_AT_A_TIME):
        sys.stdout.write((" " if start else "") + " ".join(map(str, ids[start : start + IDS_AT_A_TIME].tolist())))
    sys.stdout.write("\n")


def decode(arguments: argparse.Namespace) -> None:
    """Bytes as the ids come, a line of ids at a time."""
    tokenizer = load(arguments.tokenizer, arguments)
    continues = False
    with opened(arguments.file) as file:
        for line in file:
            ids = tokenizer.shown_ids(parse_ids(line), arguments.skip_special)
            sys.stdout.buffer.write(tokenizer.decode_bytes(ids, continues=continues))
            if arguments.lines:
                sys.stdout.buffer.write(b"\n")
            sys.stdout.buffer.flush()
            continues = not arguments.lines and (continues or bool(ids))


def parse_ids(line: bytes) -> list[int]:
    """Numbers, with white space, commas or brackets between them."""
    return [parse_id(part) for part in split_numbers(line) if part]


def split_numbers(line: bytes) -> Iterable[str]:
    return NUMBER.split(line.decode("utf-8", "replace"))


def parse_id(part: str) -> int:
    if not part.isdecimal():
        raise ValueError(f"{part[:40]!r} is no id: give numbers with spaces or commas between them")
    return int(part)
