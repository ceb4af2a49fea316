"""Several pipelines, each with some rows of the batch: data and pipeline parallelism, and ZeRO."""

from __future__ import annotations

from collections.abc import Sequence

from llm.parallel.data.ranks import Ranks
from llm.parallel.data.reduction import Reduction
from llm.parallel.model_part import ModelPart
from llm.parallel.objective import Objective
from llm.parallel.pipeline.executor import Pipeline
from llm.parallel.pipeline.stages import Stage
from llm.parallel.workers import WorkerBatch


class PipelineRanks(Pipeline, Ranks):
    """The stages of a rank. `reduction` knows the ranks that have the same stages, each in a pipeline of its own.

    Also with ZeRO 2 and 3, gradients are reduced once: a stage adds up those of all micro-batches that are under way.
    So it holds them whole until the last one is back.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        objective: Objective,
        reduction: Reduction,
        schedule: str = "1f1b",
        part: ModelPart | None = None,
    ):
        Ranks.__init__(self, stages[0], objective, 1, reduction, part)
        self.reduces_often = False
        self._set_up(stages, schedule)

    def _accumulate_all(self, micro_batches: Sequence[list[WorkerBatch]]) -> float:
        loss = super()._accumulate_all(micro_batches)
        self.reduction.begin()
        self.reduction.finish()
        return loss
