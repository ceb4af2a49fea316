"""Standard input and output of `generate.py`: the prompt, and the text that is written.

Only the text goes to standard output. Messages go to standard error.
"""

from __future__ import annotations

import os
import sys

from llm.console import escaped, say, silence
from llm.data.text import decode_prompt

LONG_SECONDS = 1.0  # of reading prompts, from which on they are no part of the speed of writing
INTERRUPTED = 130  # exit status of a program that Ctrl-C ended: 128 + SIGINT


def read_prompt() -> str:
    """Standard input without the line end after its last line, if it is a pipe or a file; "" if it is a terminal."""
    if sys.stdin is None or sys.stdin.isatty():
        return ""
    say("reading the prompt from standard input")
    return decode_prompt(sys.stdin.buffer.read())


def has_colours() -> bool:
    """Whether standard output is a terminal that can show colours, and the user wants them (https://no-color.org)."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return at_terminal() and not plain


def at_terminal() -> bool:
    """Whether standard output is a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def print_text(text: str, *, colour: str = "") -> None:
    """Write to standard output, at once. `colour`: a code of the terminal for this text (ANSI SGR).

    Raises OSError, with a sentence, when that is not possible.
    """
    text = escaped(text, sys.stdout)
    if colour:  # each line by itself: otherwise the terminal would colour the rest of the line too
        text = "\n".join(f"\x1b[{colour}m{line}\x1b[0m" if line else "" for line in text.split("\n"))
    try:
        print(text, end="", flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:  # a file on a disk that is full
        silence(sys.stdout)  # otherwise Python would try again at its end, and print its own message
        raise OSError(f"the text could not be written to standard output ({error.strerror})") from None


class TokenCounter:
    """Counts generated tokens, the steps in which they came, and the seconds, also those for reading the prompts.

    `with_draft`: whether a step may give several tokens, which is then said.
    """

    def __init__(self, *, with_draft: bool = False) -> None:
        self.tokens, self.steps, self.with_draft = 0, 0, with_draft
        self.reading = self.writing = 0.0  # seconds

    def count(self, tokens: int, seconds: float, *, is_reading: bool) -> None:
        """Add what a step of the engine gave. The first token comes when the prompt has been read."""
        self.tokens += tokens
        self.steps += tokens > 0
        if is_reading:
            self.reading += seconds
        else:
            self.writing += seconds

    def __str__(self) -> str:
        has_read_long = self.reading > LONG_SECONDS
        seconds = self.writing + (0 if has_read_long else self.reading)
        speed = self.tokens / seconds if seconds else 0
        parts = [f"{self.tokens:,} tokens in {seconds:.2f} s, {speed:,.0f} tokens/s"]
        if has_read_long:
            parts.append(f"after {self.reading:.1f} s of reading")
        if self.with_draft and self.steps:
            parts.append(f"{self.tokens / self.steps:.1f} tokens in each step")
        return ", ".join(parts)
