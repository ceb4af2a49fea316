"""`encode` and `decode`: text to ids and back, through pipes."""

from __future__ import annotations

import argparse
import sys

import numpy as np
import regex

from tokenizer.cli.inputs import load, open_bytes, read_bytes
from tokenizer.models.base import BaseTokenizer

SEPARATORS = regex.compile(r"[\s,;\[\]()]+")
IDS_PER_WRITE = 1 << 16


def encode(arguments: argparse.Namespace) -> None:
    """Write ids on one line, or on one line for each line of the input, or as binary numbers."""
    tokenizer = load(arguments.tokenizer, arguments)
    data = read_bytes(arguments)
    if arguments.binary:
        ids = ids_of(tokenizer, data, special=arguments.allow_special)
        kind = np.dtype(arguments.binary)
        if tokenizer.vocab_size - 1 > np.iinfo(kind).max:
            raise ValueError(f"ids go up to {tokenizer.vocab_size - 1}, too high for {kind.name}: use uint32")
        sys.stdout.buffer.write(np.asarray(ids).astype(kind.newbyteorder("<")).tobytes())
        return
    for text in data.splitlines() if arguments.lines else [data]:
        write_ids(ids_of(tokenizer, text, special=arguments.allow_special))


def ids_of(tokenizer: BaseTokenizer, data: bytes, *, special: bool) -> np.ndarray | list[int]:
    """The ids of text in UTF-8 or of any other bytes. Special tokens are found in text only."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        if special:
            raise ValueError("the input is not text in UTF-8: leave out --allow-special, which needs text") from None
        return tokenizer.encode_bytes(data)
    allowed = "all" if special else ()
    return tokenizer.encode_array(text, allowed_special=allowed, disallowed_special=(), processes=None)


def write_ids(ids: np.ndarray | list[int]) -> None:
    """Write a line of ids, in parts, because the line of a large file is long."""
    ids = np.asarray(ids)
    for start in range(0, len(ids), IDS_PER_WRITE):
        sys.stdout.write((" " if start else "") + " ".join(map(str, ids[start : start + IDS_PER_WRITE].tolist())))
    sys.stdout.write("\n")


def decode(arguments: argparse.Namespace) -> None:
    """Write bytes as the ids arrive, one line of ids at a time."""
    tokenizer = load(arguments.tokenizer, arguments)
    mid_text = False  # whether other ids came before: some tokenizers drop a space at the beginning of a text
    with open_bytes(arguments.file) as file:
        for line in file:
            ids = tokenizer.visible_ids(parse_ids(line), skip_special_tokens=arguments.skip_special)
            sys.stdout.buffer.write(tokenizer.decode_bytes(ids, mid_text=mid_text))
            if arguments.lines:
                sys.stdout.buffer.write(b"\n")
            sys.stdout.buffer.flush()
            mid_text = not arguments.lines and (mid_text or bool(ids))


def parse_ids(line: bytes) -> list[int]:
    """Numbers, with white space, commas or brackets between them."""
    return [parse_id(part) for part in SEPARATORS.split(line.decode("utf-8", "replace")) if part]


def parse_id(part: str) -> int:
    if not part.isdecimal():
        raise ValueError(f"{part[:40]!r} is not an id: give numbers with spaces or commas between them")
    return int(part)
