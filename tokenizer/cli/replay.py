"""`replay`: how the merges make the tokens of a word, one by one."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from tokenizer.bpe.merge_table import MergeTable, first_merge, merge_table
from tokenizer.cli.inputs import load
from tokenizer.cli.terminal import paint, printable, wants_colour
from tokenizer.cli.train import read_counts
from tokenizer.models.byte_bpe import Tokenizer
from tokenizer.split.pretokenizer import well_formed

MAX_WORD_BYTES = 1000


def replay(arguments: argparse.Namespace) -> None:
    """Print a line for each merge in the words of a text: its rank, its count in training, the tokens after it."""
    tokenizer = load(arguments.tokenizer, arguments)
    if not isinstance(tokenizer, Tokenizer):
        raise ValueError(f"{arguments.tokenizer} is not a byte-level tokenizer with merges: only those can be replayed")
    counts = read_counts(Path(arguments.tokenizer), tokenizer.merges)
    colour = wants_colour(arguments.color, sys.stdout)
    words = [word.encode() for word in tokenizer.model.pretokenizer.split(well_formed(arguments.word))]
    longest = max(map(len, words), default=0)
    if longest > MAX_WORD_BYTES:
        raise ValueError(f"the word has {longest} bytes, which would fill many screens: give at most {MAX_WORD_BYTES}")
    for word in words:
        replay_word(tokenizer, word, counts, colour=colour)


def replay_word(tokenizer: Tokenizer, word: bytes, counts: list[int] | None, *, colour: bool) -> None:
    """Print the bytes of a word, then a line for each merge."""
    print(f'"{printable(word)}"')
    ids = tokenizer.model.word_encoder.ids_of_bytes(word)
    print(f"{'':>8} {'':>12}  {show_tokens(tokenizer, ids, colour=colour)}")
    for rank, merged in merge_steps(ids, merge_table(tokenizer.tokens, tokenizer.merges)):
        count = f"{counts[rank]:,} times" if counts else ""
        print(f"{rank:>8} {count:>12}  {show_tokens(tokenizer, merged, colour=colour)}")


def merge_steps(ids: list[int], table: MergeTable) -> Iterator[tuple[int, list[int]]]:
    """`merge_word` step by step: the rank of each merge, and the ids after it."""
    ids = list(ids)
    while found := first_merge(ids, table):
        i, rank, new_id = found
        ids[i : i + 2] = [new_id]
        yield rank, list(ids)


def show_tokens(tokenizer: Tokenizer, ids: list[int], *, colour: bool) -> str:
    tokens = [printable(tokenizer.tokens[i] or b"") for i in ids]
    return "".join(paint(token, k) for k, token in enumerate(tokens)) if colour else " ".join(tokens).join("[]")
