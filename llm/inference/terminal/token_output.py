"""How a text that is being written is shown: only the text, or also how likely each token was.

At a terminal with colours, each token is shaded by its probability, and a table of all tokens follows. Elsewhere there
is only the table.
"""

from __future__ import annotations

import json
import math

from llm.inference.engine.requests import Token
from llm.inference.engine.text_stream import Piece
from llm.inference.terminal.streams import has_colours, print_text
from tokenizer import BaseTokenizer

ALTERNATIVES = 4  # how many other tokens are shown
# From this probability on, this background (of 256 colours). Black on a light colour can be read on all terminals.
SHADES = [(0.9, 120), (0.5, 193), (0.2, 228), (0.05, 216), (0.0, 210)]


class PlainOutput:
    """Only the text."""

    def __init__(self) -> None:
        self.last = ""

    def begin(self, prompt: str = "") -> None:
        self.last = prompt
        print_text(prompt)

    def show(self, piece: Piece) -> None:
        self.last = piece.text or self.last
        print_text(piece.text)

    def end(self) -> None:
        """After the text, also if it was stopped: a newline, if there is none."""
        print_text("" if self.last.endswith("\n") else "\n")


class TableOutput(PlainOutput):
    """A line for each token, instead of the text."""

    def __init__(self, tokenizer: BaseTokenizer):
        super().__init__()
        self.tokenizer = tokenizer

    def begin(self, prompt: str = "") -> None:
        print_text("probability  token, and others that might have come\n")

    def show(self, piece: Piece) -> None:
        for token in piece.tokens:
            print_text(table_line(token, self.tokenizer) + "\n")

    def end(self) -> None:
        pass


class ShadedOutput(PlainOutput):
    """The text in colours, and then the table."""

    def __init__(self, tokenizer: BaseTokenizer):
        super().__init__()
        self.table = TableOutput(tokenizer)
        self.tokens: list[Token] = []

    def show(self, piece: Piece) -> None:
        self.tokens += piece.tokens
        self.last = piece.text or self.last
        # Several tokens may end in one piece, as in a character of four bytes. It is as likely as all of them together.
        print_text(piece.text, colour=shade(math.prod(map(probability, piece.tokens))))

    def end(self) -> None:
        super().end()
        for least, _ in SHADES:
            print_text(f" {least:.0%} or more " if least else " less ", colour=shade(least))
        print_text("\n")
        self.table.begin()
        self.table.show(Piece("", self.tokens))
        self.tokens = []


def output_for(tokenizer: BaseTokenizer, *, show_probs: bool) -> PlainOutput:
    if not show_probs:
        return PlainOutput()
    return ShadedOutput(tokenizer) if has_colours() else TableOutput(tokenizer)


def probability(token: Token) -> float:
    """What the model thought of the token, before temperature, filters and penalties."""
    assert token.logprob is not None, "the request asks for log-probabilities"
    return math.exp(token.logprob)


def shade(p: float) -> str:
    """Black on the colour for this probability."""
    return f"30;48;5;{next(colour for least, colour in SHADES if p >= least)}"


def table_line(token: Token, tokenizer: BaseTokenizer) -> str:
    others = [(id, logprob) for id, logprob in token.top if id != token.id][:ALTERNATIVES]
    return f"{probability(token):11.1%}  {quoted(token.id, tokenizer):16}" + with_probabilities(others, tokenizer)


def with_probabilities(tokens: list[tuple[int, float]], tokenizer: BaseTokenizer) -> str:
    """Tokens with their probabilities, in one line."""
    return "".join(f"  {quoted(id, tokenizer)} {math.exp(logprob):.1%}" for id, logprob in tokens)


def quoted(id: int, tokenizer: BaseTokenizer) -> str:
    """The text of a token between quotation marks, in which a line end is \\n. Numbers that are no token: their id."""
    if id >= tokenizer.vocab_size or tokenizer.tokens[id] is None:  # a model may have more logits than tokens
        return f"token {id}"
    text = tokenizer.decode_bytes([id], mid_text=True).decode("utf-8", "backslashreplace")
    return json.dumps(text, ensure_ascii=False)
