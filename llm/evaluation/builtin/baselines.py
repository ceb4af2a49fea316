"""Chance and n-gram models beside the score of a model: what is solved without understanding the question.

The n-gram models have the model's own tokenizer, and are counted in the text that it has learned from, if that is at
hand; else in the text that comes with Python.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import numpy as np

from llm.data import Corpus, open_corpus
from llm.data.builtin import is_missing_download, python_docs
from llm.evaluation.builtin.ngrams import NGram
from llm.evaluation.builtin.suite import SUITE
from llm.evaluation.tasks.results import Result, evaluate_task
from llm.hub.source import RUN, open_model
from llm.runs.run import Run
from tokenizer import BaseTokenizer
from tokenizer.models.char import UnknownCharacter

NAMES = {"unigram": 1, "bigram": 2, "trigram": 3}
MOST_CHARACTERS = 1 << 24  # of the text: of more, the counts would be better, and take longer


def baselines(path: str, tokenizer: BaseTokenizer) -> dict[str, NGram]:
    """The n-gram models to compare the model at `path` with."""
    ids = token_ids(text_of(path), tokenizer)
    return {name: NGram(tokenizer, ids, n) for name, n in NAMES.items()}


def with_baselines(result: Result, models: dict[str, NGram]) -> Result:
    """The result of a built-in task with those of other models beside it."""
    if result.task.name not in SUITE:
        return result
    return replace(result, baselines={name: evaluate_task(result.task, model) for name, model in models.items()})


def text_of(path: str) -> Corpus:
    """The text that a run has learned from, or the one that comes with Python."""
    if open_model(path).family == RUN:
        training = Run(path).options().training
        if training.objective == "text" and training.data != "-" and not is_missing_download(training.data):
            with suppress(ValueError):  # it is no longer there
                return open_corpus(training.data)
    return python_docs()


def token_ids(corpus: Corpus, tokenizer: BaseTokenizer) -> np.ndarray:
    """The tokens of the first documents, each after the token that begins a text."""
    ids: list[int] = []
    left = MOST_CHARACTERS
    for document in corpus.documents():
        ids += [] if tokenizer.end_of_text is None else [tokenizer.end_of_text]
        for chunk in document:
            with suppress(UnknownCharacter):  # a tokenizer of characters, and another text than its own
                ids += tokenizer.encode_ordinary(chunk[:left])
            left -= len(chunk)
            if left <= 0:
                return np.array(ids)
    return np.array(ids)
