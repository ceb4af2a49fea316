"""`inspect`: which tokens a text becomes. `replay`: how the merges make them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from tokenizer.bpe.textbook import MergeTable, first_merge, merge_table
from tokenizer.cli.encode import ids_of
from tokenizer.cli.inputs import load, read_bytes
from tokenizer.cli.terminal import painted, printable, wants_colour
from tokenizer.cli.train import read_counts
from tokenizer.models.base import BaseTokenizer
from tokenizer.models.byte_bpe import Tokenizer
from tokenizer.split.pretokenizer import well_formed

LONGEST_REPLAYED = 1000  # bytes of a word
SHOWN_BYTES = 24  # of a long token in the table


def inspect(arguments: argparse.Namespace) -> None:
    """The text with its tokens told apart, then a line for each token."""
    tokenizer = load(arguments.tokenizer, arguments)
    data = read_bytes(arguments)
    ids = [int(i) for i in ids_of(tokenizer, data, arguments.special)]
    parts = tokenizer.decode_tokens_bytes(ids)
    colour = wants_colour(arguments.color, sys.stdout)
    for number, part in enumerate(parts):
        sys.stdout.write(tell_apart(part, number, colour))
    print(f"\n\n{len(ids):,} tokens, {len(data):,} bytes: {len(data) / max(len(ids), 1):.2f} bytes a token")
    if not arguments.no_table:
        write_table(tokenizer, ids, parts)


def tell_apart(part: bytes, number: int, colour: bool) -> str:
    """A token on a background of its own, or else in brackets. A line end is shown, and ends the line."""
    shown = painted(printable(part), number) if colour else f"[{printable(part)}]"
    return shown + ("\n" if part.endswith(b"\n") else "")


def write_table(tokenizer: BaseTokenizer, ids: list[int], parts: list[bytes]) -> None:
    ranks = ranks_of_ids(tokenizer)
    print(f"\n{'id':>8} {'rank':>8}  {'token':<26} bytes")
    for i, part in zip(ids, parts):
        spelled = part[:SHOWN_BYTES].hex(" ") + (f" ... ({len(part)} bytes)" if len(part) > SHOWN_BYTES else "")
        token = printable(part)
        print(f"{i:>8} {ranks.get(i, '-'):>8}  {token if len(token) <= 26 else token[:23] + '...':<26} {spelled}")


def ranks_of_ids(tokenizer: BaseTokenizer) -> dict[int, int]:
    """Which merge makes a token, counted from 0; what no merge makes is not in it."""
    if not isinstance(tokenizer, Tokenizer):
        return {}
    return {joined: rank for rank, joined in merge_table(tokenizer.tokens, tokenizer.merges).values()}


def replay(arguments: argparse.Namespace) -> None:
    """A line for each merge within the words of a text."""
    tokenizer = load(arguments.tokenizer, arguments)
    if not isinstance(tokenizer, Tokenizer):
        raise ValueError(f"{arguments.tokenizer} is no byte-level tokenizer with merges, which is what can be replayed")
    counts = read_counts(Path(arguments.tokenizer), tokenizer.merges)
    colour = wants_colour(arguments.color, sys.stdout)
    words = [word.encode() for word in tokenizer._pretokenizer.split(well_formed(arguments.word))]
    longest = max(map(len, words), default=0)
    if longest > LONGEST_REPLAYED:
        raise ValueError(f"a word of {longest} bytes would fill many screens: give one of {LONGEST_REPLAYED} at most")
    for word in words:
        replay_word(tokenizer, word, counts, colour)


def replay_word(tokenizer: Tokenizer, word: bytes, counts: list[int] | None, colour: bool) -> None:
    print(f'"{printable(word)}"')
    encoder = tokenizer._word_encoder
    start = [encoder.byte_ids[byte] for byte in word.translate(None, encoder.missing)]
    print(f"{'':>8} {'':>12}  {show(tokenizer, start, colour)}")
    for rank, ids in merges_of(start, merge_table(tokenizer.tokens, tokenizer.merges)):
        count = f"{counts[rank]:,} times" if counts else ""
        print(f"{rank:>8} {count:>12}  {show(tokenizer, ids, colour)}")


def merges_of(ids: list[int], table: MergeTable) -> Iterator[tuple[int, list[int]]]:
    """The rank of each merge, one by one, and the tokens after it: `bpe.merge_textbook`, watched."""
    ids = list(ids)
    while found := first_merge(ids, table):
        i, rank, joined = found
        ids[i : i + 2] = [joined]
        yield rank, list(ids)


def show(tokenizer: Tokenizer, ids: list[int], colour: bool) -> str:
    tokens = [printable(tokenizer.tokens[i] or b"") for i in ids]
    return "".join(painted(token, k) for k, token in enumerate(tokens)) if colour else " ".join(tokens).join("[]")
