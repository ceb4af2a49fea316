"""The optimizer and the reduction of each --zero, which belong together."""

from __future__ import annotations

from functools import partial
from typing import Any

from llm.model.gpt import GPT
from llm.parallel.communicators.communicator import Communicator
from llm.parallel.data.reduction import BUCKET, Reduction
from llm.parallel.job import MakeOptimizer
from llm.parallel.model_part import ModelPart
from llm.parallel.zero.gradients import ShardedGradientsAdamW, ShardedReduction
from llm.parallel.zero.norm import RankAdamW
from llm.parallel.zero.optimizer import ShardedAdamW
from llm.parallel.zero.parameters import LockstepReduction, ShardedParametersAdamW
from minigrad.optim import Optimizer


def sharded(
    zero: int,
    model: GPT,
    make_optimizer: MakeOptimizer,
    ranks: Communicator,
    bucket: int = BUCKET,
    part: ModelPart | None = None,
) -> tuple[Optimizer, Reduction]:
    """`ranks`: those that compute different rows. `part`: of the model, if others have the rest of it."""
    kinds: list[tuple[Any, Any]] = [
        (RankAdamW, Reduction),
        (partial(ShardedAdamW, ranks=ranks), partial(Reduction, keep_shards=True)),
        (partial(ShardedGradientsAdamW, ranks=ranks), ShardedReduction),
        (partial(ShardedParametersAdamW, ranks=ranks, model=model), LockstepReduction),
    ]
    kind, reduction = kinds[zero]
    optimizer = make_optimizer(partial(kind, part=part))
    return optimizer, reduction([group.flat for group in optimizer.groups], ranks, bucket)
