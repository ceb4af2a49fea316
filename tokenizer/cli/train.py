"""`train`: a tokenizer from texts.

It also writes a file NAME.counts: for each merge, how often its pair occurred in training, which `replay` shows. The
formats of tokenizers have no place for these counts.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tokenizer.cli.inputs import read_corpus
from tokenizer.cli.terminal import progress_line
from tokenizer.formats.atomic import write_file
from tokenizer.formats.files import FILE_NAME
from tokenizer.formats.records import BytePairRecord
from tokenizer.models.byte_bpe import Tokenizer
from tokenizer.split.pretokenizer import Pretokenizer
from tokenizer.text.special_tokens import AddedToken, check_names
from tokenizer.training.learn import learn
from tokenizer.training.vocabulary import ALL_BYTES


def train(arguments: argparse.Namespace) -> None:
    names = check_names(arguments.special)
    pattern = arguments.pattern or "gpt4"
    pretokenizer = Pretokenizer(pattern)  # ValueError for a wrong pattern, before any file is read
    with progress_line() as progress:
        vocabulary = learn(
            read_corpus(arguments.files, pattern),
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
    added = tuple(AddedToken(name, i) for i, name in enumerate(names))
    tokenizer = Tokenizer(BytePairRecord([*vocabulary.tokens], vocabulary.merges, added, pattern))
    path = Path(arguments.output)
    if not path.suffix:
        path = path / FILE_NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(path)
    write_file(counts_path(path), "".join(f"{count}\n" for count in vocabulary.counts))
    size, made = tokenizer.vocab_size, len(vocabulary.merges)
    print(f"{path}: {size:,} tokens, {made:,} of them made by merges", file=sys.stderr)


def counts_path(path: Path) -> Path:
    """The file of counts beside a file of a tokenizer."""
    return path.with_suffix(".counts")


def read_counts(path: Path, merges: Sequence) -> list[int] | None:
    """The counts of the merges of the tokenizer at `path`; None if they are not known."""
    path = counts_path(path / FILE_NAME if path.is_dir() else path)
    if not path.is_file():
        return None
    try:
        counts = [int(line) for line in path.read_text().split()]
    except ValueError:
        counts = []
    if len(counts) != len(merges):
        raise ValueError(f"{path} does not belong to this tokenizer, which has {len(merges)} merges: delete it")
    return counts
