"""From options to something that can be trained: text, tokenizer, tokens, model, and the checkpoint to go on from."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from tqdm import tqdm

import tokenizer
from llm.data.corpora import open_corpus
from llm.data.corpus import Corpus
from llm.data.dataset import prepare
from llm.training.options import Options, TrainOptions
from llm.training.run import Run
from llm.training.trainer import Trainer
from minigrad.backend import pick_device
from tokenizer.special import END_OF_TEXT


def set_up(options: Options, run: Run) -> Trainer:
    """A trainer for a new run in the folder, or for the one that is there, at its newest good checkpoint.

    Raises ValueError (DataError, RunError, ...) with a sentence when text, tokenizer, options or checkpoint cannot be used.
    """
    training = options.training
    device = pick_device(training.device)
    corpus = open_corpus(training.data)
    tokens = run.tokenizer() if run.exists else make_tokenizer(training.tokenizer, options.model.vocab_size, corpus)
    with progress() as report:
        dataset = prepare(corpus, tokens, training.val_fraction, progress=partial(report, "tokenizing"))
    options = replace(options, model=replace(options.model, vocab_size=tokens.vocab_size))
    trainer = Trainer(options, run, tokens, dataset, device)
    run.begin(options, tokens)
    run.clean()
    checkpoint = run.load()
    if checkpoint is not None:
        for complaint in checkpoint.complaints:
            print(f"{complaint}; going back to the checkpoint of step {checkpoint.step}")
        trainer.restore(checkpoint)
    return trainer


def make_tokenizer(kind: str, vocab_size: int, corpus: Corpus) -> Any:
    """Learn a tokenizer from the corpus ("bpe", "char"), or load the one at the path `kind`."""
    if kind == "char":
        return tokenizer.CharTokenizer.train(corpus)
    if kind != "bpe":
        return tokenizer.load(kind)
    with progress() as report:
        return tokenizer.Tokenizer.train(corpus, vocab_size, special_tokens=(END_OF_TEXT,), progress=report)


def describe(trainer: Trainer, options: TrainOptions) -> str:
    """What is about to be trained, in two lines."""
    parameters = sum(p.size for p in trainer.model.parameters())
    return (f"{parameters:,} parameters, vocabulary {trainer.tokenizer.vocab_size:,}, context {trainer.batches.context}, "
            f"{len(trainer.batches.tokens):,} training tokens ({options.data})\n"
            f"{options.steps:,} steps of {options.batch_size} sequences, {trainer.batches.steps_per_epoch:,} steps an epoch; "
            f"run folder {trainer.run}")


@contextmanager
def progress() -> Iterator[Callable[[str, int, int | None], None]]:
    """Progress bars as a function of the stage, what is done and the total (None: not known); one for each stage that is reported."""
    bars: dict[str, tqdm] = {}

    def report(stage: str, done: int, total: int | None) -> None:
        if stage not in bars:
            bars[stage] = tqdm(total=total, desc=stage, unit="", unit_scale=True, leave=False)
        bars[stage].update(done - bars[stage].n)

    try:
        yield report
    finally:
        for bar in bars.values():
            bar.close()
