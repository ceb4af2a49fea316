"""What a run learns. The trainer, its loop and its checkpoints are the same for all tasks.

    text                                        predict the next token of a text: text.py
    chat classify preference ... translate      llm/tuning/tasks.py

A run opens its task, then makes the model, and then asks the task for what the trainer needs (setup.py):

    task = TextTask(options, run)       reads data and tokenizer, which decide how many tokens the model knows
    model = task.extend(model)          a model that is made of `task.options`; a classifier adds its head here
    parts = task.parts(model)           objective, batches and validation

All that is random comes from `options.training.seed` and the step, so that a run that was killed goes on exactly.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from llm.evaluation.loss import Evaluation
from llm.model.gpt import GPT
from llm.parallel.objective import Batch, Objective
from llm.parallel.workers import Workers
from llm.runs.options import Options
from llm.runs.run import Run
from llm.training.base import base_tokenizer
from tokenizer import BaseTokenizer

# Takes (model, tokenizer, prompt, seed), returns what the model writes after the prompt. train.py passes in the
# function of llm/inference, tests pass a shorter one.
SampleWriter = Callable[[GPT, BaseTokenizer, str, int], str]


class BatchSource(Protocol):
    """Where batches come from, such as `llm.data.Batches`."""

    def batch(self, step: int) -> Batch:
        """The batch of a step. The same step must always get the same batch, or a resumed run would end differently."""
        ...


@runtime_checkable
class ChangingBatches(BatchSource, Protocol):
    """Batches that depend on the weights, such as texts that the model writes itself: they are not the same again."""

    measures: Mapping[str, float]  # of the newest batch, such as its mean reward

    def state_dict(self) -> Mapping[str, np.ndarray]:
        """What a resumed run needs, beside the weights and the step. It is saved in checkpoints."""
        ...

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None: ...


class Validator(Protocol):
    """How a model is judged, such as `llm.evaluation.loss.Validation`: the mean loss of fixed batches."""

    def evaluate(self, workers: Workers) -> Evaluation: ...


@dataclass(frozen=True)
class Parts:
    """What the trainer gets from a task."""

    objective: Objective
    batches: BatchSource
    validation: Validator
    data: Mapping[str, str]  # checksums by name, {"train": ..., "val": ...}: with other data, no run is resumed
    description: str  # of the data, in a line such as "1,000 training tokens (my.txt), 10 steps an epoch"


class Task(ABC):
    """A task whose data and tokenizer have been read.

    `__init__(options, run)` reads them; it raises ValueError (DataError, RunError ...) or OSError, with a sentence for
    the user, and leaves the folder of the run as it is. `options` are then those of the model that can be made.
    """

    name: ClassVar[str]  # the value of --objective
    rows: ClassVar[str] = "sequences"  # what the rows of a batch are, for messages
    options: Options
    tokenizer: BaseTokenizer

    @abstractmethod
    def parts(self, model: GPT) -> Parts:
        """Objective, batches, validation. When a run is resumed, `model` has the weights of the checkpoint."""

    def extend(self, model: GPT) -> GPT:
        """The model that is trained: `model`, or a larger one around it."""
        return model

    def about(self) -> dict[str, Any]:
        """JSON values that are needed to open the run later, such as the names of classes; config.json keeps them."""
        return {}

    def write(self, run: Run) -> None:
        """Write what the task needs to resume, such as numbers of the model at --from, if the run lacks it. Called
        last, before the first step and when a run is resumed.
        """
        return

    def sample(self, model: GPT, write: SampleWriter) -> str:
        """A text that shows what the model has learned, with the prompt that it begins with."""
        training = self.options.training
        return training.prompt + write(model, self.tokenizer, training.prompt, training.seed)

    def report(self, model: GPT, run: Run) -> str:
        """What is printed at the end, when the last step is done: how good the model is. "": nothing."""
        return ""


TaskKind = Callable[[Options, Run], Task]  # a class of tasks: reads the data


def kept_tokenizer(options: Options, run: Run) -> BaseTokenizer | None:
    """The tokenizer of a run that is resumed, or of the model at --from; None if there is neither."""
    if run.exists:
        return run.tokenizer()
    return None if options.training.from_ is None else base_tokenizer(options.training, options.model.vocab_size)


def with_vocabulary(options: Options, tokenizer: BaseTokenizer) -> Options:
    """The options for a model that knows all tokens of the tokenizer."""
    size = tokenizer.vocab_size
    if options.training.from_ is not None:  # a model of others may have more ids than its tokenizer
        size = max(size, options.model.vocab_size)
    return replace(options, model=replace(options.model, vocab_size=size))


def without_dropout(options: Options) -> Options:
    """The options for a model that is compared with what it, or a reference, said without dropout.

    With dropout the two would differ from the first step on. Raises ValueError if an adapter shall have it.
    """
    if options.tuning.lora_dropout:
        raise ValueError(
            f"--lora-dropout does not go with --objective {options.training.objective}: model and reference have no "
            "dropout"
        )
    return replace(options, model=replace(options.model, dropout=0.0))
