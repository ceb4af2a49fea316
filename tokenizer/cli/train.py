"""`train`: a tokenizer from texts.

It also writes a file FILE.counts beside the FILE of the tokenizer: for each merge, how often its pair occurred in
training, which `replay` shows. The formats of tokenizers have no place for these counts.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

from tokenizer.cli.inputs import check_input, read_corpus, status
from tokenizer.cli.terminal import progress_line
from tokenizer.formats.atomic import is_file, refuse_other_kinds, write_file
from tokenizer.formats.files import destination, locate
from tokenizer.models.byte_bpe import Tokenizer
from tokenizer.split.pretokenizer import Pretokenizer
from tokenizer.text.special_tokens import check_names
from tokenizer.training.learn import learn
from tokenizer.training.vocabulary import ALL_BYTES


def train(arguments: argparse.Namespace) -> None:
    """Learn a vocabulary and write it, with its counts."""
    # What can be checked is checked before any file is read.
    names = check_names(arguments.special)
    pattern = arguments.pattern or "gpt4"
    pretokenizer = Pretokenizer(pattern)
    path = destination(arguments.output)
    check_output(path, arguments)
    for text in arguments.files:
        check_input(text)
    with progress_line() as progress:
        vocabulary = learn(
            not_empty(read_corpus(arguments.files, pattern)),
            pretokenizer,
            arguments.vocab_size,
            names,
            progress,
            min_frequency=arguments.min_frequency,
            max_token_length=arguments.max_token_length,
            initial_alphabet=b"" if arguments.only_seen_bytes else ALL_BYTES,
            ties=arguments.ties,
            processes=arguments.processes,
        )
    tokenizer = Tokenizer.from_vocabulary(vocabulary, names, pattern)
    counts_path(path).unlink(missing_ok=True)  # if this process is killed, no tokenizer has the counts of another one
    tokenizer.save(path)
    write_file(counts_path(path), "".join(f"{count}\n" for count in vocabulary.counts))
    report(path, tokenizer, arguments)


def check_output(path: Path, arguments: argparse.Namespace) -> None:
    """ValueError if the tokenizer must not be written to `path`, OSError if it cannot be."""
    for written in path, counts_path(path):
        if is_among(written, arguments.files):
            raise ValueError(f"{written} is one of the texts, and would be overwritten: give another --output")
        refuse_other_kinds(written)
    if path.suffix.lower() == ".tiktoken":
        problem = f"{path}: the .tiktoken format has no place for "
        if arguments.special:
            raise ValueError(f"{problem}special tokens: leave out --special, or write a folder or NAME.json")
        if arguments.only_seen_bytes:
            raise ValueError(f"{problem}fewer than 256 bytes: leave out --only-seen-bytes, or write NAME.json")
    folder = next(parent for parent in path.parents if parent.exists())  # the folders below it will be made
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file, not a directory: give another --output")
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{folder} cannot be written to: give another --output")


def is_among(path: Path, texts: Iterable[str]) -> bool:
    """Whether `path` is one of these files, perhaps under another name, such as a link."""
    try:
        output = path.stat()
    except OSError:  # there is no such file
        return False
    return any(os.path.samestat(output, found) for text in texts if (found := status(text)))


def not_empty(texts: Iterator[str]) -> Iterator[str]:
    """The same texts. ValueError if there is no character in them."""
    first = next(filter(None, texts), None)
    if first is None:
        raise ValueError("the texts are empty: there is nothing to learn from")
    yield from chain([first], texts)


def report(path: Path, tokenizer: Tokenizer, arguments: argparse.Namespace) -> None:
    """Print what was learned. Warn if it is less than was asked for, or if the file does not contain all of it."""
    size, made = tokenizer.vocab_size, len(tokenizer.merges)
    if size < arguments.vocab_size:
        print(f"fewer than {arguments.vocab_size:,} tokens: no pair is left that may be merged", file=sys.stderr)
    if path.suffix.lower() == ".tiktoken":
        print(f"the file does not say how text is split: load it with --pattern {tokenizer.pattern}", file=sys.stderr)
    print(f"{path}: {size:,} tokens, {made:,} of them made by merges", file=sys.stderr)


def counts_path(path: Path) -> Path:
    """The file of counts beside a file of a tokenizer."""
    return path.with_name(f"{path.name}.counts")


def read_counts(path: Path, merges: Sequence) -> list[int] | None:
    """The counts of the merges of the tokenizer at `path`; None if they are not known."""
    path = counts_path(locate(path))
    if not is_file(path):
        return None
    try:
        counts = [int(line) for line in path.read_text().split()]
    except ValueError:
        counts = []
    if len(counts) != len(merges):
        raise ValueError(f"{path} does not belong to this tokenizer, which has {len(merges)} merges: delete it")
    return counts
