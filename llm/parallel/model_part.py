"""The part of a model that a rank has, and how it is put together with those of other ranks.

`mesh.model` is the group of ranks that have a model together: some layers each (pipeline), and of each layer some heads
and some hidden units (tensor). A checkpoint knows nothing of it: rank 0 gathers the parts, and each rank takes its own
part of what was saved.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.parallel.context.gpt import ContextGPT
from llm.parallel.mesh import Mesh
from llm.parallel.pipeline.split_stages import SplitStage
from llm.parallel.pipeline.stages import Stage
from llm.parallel.shapes import parameter_shapes
from llm.parallel.shards import shard
from llm.parallel.tensor.gpt import SplitGPT
from llm.parallel.tensor.weights import gather_state
from llm.runs.checkpoints import Checkpoint
from minigrad.backend import Array


class ModelPart:
    """What this rank has of a model of this configuration. `ranks`: those that have it together.

    `sequence`: whether tensor ranks divide the tokens too.
    """

    def __init__(self, mesh: Mesh, config: GPTConfig, *, sequence: bool = False):
        self.mesh, self.config, self.ranks, self.sequence = mesh, config, mesh.model, sequence
        self.shapes = dict(parameter_shapes(config))  # of the whole model

    @property
    def num_parameters(self) -> int:
        """Of the whole model."""
        return sum(map(math.prod, self.shapes.values()))

    # --- the model ----------------------------------------------------------------------------------------------------

    def make(self, rng: np.random.Generator | int | None, dtype: Any = np.float32) -> GPT:
        """The model of this rank, as `GPT(config, rng, dtype)`. The same seed gives its part of the same weights."""
        config, tensor, pipeline = self.config, self.mesh.tensor, self.mesh.pipeline
        match pipeline.size > 1, tensor.size > 1:
            case True, True:
                return SplitStage(config, pipeline, tensor, rng, dtype, sequence=self.sequence)
            case True, False:
                return Stage(config, pipeline, rng, dtype)
            case False, True:
                return SplitGPT(config, tensor, rng, dtype, sequence=self.sequence)
        if self.mesh.context.size > 1:
            return ContextGPT(config, self.mesh.context, rng, dtype)
        return GPT(config, rng, dtype)

    def of(self, whole: GPT) -> GPT:
        """The part of this rank of a model that is whole."""
        if self.ranks.size * self.mesh.context.size == 1:
            return whole
        model = self.make(None, whole.dtype)
        model.load_state_dict(self._own(whole.state_dict(), set(dict(model.named_parameters()))))
        model.family, model.path = whole.family, whole.path
        return model

    # --- checkpoints --------------------------------------------------------------------------------------------------

    def own(self, checkpoint: Checkpoint, model: GPT) -> Checkpoint:
        """The part of a checkpoint that belongs to the model of this rank. What does not fit is kept: for the error."""
        if self.ranks.size == 1:
            return checkpoint
        names = set(dict(model.named_parameters()))
        weights, optimizer = self._own(checkpoint.weights, names), self._own(checkpoint.optimizer, names)
        return replace(checkpoint, weights=weights, optimizer=optimizer)

    def _own(self, state: Mapping[str, Array], names: set[str]) -> dict[str, Array]:
        """`names`: the parameters of this rank. Keys are names too, or such as "exp_avg.NAME"."""
        own = {}
        for key, array in state.items():
            name = key if key in self.shapes else key.partition(".")[2]
            if name not in self.shapes or name in names:
                own[key] = self._part(name, array)
        return own

    def _part(self, name: str, array: Array) -> Array:
        if array.shape != self.shapes.get(name):
            return array
        held = shard(self.config, name, array.shape, self.mesh.tensor.rank, self.mesh.tensor.size)
        assert held is not None, f"the model of this rank has {name}"
        return held.part(array)

    def gather(self, checkpoint: Checkpoint) -> Checkpoint:
        """The whole checkpoint on rank 0. All ranks must call this."""
        # The ranks with the same rows as rank 0 have all that is needed.
        if self.ranks.size == 1 or self.mesh.data_rank > 0:
            return checkpoint
        weights, optimizer = self._whole(checkpoint.weights), self._whole_state(checkpoint.optimizer)
        return replace(checkpoint, weights=weights, optimizer=optimizer)

    def _whole_state(self, state: Mapping[str, Array]) -> dict[str, Array]:
        """That of an optimizer: numbers, such as "step.NAME", and moments."""
        numbers = {key: array for key, array in state.items() if not array.ndim}
        whole: dict[str, Array] = {}
        for each in self.ranks.exchange_objects([numbers] * self.ranks.size):
            whole |= each
        for moment in sorted({key.partition(".")[0] for key in state.keys() - numbers.keys()}):
            begin = f"{moment}."
            own = {key.removeprefix(begin): array for key, array in state.items() if key.startswith(begin)}
            whole |= {begin + name: array for name, array in self._whole(own).items()}
        return whole

    def _whole(self, own: Mapping[str, Array]) -> dict[str, Array]:
        return dict(gather_state(self.config, self.shapes, own, self.ranks, tensor=self.mesh.tensor.size))

    # --- what counts in a sum over the model --------------------------------------------------------------------------

    def owned(self, name: str) -> list[slice]:
        """The elements of a flat parameter that no rank before this one has too."""
        in_last_stage_too = self.config.tied_head and name == "embedding.weight" and self.mesh.pipeline.rank > 0
        held = shard(self.config, name, self.shapes[name], self.mesh.tensor.rank, self.mesh.tensor.size)
        assert held is not None, f"the model of this rank has {name}"
        return [] if in_last_stage_too else held.owned_elements(self.shapes[name])
