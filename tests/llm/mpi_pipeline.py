"""A program for mpiexec: a step in stages, compared with one process. Rank 0 prints what it has found, as JSON.

mpiexec -n 2 python -m tests.llm.mpi_pipeline 1f1b 1
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import numpy as np

from llm.parallel.communicators.mpi import Processes
from llm.parallel.pipeline.executor import Pipeline
from llm.parallel.pipeline.timeline import bubble
from llm.training.objectives import NextToken
from tests.llm.test_parallel_pipeline import MIXTURE, data, in_one_process, stages_of, whole_model

MICRO_BATCHES = 4


def main(schedule: str, chunks: int) -> None:
    group = Processes()
    model = whole_model(replace(MIXTURE, tied_head=True), 1)
    batch = data(model.config, 2, rows=8)
    wanted_loss, wanted = in_one_process(model, batch, MICRO_BATCHES)
    stages = stages_of(model, group, chunks)
    pipeline = Pipeline(stages, NextToken(), schedule)
    loss = pipeline.accumulate(batch, micro_batches=MICRO_BATCHES, seed=(3, 4))
    gradients = {name: p.grad.data for stage in stages for name, p in stage.named_parameters()}
    errors = [np.abs(g - wanted[name]).max() / np.abs(wanted[name]).max() for name, g in gradients.items()]
    found = group.exchange_objects([(abs(loss / wanted_loss - 1), max(errors), sorted(gradients))] * group.size)
    spans = pipeline.timeline()
    if group.rank == 0:
        names = sorted({name for _, _, names in found for name in names})
        loss_error, error = (max(each[i] for each in found) for i in range(2))
        print(json.dumps({"loss": loss_error, "gradients": error, "all": names == sorted(wanted), "spans": len(spans),
                          "bubble": bubble(spans)}))  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
