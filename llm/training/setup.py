"""From options to a trainer: text, tokenizer, tokens, model, optimizer, and the checkpoint to continue from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from llm.data import Batches, Corpus, Dataset, evaluation_batches, learn_tokenizer, open_corpus, prepare
from llm.data.corpus import Progress
from llm.data.learned import LEARNED
from llm.evaluation.loss import Validation
from llm.model.gpt import GPT
from llm.parallel.runtime import return_freed_memory, set_blas_threads, threads_to_use
from llm.parallel.selection import make_workers
from llm.runs.checkpoints import Checkpoint
from llm.runs.options import Options, TrainOptions
from llm.runs.run import Run
from llm.training.display import stages
from llm.training.objectives import NextToken
from llm.training.step import learning_rate
from llm.training.trainer import Trainer
from minigrad.backend import pick_device
from minigrad.optim import AdamW
from tokenizer import BaseTokenizer
from tokenizer import load as load_tokenizer


def set_up(options: Options, run: Run) -> tuple[Trainer, BaseTokenizer]:
    """A trainer and its tokenizer. If the folder holds a run, the trainer continues from its newest checkpoint.

    Raises ValueError (DataError, RunError ...) or OSError, with a sentence for the user, when text, tokenizer, options
    or checkpoint cannot be used. The folder is not changed then.
    """
    training, resumes = options.training, run.exists
    device = pick_device(training.device)
    checkpoint = _newest_checkpoint(run) if resumes else None
    corpus = open_corpus(training.data)
    if corpus.omissions:
        print(corpus.omissions)
    # Takes time only once. The next run with the same text finds tokenizer and tokens in the cache.
    with stages() as report:
        if resumes:
            tokenizer = run.tokenizer()
        else:
            tokenizer = make_tokenizer(training.tokenizer, options.model.vocab_size, corpus, report)
        dataset = prepare(corpus, tokenizer, training.val_fraction, progress=report)
    return_freed_memory()  # learning and tokenizing need far more than training may
    # In a short text, fewer tokens can be learned than --vocab-size asks for. The tokenizer knows the real number.
    options = replace(options, model=replace(options.model, vocab_size=tokenizer.vocab_size))
    if checkpoint is not None:
        run.check_size(checkpoint, options.model)  # before a model is built, which may need much memory
    trainer = make_trainer(options, dataset, device)
    if checkpoint is not None:
        trainer.restore(checkpoint)  # replaces the initial weights
    # The folder of the run is written last, when everything that can fail has succeeded.
    _write(run, options, tokenizer, checkpoint)
    return trainer, tokenizer


def make_trainer(options: Options, dataset: Dataset, device: str) -> Trainer:
    """A trainer for next-token prediction, with weights drawn from the seed."""
    training, context = options.training, options.model.context
    count = worker_count(training, device)
    # Each of several workers has one core. A single worker leaves all cores to matrix products.
    set_blas_threads(1 if count > 1 else threads_to_use(training.threads))
    model = GPT(options.model, rng=np.random.default_rng(training.seed))
    model.to(device)
    # Workers before the optimizer: if they are processes, each gets a copy of all memory in use, see `Processes`.
    workers = make_workers(model, NextToken(), count)
    validation = evaluation_batches(dataset.val, training.batch_size, context, training.eval_batches)
    return Trainer(
        training,
        workers=workers,
        optimizer=make_optimizer(model, training),
        batches=Batches(dataset.train, training.batch_size, context, training.seed),
        schedule=learning_rate(training),
        validation=Validation(validation, dataset.bytes_per_token),
        data={"train": dataset.train.checksum, "val": dataset.val.checksum},
    )


def make_optimizer(model: GPT, training: TrainOptions) -> AdamW:
    """AdamW with weight decay on matrices and embeddings; biases and the weights of norms are not pulled towards 0."""
    return AdamW(
        model.named_parameters(),
        lr=training.lr,
        betas=(0.9, training.beta2),
        weight_decay=training.weight_decay,
        decay=lambda p: p.ndim >= 2,
    )


def worker_count(training: TrainOptions, device: str) -> int:
    """How many workers divide a batch: one for each core, at most one for each row; on a GPU a single one."""
    return min(threads_to_use(training.threads), training.batch_size) if device == "cpu" else 1


def make_tokenizer(kind: str, vocab_size: int, corpus: Corpus, progress: Progress | None = None) -> BaseTokenizer:
    """Learn a tokenizer from the corpus ("bpe", "char"), or load the one at the path `kind`."""
    return learn_tokenizer(corpus, kind, vocab_size, progress) if kind in LEARNED else load_tokenizer(kind)


def describe(trainer: Trainer, tokenizer: BaseTokenizer, run: Run) -> str:
    """What is about to be trained, in two lines."""
    training, batches, step = trainer.options, trainer.batches, trainer.state.step
    assert isinstance(batches, Batches)  # those of make_trainer
    workers = "1 thread" if trainer.workers.count == 1 else f"{trainer.workers.count} {trainer.workers.kind}"
    hardware = workers if trainer.model.device == "cpu" else trainer.model.device
    return (
        f"{trainer.model.num_parameters():,} parameters, vocabulary {tokenizer.vocab_size:,}, "
        f"context {batches.context:,}, {len(batches.tokens):,} training tokens ({training.data})\n"
        f"{f'from step {step:,}, ' if step else ''}{training.steps:,} steps of {training.batch_size} sequences, "
        f"{batches.steps_per_epoch:,} steps an epoch, on {hardware}; run folder {run}"
    )


def _newest_checkpoint(run: Run) -> Checkpoint | None:
    checkpoint = run.checkpoints.load()
    if checkpoint is not None:
        for problem in checkpoint.problems:
            print(f"{problem}; going back to the checkpoint of step {checkpoint.step}")
    return checkpoint


def _write(run: Run, options: Options, tokenizer: BaseTokenizer, checkpoint: Checkpoint | None) -> None:
    """Write the options (and for a new run the tokenizer) to the folder, and delete what a kill left behind."""
    run.clean()
    if run.exists:
        run.write_options(options)
    else:
        run.begin(options, tokenizer)
    if checkpoint is not None:
        # The run may have been killed after it saved the checkpoint, and before it linked its files.
        run.checkpoints.mend(checkpoint)
