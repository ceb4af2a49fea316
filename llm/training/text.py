"""The task of plain text, which train.py has by default: predict each next token."""

from __future__ import annotations

import sys

from llm.data import Batches, Corpus, Dataset, evaluation_batches, learn_tokenizer, open_corpus, prepare
from llm.data.corpus import Progress
from llm.data.errors import DataError
from llm.data.learned import LEARNED
from llm.evaluation.loss import Validation
from llm.model.gpt import GPT
from llm.runs.errors import RunError
from llm.runs.options import Options, TrainOptions
from llm.runs.run import Run
from llm.training.checks import check_prompt
from llm.training.display import print_line, stages
from llm.training.objectives import NextToken
from llm.training.task import Parts, Task, kept_tokenizer, with_vocabulary
from tokenizer import BaseTokenizer
from tokenizer import load as load_tokenizer
from tokenizer.models.char import UnknownCharacter

SMALLEST_VOCABULARY = 257


class TextTask(Task):
    """Predict each next token of a text."""

    name = "text"

    def __init__(self, options: Options, run: Run):
        training = options.training
        corpus = open_again(run, training.data) if run.exists else open_corpus(training.data)
        if corpus.omissions:
            print_line(corpus.omissions)
        # Takes time only once. The next run with the same text finds tokenizer and tokens in the cache.
        with stages() as report:
            kept = kept_tokenizer(options, run)
            self.tokenizer = kept or make_tokenizer(training.tokenizer, options.model.vocab_size, corpus, report)
            check_prompt(self.tokenizer, training.prompt)
            self.dataset = tokenize(corpus, self.tokenizer, training, report)
        # In a short text, fewer tokens can be learned than --vocab-size asks for. The tokenizer knows the real number.
        self.options = with_vocabulary(options, self.tokenizer)

    def parts(self, model: GPT) -> Parts:
        return text_parts(self.options, self.dataset)


def text_parts(options: Options, dataset: Dataset) -> Parts:
    """Windows of a tokenized text, each token of which is to be predicted."""
    training, context = options.training, options.context
    batches = Batches(dataset.train, training.batch_size, context, training.seed)
    validation = evaluation_batches(dataset.val, training.batch_size, context, training.eval_batches)
    return Parts(
        NextToken(),
        batches,
        Validation(validation, dataset.bytes_per_token),
        data={"train": dataset.train.checksum, "val": dataset.val.checksum},
        description=f"{len(dataset.train):,} training tokens ({training.data}), {batches.steps_per_epoch:,} steps an "
        "epoch",
    )


def open_again(run: Run, data: str) -> Corpus:
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


def tokenize(corpus: Corpus, tokenizer: BaseTokenizer, training: TrainOptions, progress: Progress) -> Dataset:
    try:
        return prepare(corpus, tokenizer, training.val_fraction, progress=progress)
    except UnknownCharacter as error:
        raise ValueError(
            f"{error.character!r} in the text is not among the {error.known} characters of {training.tokenizer}; use "
            "--tokenizer char or bpe, which learn from the text"
        ) from None


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
