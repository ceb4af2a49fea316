"""`inspect`: which tokens a text becomes."""

from __future__ import annotations

import argparse
import sys

from tokenizer.bpe.merge_table import merge_table
from tokenizer.cli.encode import ids_of
from tokenizer.cli.inputs import load, read_bytes
from tokenizer.cli.terminal import paint, printable, wants_colour
from tokenizer.models.base import BaseTokenizer
from tokenizer.models.byte_bpe import Tokenizer

MAX_SHOWN_BYTES = 24  # of a token, in the table
TOKEN_WIDTH = 26  # of the column of tokens, in characters


def inspect(arguments: argparse.Namespace) -> None:
    """Print the text with its tokens distinguished, then a line for each token."""
    tokenizer = load(arguments.tokenizer, arguments)
    data = read_bytes(arguments)
    ids = [int(i) for i in ids_of(tokenizer, data, special=arguments.allow_special)]
    tokens = tokenizer.token_bytes(ids)
    colour = wants_colour(arguments.color, sys.stdout)
    for number, token in enumerate(tokens):
        sys.stdout.write(show_token(token, number, colour=colour))
    print(f"\n\n{len(ids):,} tokens, {len(data):,} bytes: {len(data) / max(len(ids), 1):.2f} bytes a token")
    if not arguments.no_table:
        write_table(tokenizer, ids, tokens)


def show_token(token: bytes, number: int, *, colour: bool) -> str:
    """A token on a coloured background, or in brackets. A line end is shown as \\n, and then ends the line."""
    shown = paint(printable(token), number) if colour else f"[{printable(token)}]"
    return shown + ("\n" if token.endswith(b"\n") else "")


def write_table(tokenizer: BaseTokenizer, ids: list[int], tokens: list[bytes]) -> None:
    """A line for each token: its id, the rank of its merge, how it reads, and its bytes in hexadecimal."""
    ranks = ranks_of_ids(tokenizer)
    print(f"\n{'id':>8} {'rank':>8}  {'token':<{TOKEN_WIDTH}} bytes")
    for i, token in zip(ids, tokens):
        in_hex = token[:MAX_SHOWN_BYTES].hex(" ")
        if len(token) > MAX_SHOWN_BYTES:
            in_hex += f" ... ({len(token)} bytes)"
        shown = printable(token)
        if len(shown) > TOKEN_WIDTH:
            shown = shown[: TOKEN_WIDTH - 3] + "..."
        print(f"{i:>8} {ranks.get(i, '-'):>8}  {shown:<{TOKEN_WIDTH}} {in_hex}")


def ranks_of_ids(tokenizer: BaseTokenizer) -> dict[int, int]:
    """The rank (from 0) of the merge that makes each token; tokens that no merge makes are left out."""
    if not isinstance(tokenizer, Tokenizer):
        return {}
    return {new_id: rank for rank, new_id in merge_table(tokenizer.tokens, tokenizer.merges).values()}
