"""The logit lens for people: what each layer would say after the prompt, and after each token of it."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from llm.inference.inspection import logit_lens, logit_lens_from
from llm.inference.logprobs import log_probabilities, most_likely
from llm.inference.terminal.streams import at_terminal, has_colours, print_text
from llm.inference.terminal.token_output import quoted, shade, with_probabilities
from llm.model.gpt import GPT
from tokenizer import BaseTokenizer

SHOWN = 4  # tokens for each layer
MOST_COLUMNS = 32  # tokens of the prompt: after each of them, each layer computes all its logits
LABEL, GAP = 10, 2  # characters


def print_lens(model: GPT, tokenizer: BaseTokenizer, ids: Sequence[int]) -> None:
    """What each layer would say after `ids`; and the likeliest token of each layer after each of them."""
    print_text(lens_table(model, tokenizer, ids))
    if len(ids) == 1:
        return
    first = max(0, len(ids) - MOST_COLUMNS)
    which = f"each of the last {MOST_COLUMNS} tokens" if first else "each token"
    print_text(f"what each layer would say after {which} of the prompt\n")
    for columns in blocks(lens_columns(model, tokenizer, ids, first)):
        print_block(columns)


def lens_table(model: GPT, tokenizer: BaseTokenizer, ids: Sequence[int]) -> str:
    """A line for the embedding and each layer: the tokens that it would say after `ids`."""
    answers = [most_likely(log_probabilities(logits), SHOWN) for logits in logit_lens(model, ids)]
    lines = [f"{label(row)}{with_probabilities(answer, tokenizer)}" for row, answer in enumerate(answers)]
    return "\n".join(["what each layer would say next; the last one is the answer of the model", *lines, ""])


def label(row: int) -> str:
    return ("embedding" if row == 0 else f"layer {row - 1}").ljust(LABEL)


class Column(NamedTuple):
    """A token, and what would follow it: the likeliest token of the embedding and of each layer."""

    token: str
    likeliest: list[tuple[str, float]]  # with its probability

    @property
    def width(self) -> int:
        return GAP + max(len(text) for text in (self.token, *(text for text, _ in self.likeliest)))


def lens_columns(model: GPT, tokenizer: BaseTokenizer, ids: Sequence[int], first: int) -> list[Column]:
    """The columns of the tokens from number `first` on."""
    layers = [
        [most_likely(log_probabilities(logits), 1)[0] for logits in rows] for rows in logit_lens_from(model, ids, first)
    ]
    return [
        Column(quoted(id, tokenizer), [(quoted(best, tokenizer), math.exp(logprob)) for best, logprob in column])
        for id, column in zip(ids[first:], zip(*layers), strict=True)
    ]


def blocks(columns: Sequence[Column]) -> Iterator[list[Column]]:
    """As many columns at a time as the terminal has room for; without a terminal, all of them."""
    room = shutil.get_terminal_size().columns - LABEL if at_terminal() else math.inf
    block: list[Column] = []
    for column in columns:
        if block and sum(each.width for each in [*block, column]) > room:
            yield block
            block = []
        block.append(column)
    yield block


def print_block(columns: Sequence[Column]) -> None:
    heads = "".join(" " * GAP + each.token.ljust(each.width - GAP) for each in columns)
    print_text(" " * LABEL + heads.rstrip() + "\n")
    for row in range(len(columns[0].likeliest)):
        print_text(label(row))
        for column in columns:
            text, probability = column.likeliest[row]
            print_text(" " * GAP)
            print_text(text, colour=shade(probability) if has_colours() else "")
            print_text(" " * (column.width - GAP - len(text)) if column is not columns[-1] else "")
        print_text("\n")
