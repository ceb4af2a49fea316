"""A tokenizer learned from a corpus, once: the next run with the same text finds it in the cache.

tokenizers/HASH/tokenizer.json   tokenizers/HASH/meta.json (its checksum)
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from llm.data.cache import entry, is_cached, new_folder
from llm.data.corpus import Corpus, Progress
from llm.data.errors import DataError
from llm.runs.files import digest, read_json, write_json
from tokenizer import END_OF_TEXT, BaseTokenizer, CharTokenizer, Tokenizer, load

LEARNED = ("bpe", "char")  # what can be learned; anything else that --tokenizer names is a file
FORMAT = 1  # part of the hash; to be increased when the same text gives another tokenizer than before
FILE, META = "tokenizer.json", "meta.json"


def learn_tokenizer(corpus: Corpus, kind: str, vocab_size: int, progress: Progress | None = None) -> BaseTokenizer:
    """A tokenizer of byte pairs with `vocab_size` tokens ("bpe"), or of the characters of the corpus ("char").

    `progress(stage, done, total)` is called while the text is read (bytes), and learned from (characters, merges).
    Raises DataError when the text cannot be read, the cache cannot be used, or the memory is too small.
    """
    if (found := learned_before(corpus, kind, vocab_size, progress)) is not None:
        return found
    try:
        learned = _learn(corpus, kind, vocab_size, progress)
    except MemoryError as error:
        raise DataError(
            f"not enough memory to learn a tokenizer from {corpus.name} ({error}); learn one from a part of the text "
            "with: python -m tokenizer train, and give its file as --tokenizer"
        ) from error
    with new_folder(_folder(corpus, kind, vocab_size)) as partial:
        learned.save(partial / FILE)
        meta = {"corpus": corpus.survey.fingerprint, "kind": kind, "files": {FILE: digest(partial / FILE)}}
        write_json(partial / META, meta)
    return learned


def learned_before(
    corpus: Corpus, kind: str, vocab_size: int, progress: Progress | None = None
) -> BaseTokenizer | None:
    """What `learn_tokenizer` has left in the cache; None if it has not learned this yet. The text is read once."""
    corpus.take_survey(progress)
    folder = _folder(corpus, kind, vocab_size)
    return _read(folder) if is_cached(folder) else None


def _folder(corpus: Corpus, kind: str, vocab_size: int) -> Path:
    size = vocab_size if kind == "bpe" else None
    return entry("tokenizers", f"{FORMAT} {kind} {size} {END_OF_TEXT} {corpus.survey.fingerprint}")


def _learn(corpus: Corpus, kind: str, vocab_size: int, progress: Progress | None) -> BaseTokenizer:
    if kind == "char":
        return CharTokenizer.train(_reported(corpus, "collecting characters", progress))

    def report(stage: str, done: int, total: int | None) -> None:
        if progress:  # total is None while the tokenizer reads: it does not know the length of the text
            progress(stage, done, corpus.survey.characters if total is None else total)

    return Tokenizer.train(corpus, vocab_size, special_tokens=(END_OF_TEXT,), progress=report)


def _reported(corpus: Corpus, stage: str, progress: Progress | None) -> Iterator[str]:
    done = 0
    for text in corpus:
        yield text
        done += len(text)
        if progress:
            progress(stage, done, corpus.survey.characters)


def _read(folder: Path) -> BaseTokenizer:
    try:
        if read_json(folder / META).get("files") != {FILE: digest(folder / FILE)}:
            raise ValueError(f"{folder / FILE} is not as it was written")
        return load(folder / FILE)
    except (ValueError, OSError) as error:
        raise DataError(
            f"the tokenizer in the cache is damaged: {error}; delete the folder {folder}, and it will be learned again"
        ) from None
