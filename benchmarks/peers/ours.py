"""minigrad, as train.py and generate.py use it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.competitor import Work
from benchmarks.peers.training import BETAS, CLIP, DECAY, EPS, RATE, trainer
from benchmarks.task import Task
from llm.parallel.runtime import keep_freed_memory, set_blas_threads, set_switch_interval


def train(task: Task) -> Work:
    """Forward, backward, clipping, AdamW, with one worker for each thread."""
    return _trainer(task, *_team(task))


def train_in_threads(task: Task) -> Work:
    """The same, always with threads, also for small models."""
    from llm.parallel.threads import Threads

    return _trainer(task, *_team(task, Threads))


def _trainer(task: Task, team: Any, optimizer: Any) -> Work:
    from llm.training.step import train_step

    return trainer(task, lambda x, y: train_step(team, optimizer, (x, y), lr=RATE, clip=CLIP).loss)


def update(task: Task) -> Work:
    """Only clipping and AdamW, with the gradients of the first batch."""
    from minigrad.optim import clip_grad_norm

    team, optimizer = _team(task)
    ids = task.ids()[0]
    team.accumulate((ids[:, :-1], ids[:, 1:]))

    def work() -> dict[str, float]:
        norm = float(clip_grad_norm(optimizer, CLIP, team.parallel_slices))
        optimizer.step(lr=RATE, parallel=team.parallel_slices)
        return {"norm": norm}

    return work


def learn(task: Task) -> Work:
    """What train.py does, without its display and checkpoints."""
    from benchmarks.learning_plan import LearningPlan
    from benchmarks.peers.learning import learner
    from llm.runs.options import Options
    from llm.runs.run import Run
    from llm.training.setup import set_up

    keep_freed_memory()
    set_switch_interval()
    plan = LearningPlan.read(task.folder)
    trainer, _ = set_up(Options.from_json(plan.options), Run(task.folder / "run"))
    return learner(plan, lambda step: trainer.update(), lambda: trainer.evaluate()[0].loss)


def train_unfused(task: Task) -> Work:
    """The same without fused functions: each is replaced by its definition in primitives."""
    from minigrad.fused import functions as fused

    definitions = {
        id(getattr(fused, name.removesuffix("_reference"))): getattr(fused, name)
        for name in fused.__all__
        if name.endswith("_reference")
    }
    for module in [module for name, module in sys.modules.items() if name.startswith("minigrad")]:
        for name, value in list(vars(module).items()):
            if id(value) in definitions:
                setattr(module, name, definitions[id(value)])  # llm is imported after this and gets the definitions
    return train(task)


def decode(task: Task) -> Work:
    """Read a prompt, then write one token after the other; see decoding.py."""
    from benchmarks.peers.decoding import decoder

    return decoder(task, *_reader(task))


def prefill(task: Task) -> Work:
    """Read a whole text."""
    from benchmarks.peers.decoding import prefiller

    return prefiller(task, *_reader(task))


def _reader(task: Task) -> tuple[Callable[[], Any], Callable[[np.ndarray, Any], np.ndarray]]:
    from llm.model.kv_cache import KVCache
    from minigrad import no_grad

    keep_freed_memory()
    set_blas_threads(task.threads)
    model = _model(task).eval()

    def read(ids: np.ndarray, cache: Any) -> np.ndarray:
        with no_grad():
            x = model.hidden(ids, cache=cache)  # (B, T, C)
            return model.logits(x[:, -1]).numpy()  # (B, V)

    return lambda: KVCache(task.config), read


def _team(task: Task, make: Callable[[Any, Any, int], Any] | None = None) -> tuple[Any, Any]:
    """The workers (by `make`, or as in train.py) and the optimizer; the process has the settings of train.py."""
    from llm.parallel.selection import make_workers
    from llm.training.objectives import NextToken
    from minigrad.optim import AdamW

    keep_freed_memory()
    set_switch_interval()
    workers = min(task.threads, task.batch) if task.device == "cpu" else 1
    set_blas_threads(1 if workers > 1 else task.threads)
    model = _model(task)
    team = (make or make_workers)(model, NextToken(), workers)
    optimizer = AdamW(
        model.named_parameters(), lr=RATE, betas=BETAS, eps=EPS, weight_decay=DECAY, decay=lambda p: p.ndim >= 2
    )
    return team, optimizer


def _model(task: Task) -> Any:
    from llm.model.gpt import GPT

    model = GPT(task.config, rng=None)
    parameters = dict(model.named_parameters())
    for name, array in task.weights():
        parameters[name].data[...] = array
    return model.to(task.device)
