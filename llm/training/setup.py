"""From options to a trainer: text, tokenizer, tokens, model, optimizer, and the checkpoint to continue from."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np

from llm.data import Batches, Corpus, Dataset, evaluation_batches, learn_tokenizer, open_corpus, prepare
from llm.data.corpus import Progress
from llm.data.errors import DataError
from llm.data.learned import LEARNED
from llm.evaluation.loss import Validation
from llm.model.gpt import GPT
from llm.parallel.blas import blas_threads
from llm.parallel.objective import rows_at_once
from llm.parallel.runtime import return_freed_memory, set_blas_threads, threads_to_use
from llm.parallel.selection import make_workers
from llm.runs.checkpoints import Checkpoint
from llm.runs.errors import RunError
from llm.runs.options import Options, TrainOptions
from llm.runs.run import Run
from llm.training.base import base_model, base_tokenizer
from llm.training.checks import check_prompt, check_room, problems_of_schedule
from llm.training.display import print_line, stages
from llm.training.memory import advised
from llm.training.objectives import NextToken
from llm.training.step import learning_rate
from llm.training.trainer import Trainer
from minigrad.backend import pick_device
from minigrad.optim import AdamW
from tokenizer import BaseTokenizer
from tokenizer import load as load_tokenizer
from tokenizer.models.char import UnknownCharacter

SMALLEST_VOCABULARY = 257


def set_up(options: Options, run: Run) -> tuple[Trainer, BaseTokenizer]:
    """A trainer and its tokenizer. If the folder holds a run, the trainer continues from its newest checkpoint.

    Raises ValueError (DataError, RunError ...) or OSError, with a sentence for the user, when text, tokenizer, options
    or checkpoint cannot be used. The folder is not changed then.
    """
    training, resumes = options.training, run.exists
    device = pick_device(training.device)
    checkpoint = _newest_checkpoint(run) if resumes else None
    corpus = _open_again(run, training.data) if resumes else open_corpus(training.data)
    if corpus.omissions:
        print_line(corpus.omissions)
    # Takes time only once. The next run with the same text finds tokenizer and tokens in the cache.
    with stages() as report:
        if resumes:
            tokenizer = run.tokenizer()
        elif training.from_ is not None:
            tokenizer = base_tokenizer(training, options.model.vocab_size)
        else:
            tokenizer = make_tokenizer(training.tokenizer, options.model.vocab_size, corpus, report)
        check_prompt(tokenizer, training.prompt)
        dataset = _tokenize(corpus, tokenizer, training, report)
    return_freed_memory()  # learning and tokenizing need far more than training may
    if training.from_ is None:  # a model of others may have more ids than its tokenizer
        # In a short text, fewer tokens can be learned than --vocab-size asks for. The tokenizer knows the real number.
        options = replace(options, model=replace(options.model, vocab_size=tokenizer.vocab_size))
    if checkpoint is not None:
        run.check_size(checkpoint, options.model)  # before a model is built, which may need much memory
    with advised(options, worker_count(training, device)):
        trainer = make_trainer(options, dataset, device, initial_model(options, restored=checkpoint is not None))
    if checkpoint is not None:
        trainer.restore(checkpoint)  # replaces the initial weights
    if not trainer.finished:
        check_room(run.folder, trainer.checkpoint())
    # The folder of the run is written last, when everything that can fail has succeeded.
    _write(run, options, tokenizer, checkpoint)
    return trainer, tokenizer


def _open_again(run: Run, data: str) -> Corpus:
    """The corpus of a run that is resumed."""
    if data != "-":
        return open_corpus(data)
    # The text from the pipe was not kept, so it must be given again. A terminal is not read: users would not know what
    # the program waits for.
    try:
        if not sys.stdin.isatty():
            return open_corpus(data)
    except DataError:  # nothing comes through the pipe
        pass
    raise RunError(
        f"{run} learns from standard input, which is not kept; give the same text there again, or as --data FILE"
    )


def _tokenize(corpus: Corpus, tokenizer: BaseTokenizer, training: TrainOptions, progress: Progress) -> Dataset:
    try:
        return prepare(corpus, tokenizer, training.val_fraction, progress=progress)
    except UnknownCharacter as error:
        raise ValueError(
            f"{error.character!r} in the text is not among the {error.known} characters of {training.tokenizer}; use "
            "--tokenizer char or bpe, which learn from the text"
        ) from None


def initial_model(options: Options, *, restored: bool) -> GPT:
    """The model before the first step: that of --from, or one with weights drawn from the seed.

    `restored`: a checkpoint will replace all weights. A run that was stopped before its first one has none.
    """
    if options.training.from_ is None:
        return GPT(options.model, rng=np.random.default_rng(options.training.seed))
    return GPT(options.model, rng=None) if restored else base_model(options)


def make_trainer(options: Options, dataset: Dataset, device: str, model: GPT) -> Trainer:
    """A trainer of the model for next-token prediction."""
    training, context = options.training, options.model.context
    count = worker_count(training, device)
    model.train()
    model.recompute = training.recompute
    # Each of several workers has one core. A single worker leaves its cores to matrix products.
    set_blas_threads(1 if count > 1 else blas_threads(training.threads, model.num_parameters()))
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
    """How many workers divide a micro-batch: one for each core, at most one for each row; on a GPU a single one."""
    rows = rows_at_once(training.batch_size, training.micro_batches)
    return min(threads_to_use(training.threads), rows) if device == "cpu" else 1


def make_tokenizer(kind: str, vocab_size: int, corpus: Corpus, progress: Progress | None = None) -> BaseTokenizer:
    """Learn a tokenizer from the corpus ("bpe", "char"), or load the one at the path `kind`."""
    check_vocab_size(kind, vocab_size)
    return learn_tokenizer(corpus, kind, vocab_size, progress) if kind in LEARNED else load_tokenizer(kind)


def check_vocab_size(kind: str, vocab_size: int) -> None:
    """Raise ValueError if a tokenizer of this kind cannot have so few tokens."""
    if kind == "bpe" and vocab_size < SMALLEST_VOCABULARY:
        raise ValueError(
            f"--vocab-size {vocab_size} is too small for --tokenizer bpe; give at least {SMALLEST_VOCABULARY}, for the "
            "256 bytes and the end of a text"
        )


def describe(trainer: Trainer, tokenizer: BaseTokenizer, run: Run) -> str:
    """What is about to be trained, in lines that fit into 80 columns unless names are long."""
    training, batches, step = trainer.options, trainer.batches, trainer.state.step
    assert isinstance(batches, Batches)  # those of make_trainer
    workers = "1 thread" if trainer.workers.count == 1 else f"{trainer.workers.count} {trainer.workers.kind}"
    hardware = workers if trainer.model.device == "cpu" else trainer.model.device
    lines = [
        f"{trainer.model.num_parameters():,} parameters, vocabulary {tokenizer.vocab_size:,}, "
        f"context {batches.context:,}, on {hardware}",
        f"{len(batches.tokens):,} training tokens ({training.data}), {batches.steps_per_epoch:,} steps an epoch",
        *([f"begins with the weights of {training.from_}"] if training.from_ and not step else []),
        f"{f'from step {step:,}, ' if step else ''}{training.steps:,} steps of {training.batch_size} sequences; "
        f"run folder {run}",
    ]
    return "\n".join(lines + problems_of_schedule(training))


def _newest_checkpoint(run: Run) -> Checkpoint | None:
    checkpoint = run.checkpoints.load()
    if checkpoint is not None:
        for problem in checkpoint.problems:
            print_line(f"{problem}; going back to the checkpoint of step {checkpoint.step}")
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
