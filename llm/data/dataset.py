"""From a corpus and a tokenizer to tokens for training and validation, made once and later found in the cache.

The cache has a folder for each combination of corpus, tokenizer and split, named by a hash of the three:

    tokens/HASH/train/   tokens/HASH/val/     (each a folder of shards, see shards.py)
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path

import numpy as np

from llm.data.cache import entry, is_cached, new_folder
from llm.data.corpus import Corpus, Progress
from llm.data.errors import DataError
from llm.data.shards import GROUP_CHARACTERS, SHARD_TOKENS, ShardWriter, TextTokenizer, TokenShards
from llm.data.split import training_sizes
from llm.runs.files import digest

FORMAT = 2  # part of the hash; to be increased when the same text gives other files than before


@dataclass(frozen=True)
class Dataset:
    """A tokenized corpus, split in two."""

    train: TokenShards
    val: TokenShards

    @classmethod
    def open(cls, folder: Path, progress: Progress | None = None) -> Dataset:
        """Open what `prepare` has written. Raises DataError when a file is missing or damaged."""
        try:
            return cls(TokenShards(folder / "train", progress), TokenShards(folder / "val", progress))
        except DataError as error:
            raise DataError(f"{error}; delete the folder {folder}, and the text will be tokenized again") from error

    @property
    def bytes_per_token(self) -> float:
        """UTF-8 bytes per validation token: bits per byte = loss in nats / ln 2 / bytes_per_token."""
        return self.val.bytes / len(self.val)


def prepare(
    corpus: Corpus,
    tokenizer: TextTokenizer,
    val_fraction: float = 0.1,
    seed: int = 0,
    progress: Progress | None = None,
    shard_tokens: int = SHARD_TOKENS,
    group_characters: int = GROUP_CHARACTERS,
) -> Dataset:
    """Tokenize a corpus, or open the tokens in the cache if this has been done before.

    `seed` chooses the documents held out for validation; the same one makes runs comparable. `progress(stage, done,
    total)` is called while the text is read (bytes) and tokenized (characters), and while files are checked (tokens).
    Raises DataError when the text cannot be read or the cache cannot be written.
    """
    sizes = training_sizes(corpus.take_survey(progress).sizes, val_fraction, seed)
    fingerprints = {"corpus": corpus.survey.fingerprint, "tokenizer": _fingerprint(tokenizer)}
    recipe = f"{FORMAT} {fingerprints} {val_fraction!r} {seed} {shard_tokens}"
    folder = entry("tokens", recipe)
    if not is_cached(folder):
        with new_folder(folder) as partial:
            train = _writer(partial / "train", tokenizer, shard_tokens, group_characters)
            val = _writer(partial / "val", tokenizer, shard_tokens, group_characters)
            _tokenize(corpus, sizes, train, val, progress)
            train.finish(**fingerprints)
            val.finish(**fingerprints)
    return Dataset.open(folder, progress)


def _writer(folder: Path, tokenizer: TextTokenizer, shard_tokens: int, group_characters: int) -> ShardWriter:
    folder.mkdir()
    return ShardWriter(folder, tokenizer, shard_tokens, group_characters)


def _tokenize(
    corpus: Corpus, train_sizes: np.ndarray, train: ShardWriter, val: ShardWriter, progress: Progress | None
) -> None:
    """Send the first `train_sizes[i]` characters of document i to `train`, the others to `val`."""
    done = 0
    # A file may get more documents while it is read. Without sizes they are counted as `done`, and refused below.
    for document, train_size in zip(corpus.documents(), chain(train_sizes.tolist(), repeat(0))):
        for chunk in document:
            cut = min(max(0, train_size), len(chunk))
            train.add_text(chunk[:cut])
            val.add_text(chunk[cut:])
            train_size -= len(chunk)
            done += len(chunk)
            if progress:
                progress("tokenizing", done, corpus.survey.characters)
        train.end_document()
        val.end_document()
    if done != corpus.survey.characters:
        raise DataError(f"{corpus.name} changed while it was being read; start again when it is complete")


def _fingerprint(tokenizer: TextTokenizer) -> str:
    """A hash of the file that `tokenizer.save` writes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.json"
        tokenizer.save(path)
        return digest(path)
