"""Models, batches and gradients for tests of a training step."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.parallel.objective import Objective
from llm.parallel.processes import Processes
from llm.parallel.threads import Threads
from llm.parallel.workers import Workers
from llm.runs.options import TrainOptions
from llm.training.objectives import NextToken
from llm.training.optimizers import make_optimizer
from minigrad.optim import AdamW, Optimizer

V, T = 13, 6
OPTIMIZERS = st.sampled_from(["adamw", "muon"])
# float64: sums of some dozen terms in another order, where gradients are of size 1e-3 to 1
EXACT = {"rtol": 1e-10, "atol": 1e-13}
NEEDS_FORK = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux only")
KINDS = pytest.mark.parametrize("kind", [Threads, pytest.param(Processes, marks=NEEDS_FORK)])


def model_and_optimizer(dtype: Any = np.float64, **shape: Any) -> tuple[GPT, AdamW]:
    model = GPT(GPTConfig(vocab_size=V, context=T, layers=2, heads=2, dim=8, **shape), rng=1, dtype=dtype)
    return model, AdamW(model.named_parameters(), lr=0.01, weight_decay=0.1)


@contextmanager
def workers_of(
    model: GPT, count: int, kind: type[Workers] = Threads, objective: Objective | None = None
) -> Iterator[Workers]:
    workers = kind(model, objective or NextToken(), count)
    try:
        yield workers
    finally:
        workers.close()


def random_batch(seed: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    ids = np.random.default_rng(seed).integers(0, V, (rows, T + 1))
    return ids[:, :-1], ids[:, 1:]


def gradients(model: GPT) -> dict[str, np.ndarray]:
    return {name: p.grad.numpy().copy() for name, p in model.named_parameters() if p.grad is not None}


def assert_close(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], err_msg=name, **EXACT)


def optimizer_of(model: GPT, name: str, kind: Callable[[type[Optimizer]], Any] = lambda kind: kind) -> Optimizer:
    """Of the trained parameters, as train.py makes it. `name`: as --optimizer."""
    options: Any = {"optimizer": name, "lr": 0.01, "weight_decay": 0.1}
    return make_optimizer(model, TrainOptions(**options), kind)
