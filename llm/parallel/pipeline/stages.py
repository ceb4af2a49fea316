"""A stage of a pipeline: the part of a GPT that one rank has, some of its layers.

The first stage has the embeddings too, and the last one the norm after the layers and the head. Parameters have the
names that they have in the whole model. All ranks call a stage with the same arguments, those of the whole model:

    first stage      embeds the ids, and goes through its layers. `_end` raises HandedOver with the result
    middle stages    take what the stage before has sent (`_begin`), go through their layers, hand over in turn
    last stage       returns what the whole model returns

So every objective can be computed in stages, without knowing it, if it calls the model once: it ends on each rank where
the rank has nothing more to do. What is sent is x (B, T, C). With the balancing loss of experts, which needs the
decisions of all routers, the probabilities of the routers so far go along as further columns.

With a tied head, the first and the last stage have the embedding both. Its gradient is the sum of both (executor.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from llm.model.experts import Routing, largest
from llm.model.gpt import GPT
from llm.model.initial import initial_values
from llm.model.positions import TokenPositions
from llm.parallel.communicators.communicator import Communicator
from llm.parallel.pipeline.schedules import parts_of
from llm.parallel.shapes import parameter_shapes
from minigrad.backend import Array
from minigrad.modes import mode
from minigrad.nn.module import Parameter
from minigrad.ops import concatenate
from minigrad.random import next_key
from minigrad.tensor import Tensor

DRAWS_OF_A_LAYER = 3  # dropout masks: of attention weights, and of the outputs of attention and MLP


class HandedOver(Exception):
    """The stage has computed its layers: `output` goes to the next stage. It ends the computation on this rank."""

    def __init__(self, output: Tensor):
        super().__init__("the rest is computed by the next stage")
        self.output = output


class Stage(GPT):
    """Part number `ranks.rank` of a GPT; with `chunks` parts on each rank, number `chunk * ranks.size + ranks.rank`.

    `ranks`: of the pipeline. The other arguments are those of GPT. The same seed gives the weights of the whole model.
    Raises ValueError if there are fewer layers than parts.
    """

    def __init__(self, config: Any, ranks: Communicator, *more: Any, chunk: int = 0, chunks: int = 1, **others: Any):
        self.ranks, self.part, self.parts = ranks, chunk * ranks.size + ranks.rank, chunks * ranks.size
        self._layers = parts_of(config.layers, self.parts)[self.part]
        super().__init__(config, *more, **others)

    @property
    def layers(self) -> range:
        return self._layers

    @property
    def is_first(self) -> bool:
        return self.part == 0

    @property
    def is_last(self) -> bool:
        return self.part == self.parts - 1

    @property
    def tied_copy(self) -> Parameter | None:
        """The embedding, if its gradient is the sum of those of the first and of the last stage, and this is one."""
        is_shared = self.config.tied_head and self.parts > 1 and (self.is_first or self.is_last)
        return self.embedding.weight if is_shared else None

    @property
    def device(self) -> str:
        return next(iter(self.parameters())).device

    @property
    def dtype(self) -> np.dtype:
        return next(iter(self.parameters())).dtype

    # --- the parts that it has ------------------------------------------------------------------------------------

    def _make_embeddings(self, dtype: Any) -> None:
        if self.is_first:
            super()._make_embeddings(dtype)
        elif self.is_last and self.config.tied_head:
            super()._make_embeddings(dtype)
            for name in {"positions", "embedding_norm"} & vars(self).keys():
                delattr(self, name)

    def _make_head(self, dtype: Any) -> None:
        if self.is_last:
            super()._make_head(dtype)

    def initialize(self, rng: np.random.Generator) -> None:
        # Every rank draws the numbers of the whole model, one parameter at a time, and keeps its own.
        own = dict(self.named_parameters())
        for name, shape in parameter_shapes(self.config):
            values = initial_values(name, shape, self.config.layers, rng)
            if name in own:
                own[name].data[...] = values

    # --- what it begins and ends with -----------------------------------------------------------------------------

    def _begin(self, ids: Array, all_positions: TokenPositions, routing: list[Routing] | None) -> Tensor:
        if self.is_first:
            return super()._begin(ids, all_positions, routing)
        if self.training and self.config.dropout:  # the keys that the layers before this stage have drawn
            for _ in range(1 + DRAWS_OF_A_LAYER * self.layers.start):
                next_key()
        return self._unpack(self.take(self._shape_of_input(ids.shape, routing)), ids.shape, routing)

    def _end(self, x: Tensor, routing: list[Routing] | None) -> Tensor:
        if self.is_last:
            return super()._end(x, routing)
        raise HandedOver(self._pack(x, routing))

    def _pack(self, x: Tensor, routing: list[Routing] | None) -> Tensor:
        """x (B, T, C), with the probabilities of the routers so far, if there are any, as further columns."""
        if not routing:
            return x
        return concatenate([x.reshape(-1, x.shape[-1]), *(each.probabilities for each in routing)], axis=1)

    def _routers_before(self) -> int:
        """How many layers with experts the stages before this one have."""
        return sum(self.config.has_experts(layer) for layer in range(self.layers.start))

    def _shape_of_input(self, shape: tuple[int, ...], routing: list[Routing] | None) -> tuple[int, ...]:
        """Of what the stage before sends, for ids of `shape`: (B, T, C), or (B * T, C + routers before * E)."""
        (B, T), C, routers = shape, self.config.dim, self._routers_before()
        if routing is None or not routers:
            return B, T, C
        return B * T, C + routers * (self.config.experts or 0)

    def _unpack(self, given: Tensor, shape: tuple[int, ...], routing: list[Routing] | None) -> Tensor:
        """x (B, T, C) of what the stage before has sent. Its routers' probabilities are added to `routing`."""
        if given.ndim == 3:
            return given
        C, E = self.config.dim, self.config.experts or 0
        for begin in range(C, given.shape[1], E):
            probabilities = given[:, begin : begin + E]  # (B * T, E)
            assert routing is not None, "only with it are probabilities sent"
            routing.append(Routing(probabilities, largest(probabilities.data, self.config.experts_per_token)))
        return given[:, :C].reshape(*shape, C)

    # --- without gradients: evaluation and generation -------------------------------------------------------------

    # All ranks call these methods together, and all get the results of the last stage.

    def hidden(self, ids: Any, *, routing: list[Routing] | None = None, **options: Any) -> Tensor:
        if mode.recording:
            return super().hidden(ids, routing=routing, **options)
        packed = None
        try:
            packed = self._pack(super().hidden(ids, routing=routing, **options), routing).data
        except HandedOver as handed_over:
            self.ranks.send(handed_over.output.data, self.ranks.rank + 1)
        packed = self._of_last_stage(packed)
        if routing is not None:
            routing.clear()  # of the last stage come those of all layers
        return self._unpack(Tensor(packed), np.shape(ids), routing)

    def logits(self, x: Tensor) -> Tensor:
        if mode.recording:
            return super().logits(x)
        return Tensor(self._of_last_stage(super().logits(x).data if self.is_last else None))

    def loss(self, ids: Any, targets: Any, **options: Any) -> Tensor:
        loss = super().loss(ids, targets, **options)
        return loss if mode.recording else Tensor(self._of_last_stage(loss.data if self.is_last else None))

    def _head_loss(self, x: Tensor, targets: Array, **options: Any) -> Tensor:
        return super()._head_loss(x, targets, **options) if self.is_last else Tensor(np.zeros(()))  # see `loss`

    def _of_last_stage(self, array: Array | None) -> Array:
        return self.ranks.broadcast(array, root=self.ranks.size - 1)

    def take(self, shape: tuple[int, ...]) -> Tensor:
        """What the stage before sends. The executor of a training step takes the place of this method."""
        if mode.recording:
            raise RuntimeError("a stage computes gradients in a Pipeline only, which also sends them back")
        return Tensor(self.ranks.receive(self.ranks.rank - 1, shape, self.dtype))
