"""From options to something that can be trained: text, tokenizer, tokens, model, and the checkpoint to go on from."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import tokenizer
from llm.data.corpora import open_corpus
from llm.data.corpus import Corpus
from llm.data.dataset import prepare
from llm.parallel.runtime import set_blas_threads, threads_to_use
from llm.runs.options import Options, TrainOptions
from llm.runs.run import Checkpoint, Run
from llm.training.display import stages
from llm.training.trainer import Trainer
from minigrad.backend import pick_device
from tokenizer.text.special_tokens import END_OF_TEXT


def set_up(options: Options, run: Run) -> tuple[Trainer, Any, Run]:
    """A trainer, with its tokenizer and run: a new one, or the one in the folder at its newest good checkpoint.

    Raises ValueError (DataError, RunError, ...) or OSError with a sentence when text, tokenizer, options or checkpoint
    cannot be used; a run that is there is as it was then.
    """
    training, resumes = options.training, run.exists
    device = pick_device(training.device)
    checkpoint = _newest(run) if resumes else None
    corpus = open_corpus(training.data)
    tokens = run.tokenizer() if resumes else make_tokenizer(training.tokenizer, options.model.vocab_size, corpus)
    with stages() as report:
        dataset = prepare(corpus, tokens, training.val_fraction, progress=partial(report, "tokenizing"))
    options = replace(options, model=replace(options.model, vocab_size=tokens.vocab_size))
    workers = worker_count(training, device)
    set_blas_threads(1 if workers > 1 else threads_to_use(training.threads))
    trainer = Trainer(options, dataset, device, workers)
    if checkpoint is not None:
        trainer.restore(checkpoint)
    _write(run, options, tokens, checkpoint)
    return trainer, tokens, run


def worker_count(training: TrainOptions, device: str) -> int:
    """Threads that share a batch. On a GPU one is enough to keep it busy."""
    return min(threads_to_use(training.threads), training.batch_size) if device == "cpu" else 1


def _newest(run: Run) -> Checkpoint | None:
    checkpoint = run.load()
    if checkpoint is not None:
        for complaint in checkpoint.complaints:
            print(f"{complaint}; going back to the checkpoint of step {checkpoint.step}")
    return checkpoint


def _write(run: Run, options: Options, tokens: Any, checkpoint: Checkpoint | None) -> None:
    """Bring the folder up to date, now that nothing speaks against training there."""
    run.clean()
    if run.exists:
        run.write_options(options)
    else:
        run.begin(options, tokens)
    if checkpoint is not None:
        run.link(checkpoint.step)  # a kill may have come between the checkpoint and its second name


def make_tokenizer(kind: str, vocab_size: int, corpus: Corpus) -> Any:
    """Learn a tokenizer from the corpus ("bpe", "char"), or load the one at the path `kind`."""
    if kind == "char":
        return tokenizer.CharTokenizer.train(corpus)
    if kind != "bpe":
        return tokenizer.load(kind)
    with stages() as report:
        return tokenizer.Tokenizer.train(corpus, vocab_size, special_tokens=(END_OF_TEXT,), progress=report)
