"""`generate.py --classify`: a line for each text, with its class and the probabilities of all classes.

    spam    ham 0.0021    spam 0.9979

The parts are divided by tabs. A model with a single class, such as a reward model, has a number in place of them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

from llm.data.text import decode_prompt
from llm.inference.classify import class_outputs, text_ids
from llm.inference.terminal.streams import INTERRUPTED, print_text
from llm.model.classifier import Classifier
from tokenizer import BaseTokenizer

LINES = 64  # of a pipe that are read before their classes are printed; of a terminal, one


def print_classes(classifier: Classifier, tokenizer: BaseTokenizer, prompt: str | None) -> int:
    """Classify the prompt, or each line of standard input. Returns the exit status."""
    texts = standard_input() if prompt is None else iter([prompt])
    at_once = LINES if sys.stdin is None or not sys.stdin.isatty() else 1
    with suppress(KeyboardInterrupt):
        while some := list(islice(texts, at_once)):
            ids = [text_ids(tokenizer, text, classifier.context) for text in some]
            for row in class_outputs(classifier, ids):
                print_text(line(classifier.labels, row.tolist()) + "\n")
        return 0
    return INTERRUPTED


def standard_input() -> Iterator[str]:
    """Its lines, without the ends of lines."""
    if sys.stdin is not None:
        for text in sys.stdin.buffer:
            yield decode_prompt(text)


def line(labels: tuple[str, ...], outputs: list[float]) -> str:
    """The best class, and the number of each."""
    best = max(range(len(labels)), key=outputs.__getitem__)
    named = [one_line(label) for label in labels]
    numbers = [f"{label} {number:.4f}" for label, number in zip(named, outputs)]
    return "\t".join([named[best], *numbers] if len(labels) > 1 else numbers)


def one_line(label: str) -> str:
    """A label of somebody else's file, whose control characters could change the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in label)
