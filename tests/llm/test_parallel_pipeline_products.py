"""Pipelines with data and tensor parallelism and ZeRO: the weights after some steps are those of one process."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.parallel.communicators.communicator import Communicator
from llm.parallel.communicators.threads import run_ranks
from llm.parallel.mesh import Mesh
from llm.parallel.model_part import ModelPart
from llm.parallel.pipeline.ranks import PipelineRanks
from llm.parallel.pipeline.split_stages import SplitStage
from llm.parallel.plan.split import Split
from llm.parallel.plan.traffic import rank_traffic
from llm.parallel.tensor.weights import split_state
from llm.parallel.zero.kinds import sharded
from llm.parallel.zero.norm import norm_over
from llm.training.objectives import NextToken
from llm.training.step import train_step
from tests.llm.steps import OPTIMIZERS, T, V, optimizer_of, random_batch, workers_of
from tests.llm.test_parallel_products import train


def ranks_of(
    world: Communicator,
    config: GPTConfig,
    sizes: tuple[int, int, int],
    zero: int,
    kind: type,
    schedule: str = "1f1b",
    *,
    sequence: bool = False,
    name: str = "adamw",
) -> tuple:
    """The mesh, the stage and its workers and optimizer."""
    data, tensor, pipeline = sizes
    mesh = Mesh(world, data=data, tensor=tensor, pipeline=pipeline)
    stage = SplitStage(config, mesh.pipeline, mesh.tensor, rng=1, dtype=np.float64, sequence=sequence)
    stage.train()
    optimizer, reduction = sharded(
        zero, stage, partial(optimizer_of, stage, name), mesh.data, 100, ModelPart(mesh, config)
    )
    return mesh, stage, kind([stage], NextToken(), reduction, schedule), optimizer


def check(
    config: GPTConfig,
    sizes: tuple[int, int, int],
    zero: int,
    micro_batches: int,
    kind: type,
    *more: str,
    name: str = "adamw",
    **others: bool,
) -> None:
    whole = GPT(config, rng=1, dtype=np.float64)
    with workers_of(whole, 1) as workers:
        expected = train(workers, optimizer_of(whole, name), micro_batches)
    weights = {name: p.data for name, p in whole.named_parameters()}

    def run(world: Communicator) -> None:
        mesh, stage, workers, optimizer = ranks_of(world, config, sizes, zero, kind, *more, name=name, **others)
        assert train(workers, optimizer, micro_batches) == pytest.approx(expected, rel=1e-10)
        parts = split_state(config, weights, mesh.tensor_rank, mesh.tensor.size)
        with optimizer.whole_parameters(changed=False):
            # With ZeRO 3, they are whole on the first data rank only.
            for key, p in stage.named_parameters() if zero < 3 or not mesh.data_rank else []:
                # AdamW divides by the size of a gradient, which may be tiny: so the differences grow.
                np.testing.assert_allclose(p.data, parts[key], rtol=1e-6, atol=1e-9, err_msg=key)

    run_ranks(int(np.prod(sizes)), run)


@settings(max_examples=6)
@given(
    sizes=st.sampled_from([(2, 1, 2), (2, 2, 2), (1, 2, 3)]), zero=st.integers(0, 3), micro_batches=st.integers(1, 2),
    tied=st.booleans(), positions=st.sampled_from(["learned", "rope"]), sequence=st.booleans(),
    schedule=st.sampled_from(["1f1b", "gpipe"]), name=OPTIMIZERS,
)  # fmt: skip
def test_weights_after_some_steps_are_those_of_one_process(
    sizes: tuple[int, int, int],
    zero: int,
    micro_batches: int,
    tied: bool,
    positions: str,
    sequence: bool,
    schedule: str,
    name: str,
) -> None:
    config = GPTConfig(
        vocab_size=V, context=T, layers=3, heads=4, kv_heads=2, dim=8, dropout=0.2, tied_head=tied, positions=positions
    )
    check(config, sizes, zero, micro_batches, PipelineRanks, schedule, sequence=sequence, name=name)


CONFIG = GPTConfig(vocab_size=V, context=T, layers=2, heads=2, dim=8)


class WithoutReduction(PipelineRanks):
    def _accumulate_all(self, micro_batches):
        return super(PipelineRanks, self)._accumulate_all(micro_batches)


@pytest.mark.control
def test_a_missing_reduction_is_noticed() -> None:
    with pytest.raises(AssertionError):
        check(CONFIG, (2, 1, 2), 0, 1, WithoutReduction)


@pytest.mark.parametrize("zero", range(4))
def test_the_bytes_that_data_ranks_send_are_those_of_the_plan(zero: int) -> None:
    sizes = 3, 1, 2
    split = Split(*sizes, zero=zero)
    config = replace(CONFIG, layers=4)

    def run(world: Communicator) -> tuple[int, int]:
        mesh, _, workers, optimizer = ranks_of(world, config, sizes, zero, PipelineRanks)
        gathering = getattr(optimizer, "_gathering", None)  # ZeRO 3 has a group for that
        sent = lambda: mesh.data.sent + (gathering.sent if gathering else 0)
        before = sent()
        train_step(workers, optimizer, random_batch(0, 12), lr=0.01, clip=0, micro_batches=4)
        place = mesh.pipeline_rank, mesh.data_rank, 0
        return sent() - before, rank_traffic(config, split, 12, T, 8, place).data

    found, planned = zip(*run_ranks(6, run))
    if zero < 3:
        assert found == planned
    # The optimizer has the parameters that decay first, so a rank may own more of one layer, and less of another.
    assert sum(found) == sum(planned)


def test_so_are_those_of_the_norm_that_the_ranks_of_a_model_find_together() -> None:
    def run(group: Communicator) -> int:
        norm_over(group, np.ones(()))
        return group.sent

    for tensor, pipeline in (1, 1), (1, 2), (2, 2):
        expected = rank_traffic(CONFIG, Split(1, tensor, pipeline), 6, T, 4).norm
        assert run_ranks(tensor * pipeline, run) == [expected] * (tensor * pipeline)
