"""What a model would learn from a file: its examples as text, with the tokens that are learned in colour.

Where there are no colours, such as in a file, they stand between {+ and +}.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Annotated

import numpy as np
import tyro

from llm.console import say
from llm.data.errors import DataError
from llm.hub.errors import HubError
from llm.hub.source import open_model
from llm.inference.chat_prompt import has_chat_template
from llm.inference.terminal.streams import has_colours, print_text
from llm.tuning.chat.chatml import with_chat_template
from llm.tuning.chat.conversation import LEARNABLE, NOTHING, Encoded, Encoder, Learnable
from llm.tuning.examples.rows import Conversation, Preference, read_rows
from tokenizer import BaseTokenizer
from tokenizer import load as load_tokenizer

LEARNED = "1;32"  # bold green


@dataclass(frozen=True)
class Show:
    """Show which tokens of a file of examples would be learned."""

    file: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """JSON lines, CSV or TSV: messages, prompt and completion, instruction and output, chosen and rejected, text."""
    model: str
    """The model that would learn from it, or only its tokenizer: a folder, a run, a .gguf file."""
    rows: int = 10
    """How many examples are printed. All are counted."""

    def start(self) -> None:
        tokenizer = tokenizer_at(self.model)
        rows: list[Learnable | Preference] = read_rows(self.file, (*LEARNABLE, Preference))  # type: ignore[arg-type]
        parts = [part for row in rows for _, part in parts_of(row)]
        if not has_chat_template(tokenizer) and any(isinstance(part, Conversation) for part in parts):
            say(f"{self.model} has no chat template; conversations are shown in ChatML, which it would get")
        encoder, total = Encoder(with_chat_template(tokenizer)), Total()
        for number, row in enumerate(rows):
            for title, part in parts_of(row):
                encoded = encoder(part)
                total.add(encoded)
                if number < self.rows:
                    print_text(f"--- {row.place}{title}: {describe(encoded)}\n")
                    print_example(encoded)
        print_text(f"--- {len(rows):,} examples in {self.file}: {total}\n")
        if not total.learned:
            raise DataError(f"nothing would be learned from {self.file}: {NOTHING}")


def tokenizer_at(path: str) -> BaseTokenizer:
    """The tokenizer of a model, or one that stands alone."""
    try:
        tokenizer = open_model(path).load_tokenizer()
    except HubError as error:
        try:
            return load_tokenizer(path)
        except (ValueError, OSError):
            raise error from None
    if tokenizer is None:
        raise HubError(f"{path} holds no tokenizer; give the file or the folder of its tokenizer as --model")
    return tokenizer


def parts_of(row: Learnable | Preference) -> list[tuple[str, Learnable]]:
    """What is encoded of a row, each with a title."""
    return [(", chosen", row.chosen), (", rejected", row.rejected)] if isinstance(row, Preference) else [("", row)]


class Total:
    """Counts over all examples."""

    def __init__(self) -> None:
        self.tokens = self.learned = self.turns = self.ends = 0

    def add(self, encoded: Encoded) -> None:
        self.tokens += len(encoded.ids)
        self.learned += int(encoded.learned.sum())
        self.turns += len(encoded.turns)
        self.ends += sum(turn.has_end for turn in encoded.turns)

    def __str__(self) -> str:
        return f"{self.learned:,} of {self.tokens:,} tokens learned; {ends_of_turns(self.ends, self.turns)}"


def describe(encoded: Encoded) -> str:
    total = Total()
    total.add(encoded)
    return str(total)


def ends_of_turns(ends: int, turns: int) -> str:
    if turns == 1:
        return f"the end of the turn is {'learned' if ends else 'not learned'}"
    return f"the end of the turn is learned in {ends:,} of {turns:,} turns"


def print_example(encoded: Encoded) -> None:
    """The text, with the learned tokens in colour, and a newline."""
    colours = has_colours()
    for text, learned in pieces(encoded):
        if colours:
            print_text(text, colour=LEARNED if learned else "")
        else:
            print_text(f"{{+{text}+}}" if learned else text)
    print_text("" if encoded.text.endswith("\n") else "\n")


def pieces(encoded: Encoded) -> Iterator[tuple[str, bool]]:
    """The text in pieces of characters that are all learned, or all not."""
    learned = np.zeros(len(encoded.text), dtype=bool)  # of each character
    for start, end in [span for span, is_learned in zip(encoded.spans, encoded.learned) if is_learned]:
        learned[start:end] = True
    for is_learned, group in groupby(zip(encoded.text, learned.tolist()), key=lambda pair: pair[1]):
        yield "".join(character for character, _ in group), is_learned
