"""Tasks with right answers that the model solves at each evaluation: --eval-task. Imported only if there are some."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

from llm.evaluation.loss import Evaluation
from llm.evaluation.task_arguments import open_tasks
from llm.evaluation.tasks.items import Task
from llm.evaluation.tasks.predictors import LanguageModel, refuse_unscorable
from llm.evaluation.tasks.results import evaluate_task
from llm.model.gpt import GPT
from llm.parallel.blas import blas_threads, limited_blas_threads
from llm.parallel.workers import Workers
from llm.runs.options import TrainOptions
from llm.training.task import Parts, Validator
from llm.training.trained import WITHOUT_LOGITS
from tokenizer import BaseTokenizer


@dataclass(frozen=True)
class WithTasks:
    """A validation that also lets the model solve tasks. Nothing in it is drawn, so a resumed run goes on exactly."""

    validation: Validator
    tasks: Sequence[Task]
    tokenizer: BaseTokenizer
    threads: int | None  # as --threads

    def evaluate(self, workers: Workers) -> Evaluation:
        evaluation = self.validation.evaluate(workers)
        model = workers.model
        # The workers wait meanwhile. So the cores are free for matrix products.
        threads = blas_threads(self.threads, model.num_parameters())
        with limited_blas_threads(threads) if model.device == "cpu" else nullcontext():
            return replace(evaluation, tasks={task.name: score(task, model, self.tokenizer) for task in self.tasks})


def score(task: Task, model: GPT, tokenizer: BaseTokenizer) -> float:
    """The main measure of a task; NaN for a model that has diverged."""
    try:
        result = evaluate_task(task, LanguageModel(model, tokenizer))
    except ValueError:  # the items were checked before, so it is the model
        return math.nan
    return result.measures[result.main].value


def eval_tasks(training: TrainOptions) -> list[Task]:
    """The tasks of --eval-task. Raises ValueError or OSError, with a sentence for the user."""
    if training.objective in WITHOUT_LOGITS:
        raise ValueError(
            f"--eval-task does not go with --objective {training.objective}: the model predicts no tokens; leave it out"
        )
    kept: list[str] = []
    for given in training.eval_task:
        kept = [] if given == "none" else [*kept, given]
    return open_tasks(kept, limit=training.eval_task_items)


def with_tasks(parts: Parts, tasks: Sequence[Task], model: GPT, tokenizer: BaseTokenizer, threads: int | None) -> Parts:
    """The same with tasks in its validation. Raises ValueError if the model cannot read one of them."""
    for task in tasks:
        if task.description.score == "classes":
            raise ValueError(f"--eval-task {task.name} is for a classifier; choose another task")
        try:
            refuse_unscorable(task, LanguageModel(model, tokenizer))
        except ValueError as error:
            raise ValueError(f"--eval-task {task.name}: {error}") from None
    return replace(parts, validation=WithTasks(parts.validation, tasks, tokenizer, threads))
