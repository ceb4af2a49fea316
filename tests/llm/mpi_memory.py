"""A program for mpiexec: the memory that each rank takes in a step, measured and predicted. Rank 0 prints JSON.

mpiexec -n 2 python -m tests.llm.mpi_memory        # ranks are stages of a pipeline
mpiexec -n 2 python -m tests.llm.mpi_memory 3      # data ranks, with ZeRO 3
"""

from __future__ import annotations

import json
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.parallel.communicators.mpi import Processes
from llm.parallel.data.ranks import Ranks
from llm.parallel.pipeline.executor import Pipeline
from llm.parallel.pipeline.stages import Stage
from llm.parallel.plan.memory import FULL, RankMemory, rank_memory
from llm.parallel.plan.split import Split
from llm.parallel.zero.kinds import sharded
from llm.training.objectives import NextToken
from llm.training.step import train_step
from minigrad.optim import AdamW

CONFIG = GPTConfig(vocab_size=256, context=128, layers=8, heads=4, dim=192)
ROWS, MICRO_BATCHES = 4, 3


def pipeline(group: Processes) -> tuple[int, RankMemory]:
    stage = Stage(CONFIG, group, 0)
    stage.train()
    pipeline = Pipeline([stage], NextToken())
    ids = texts(ROWS * MICRO_BATCHES)
    peak = peak_of(lambda: pipeline.accumulate((ids, ids), micro_batches=MICRO_BATCHES))
    split = Split(pipeline=group.size, rows=ROWS)
    predicted = rank_memory(CONFIG, split, len(ids), CONFIG.context, FULL, group.rank)
    return peak, replace(predicted, optimizer=0)


def data(group: Processes, zero: int) -> tuple[int, RankMemory]:
    model = GPT(CONFIG)
    optimizer, reduction = sharded(zero, model, lambda kind: kind(AdamW)(model.named_trainable(), lr=0.01), group)
    workers, ids = Ranks(model, NextToken(), 1, reduction), texts(ROWS * group.size)
    peak = peak_of(lambda: train_step(workers, optimizer, (ids, ids), lr=0.01, clip=1.0))
    workers.close()
    split = Split(data=group.size, rows=ROWS, zero=zero, recompute=zero == 3)
    return peak, rank_memory(CONFIG, split, len(ids), CONFIG.context, FULL)


def texts(rows: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, CONFIG.vocab_size, (rows, CONFIG.context))


def peak_of(step: Callable[[], Any]) -> int:
    """Of the second step: in the first one, tables and gradients are made."""
    step()
    tracemalloc.reset_peak()
    step()
    return tracemalloc.get_traced_memory()[1]


def main() -> None:
    group, zero = Processes(), [int(argument) for argument in sys.argv[1:]]
    tracemalloc.start()
    measured, predicted = data(group, *zero) if zero else pipeline(group)
    found = group.exchange_objects([(measured, predicted.total)] * group.size)
    if group.rank == 0:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
