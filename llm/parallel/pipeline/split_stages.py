"""A stage of a pipeline whose every layer is split over ranks: pipeline and tensor parallelism together."""

from __future__ import annotations

from llm.parallel.pipeline.stages import Stage
from llm.parallel.tensor.gpt import SplitGPT


class SplitStage(Stage, SplitGPT):
    """`SplitStage(config, mesh.pipeline, mesh.tensor, ...)`: which layers, and which part of each of them.

    The ranks of a tensor group have the same layers. Between stages, x is whole: each rank sends it to the rank with
    its own place in the tensor group of the next stage.
    """

    initialize = SplitGPT.initialize  # draws the weights of the whole model, and keeps the part of this rank
