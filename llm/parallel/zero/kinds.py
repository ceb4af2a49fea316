"""The optimizer and the reduction of each --zero, which belong together."""

from __future__ import annotations

from functools import partial
from typing import Any

from llm.model.gpt import GPT
from llm.parallel.communicators.communicator import Communicator
from llm.parallel.data.reduction import BUCKET, Reduction
from llm.parallel.job import MakeOptimizer
from llm.parallel.model_part import ModelPart
from llm.parallel.zero.gradients import ShardedGradients, ShardedReduction
from llm.parallel.zero.matrices import SplitMuon
from llm.parallel.zero.norm import OfRank
from llm.parallel.zero.optimizer import Sharded
from llm.parallel.zero.parameters import LockstepReduction, ShardedParameters
from minigrad.optim import AdamW, Muon, Optimizer, ScheduleFreeAdamW


class RankAdamW(OfRank, AdamW): ...


class ShardedAdamW(Sharded, AdamW): ...


class ShardedGradientsAdamW(ShardedGradients, AdamW): ...


class ShardedParametersAdamW(ShardedParameters, AdamW): ...


class RankMuon(OfRank, SplitMuon): ...


class ShardedMuon(Sharded, SplitMuon): ...


class ShardedGradientsMuon(ShardedGradients, SplitMuon): ...


class ShardedParametersMuon(ShardedParameters, SplitMuon): ...


class RankScheduleFree(OfRank, ScheduleFreeAdamW): ...


class ShardedScheduleFree(Sharded, ScheduleFreeAdamW): ...


class ShardedGradientsScheduleFree(ShardedGradients, ScheduleFreeAdamW): ...


class ShardedParametersScheduleFree(ShardedParameters, ScheduleFreeAdamW): ...


KINDS: dict[type[Optimizer], tuple[Any, ...]] = {  # by --zero
    AdamW: (RankAdamW, ShardedAdamW, ShardedGradientsAdamW, ShardedParametersAdamW),
    Muon: (RankMuon, ShardedMuon, ShardedGradientsMuon, ShardedParametersMuon),
    ScheduleFreeAdamW: (
        RankScheduleFree, ShardedScheduleFree, ShardedGradientsScheduleFree, ShardedParametersScheduleFree,
    ),
}  # fmt: skip


def sharded(
    zero: int,
    model: GPT,
    make_optimizer: MakeOptimizer,
    ranks: Communicator,
    bucket: int = BUCKET,
    part: ModelPart | None = None,
) -> tuple[Optimizer, Reduction]:
    """`ranks`: those that compute different rows. `part`: of the model, if others have the rest of it."""
    settings: dict[str, Any] = (
        {"part": part} | ({"ranks": ranks} if zero else {}) | ({"model": model} if zero == 3 else {})
    )
    reductions: list[Any] = [Reduction, partial(Reduction, keep_shards=True), ShardedReduction, LockstepReduction]
    optimizer = make_optimizer(lambda kind: partial(KINDS[kind][zero], **settings))
    return optimizer, reductions[zero]([group.flat for group in optimizer.groups], ranks, bucket)
