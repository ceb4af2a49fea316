"""`compare`: how many tokens two tokenizers need for a text, by script (Latin, Greek, Han and so on)."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator

import regex

from tokenizer.cli.inputs import load_all, read_text
from tokenizer.models.base import BaseTokenizer

SCRIPTS = """
    Latin Greek Cyrillic Armenian Hebrew Arabic Devanagari Bengali Gurmukhi Gujarati Tamil Telugu Kannada Malayalam
    Sinhala Thai Lao Tibetan Myanmar Georgian Hangul Ethiopic Khmer Mongolian Hiragana Katakana Han
"""
# Names of character classes -> regular expressions. A character belongs to the first class that it matches.
CLASSES = {script: rf"[\p{{Script={script}}}--[\p{{N}}\p{{S}}]]" for script in SCRIPTS.split()} | {
    "numbers": r"\p{N}",
    "emoji": r"[\p{Extended_Pictographic}\u200d\ufe0f\U0001f1e6-\U0001f1ff\U0001f3fb-\U0001f3ff]",
    "punctuation": r"[\p{P}\p{S}]",
    "other": r"\S",
}
# A run is several characters of one class, with the marks on them. White space belongs to the run that follows it, as
# it belongs to the token that follows it in most vocabularies.
RUNS_OF_CLASSES = [rf"(?P<{name}>\s*+(?:{pattern}\p{{M}}*+)++)" for name, pattern in CLASSES.items()]
RUNS = regex.compile("(?V1)" + "|".join([*RUNS_OF_CLASSES, r"(?P<white_space>\s++)"]))


def compare(arguments: argparse.Namespace) -> None:
    """Print a line for each script of the text: its bytes, and the tokens per byte of both vocabularies."""
    names = arguments.tokenizers
    tokenizers = load_all(names, arguments)
    text = read_text(arguments)
    counts = [count_by_script(tokenizer, text) for tokenizer in tokenizers]
    sizes = bytes_by_script(text)
    for label, name, tokenizer in zip(["first: ", "second:"], names, tokenizers):
        print(f"{label} {name}, {tokenizer.vocab_size:,} tokens")
    print()
    columns = f"{'bytes':>12} {'tokens: first':>14} {'second':>12} {'per byte: first':>16} {'second':>8} {'ratio':>7}"
    print(f"{'':<12} {columns}")
    for script, size in sizes.most_common():
        write_row(script.replace("_", " "), size, *(count[script] for count in counts))
    if len(sizes) > 1:
        write_row("all", sizes.total(), *(count.total() for count in counts))


def write_row(name: str, size: int, first: int, second: int) -> None:
    """A line of the table. The ratio is that of the tokens: above 1, the second tokenizer needs more."""
    ratio = f"{second / first:>7.2f}" if first else f"{'-':>7}"
    print(f"{name:<12} {size:>12,} {first:>14,} {second:>12,} {first / size:>16.3f} {second / size:>8.3f} {ratio}")


def runs(text: str) -> Iterator[tuple[str, int, int]]:
    """The runs of one script in `text`: its name, start and end."""
    for match in RUNS.finditer(text):
        yield match.lastgroup or "other", *match.span()


def bytes_by_script(text: str) -> Counter[str]:
    """The number of bytes of each script."""
    sizes: Counter[str] = Counter()
    for script, start, end in runs(text):
        sizes[script] += len(text[start:end].encode())
    return sizes


def count_by_script(tokenizer: BaseTokenizer, text: str) -> Counter[str]:
    """The number of tokens of each script. A token has the script of its last character that is not white space."""
    _, spans = tokenizer.encode_with_offsets(text, disallowed_special=())
    script_of = [script for script, start, end in runs(text) for _ in range(start, end)]  # for each character
    counts: Counter[str] = Counter()
    for start, end in spans:
        if start < end:  # else the token stands for nothing in the text, such as a space that was put before it
            length = len(text[start:end].rstrip())
            counts[script_of[start + max(length - 1, 0)]] += 1
    return counts
