"""A rank that has a part of the model, in any product of splits: gradients, their norm, checkpoints."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.parallel.communicators.communicator import Communicator
from llm.parallel.communicators.threads import run_ranks
from llm.parallel.data import reduction
from llm.parallel.data.ranks import Ranks
from llm.parallel.mesh import Mesh
from llm.parallel.model_part import ModelPart
from llm.parallel.pipeline.ranks import PipelineRanks
from llm.parallel.pipeline.stages import Stage
from llm.parallel.tensor.weights import split_state
from llm.parallel.zero.kinds import sharded
from llm.runs.checkpoints import Checkpoint
from llm.training.objectives import NextToken
from llm.training.step import StepResult, train_step
from minigrad.optim import AdamW, clip_grad_norm
from tests.llm.split_models import EXACT
from tests.llm.steps import T, V, gradients, random_batch, workers_of

OPTIONS: dict[str, Any] = {"lr": 0.01, "weight_decay": 0.1, "decay": lambda p: p.ndim >= 2}
LAYERS, ROWS = 3, 6
Sizes = tuple[int, int, int]  # data, tensor, pipeline

SIZES = st.sampled_from([(2, 1, 1), (3, 1, 1), (1, 2, 1), (2, 2, 1), (1, 1, 2), (2, 1, 2), (1, 2, 3), (2, 2, 2)])
CONFIGS = st.builds(
    GPTConfig,
    vocab_size=st.just(V), context=st.just(T), layers=st.just(LAYERS), heads=st.just(4), dim=st.just(8),
    kv_heads=st.sampled_from([1, 2, 4]), dropout=st.sampled_from([0.0, 0.2]), tied_head=st.booleans(),
    positions=st.sampled_from(["learned", "rope"]), qk_norm=st.booleans(), experts=st.sampled_from([None, 4]),
)  # fmt: skip


class Trained:
    """The model of a rank, with its workers and its optimizer."""

    def __init__(self, world: Communicator, config: GPTConfig, sizes: Sizes, zero: int = 0):
        data, tensor, pipeline = sizes
        self.part = ModelPart(Mesh(world, data=data, tensor=tensor, pipeline=pipeline), config)
        self.model = self.part.make(1, np.float64).train()
        self.optimizer, sums = sharded(
            zero, self.model, lambda kind: kind(AdamW)(self.model.named_trainable(), **OPTIONS), self.part.mesh.data,
            100, self.part,
        )  # fmt: skip
        if isinstance(self.model, Stage):
            self.workers: Ranks = PipelineRanks([self.model], NextToken(), sums, part=self.part)
        else:
            self.workers = Ranks(self.model, NextToken(), 1, sums, self.part)

    def train(self, clip: float) -> list[StepResult]:
        return train(self.workers, self.optimizer, clip)

    def checkpoint(self) -> Checkpoint:
        with self.optimizer.whole_parameters(changed=False):
            state = self.optimizer.state_dict(copy=False)
            return self.part.gather(Checkpoint(self.model.state_dict(), state, {"step": 2}))

    def restore(self, checkpoint: Checkpoint) -> None:
        own = self.part.own(checkpoint, self.model)
        with self.optimizer.whole_parameters(changed=True):
            self.model.load_state_dict(own.weights)
        self.optimizer.load_state_dict(own.optimizer)


def train(workers: Any, optimizer: AdamW, clip: float) -> list[StepResult]:
    return [
        train_step(workers, optimizer, random_batch(n, ROWS), lr=0.01, clip=clip, micro_batches=2, seed=(1, n))
        for n in range(2)
    ]


@settings(max_examples=8)
@given(config=CONFIGS, sizes=SIZES)
def test_loss_gradients_and_their_norm_are_those_of_one_process(config: GPTConfig, sizes: Sizes) -> None:
    check_gradients(config, sizes)


def check_gradients(config: GPTConfig, sizes: Sizes) -> None:
    whole = GPT(config, rng=1, dtype=np.float64)
    whole.train()
    with workers_of(whole, 1) as workers:
        loss = workers.accumulate(random_batch(0, ROWS), micro_batches=2, seed=(1, 2))
    expected = gradients(whole)
    norm = math.sqrt(sum(float((g**2).sum()) for g in expected.values()))

    def run(world: Communicator) -> float:
        rank = Trained(world, config, sizes)
        assert rank.workers.accumulate(random_batch(0, ROWS), micro_batches=2, seed=(1, 2)) == pytest.approx(
            loss, rel=EXACT
        )
        own = split_state(config, expected, rank.part.mesh.tensor_rank, rank.part.mesh.tensor.size)
        for name, g in gradients(rank.model).items():
            np.testing.assert_allclose(g, own[name], rtol=0, atol=EXACT * abs(expected[name]).max(), err_msg=name)
        found = float(clip_grad_norm(rank.optimizer, math.inf))
        assert found == pytest.approx(norm, rel=EXACT)
        return found

    assert len(set(run_ranks(math.prod(sizes), run))) == 1  # the same bits: so all ranks skip the same steps


@settings(max_examples=8)
@given(config=CONFIGS, sizes=SIZES, others=SIZES, zero=st.integers(0, 3), clip=st.sampled_from([0.0, 0.01]))
def test_a_split_run_is_clipped_as_one_process_and_goes_on_with_another_split(
    config: GPTConfig, sizes: Sizes, others: Sizes, zero: int, clip: float
) -> None:
    whole = GPT(config, rng=1, dtype=np.float64)
    whole.train()
    with workers_of(whole, 1) as workers:
        optimizer = AdamW(whole.named_trainable(), **OPTIONS)
        expected = train(workers, optimizer, clip)
        checkpoint = Checkpoint(whole.state_dict(), optimizer.state_dict(), {"step": 2})

    def begin(world: Communicator) -> Checkpoint:
        rank = Trained(world, config, sizes, possible(zero, sizes))
        for found, wanted in zip(rank.train(clip), expected, strict=True):
            assert found.loss == pytest.approx(wanted.loss, rel=1e-9)  # after a step of AdamW, see below
            assert found.grad_norm == pytest.approx(wanted.grad_norm, rel=1e-7)
        return rank.checkpoint()

    gathered = run_ranks(math.prod(sizes), begin)[0]
    for name in checkpoint.weights:
        # AdamW divides by the size of a gradient, which may be tiny: so the differences grow.
        np.testing.assert_allclose(gathered.weights[name], checkpoint.weights[name], rtol=1e-6, atol=1e-9)
    assert gathered.optimizer.keys() == checkpoint.optimizer.keys()

    def go_on(world: Communicator) -> Checkpoint:
        rank = Trained(world, config, others, possible(zero, others))
        rank.restore(gathered)
        return rank.checkpoint()

    resumed = run_ranks(math.prod(others), go_on)[0]
    for found, kept in ((resumed.weights, gathered.weights), (resumed.optimizer, gathered.optimizer)):
        assert found.keys() == kept.keys()
        for name in kept:
            np.testing.assert_array_equal(found[name], kept[name], err_msg=name)


@settings(max_examples=4)
@given(sizes=SIZES, zero=st.integers(0, 3), where=st.integers(0, 7), value=st.sampled_from([np.nan, np.inf]))
def test_if_the_gradient_of_one_part_is_not_finite_all_ranks_skip_the_step(
    sizes: Sizes, zero: int, where: int, value: float
) -> None:
    def run(world: Communicator) -> bool:
        rank = Trained(world, SMALL, sizes, possible(zero, sizes))
        accumulate = rank.workers.accumulate

        def spoiled(batch: Any, **options: Any) -> float:
            loss = accumulate(batch, **options)
            if rank.part.ranks.rank == where % rank.part.ranks.size:
                for g in rank.optimizer.gradients():
                    g[...] = value
            return loss

        rank.workers.accumulate = spoiled  # type: ignore[method-assign]
        before = [group.flat.data.copy() for group in rank.optimizer.groups]
        results = rank.train(clip=1.0)
        for array, group in zip(before, rank.optimizer.groups):
            np.testing.assert_array_equal(group.flat.data, array)
        return any(result.updated for result in results)

    assert run_ranks(math.prod(sizes), run) == [False] * math.prod(sizes)


def possible(zero: int, sizes: Sizes) -> int:
    return min(zero, 1) if sizes[2] > 1 else zero


SMALL = GPTConfig(vocab_size=V, context=T, layers=LAYERS, heads=4, kv_heads=1, dim=8)


def test_a_checkpoint_of_another_model_is_refused() -> None:
    other = GPT(GPTConfig(vocab_size=V, context=T, layers=LAYERS, heads=4, kv_heads=2, dim=8), dtype=np.float64)
    more = other.state_dict() | {"blocks.7.norm1.weight": np.ones(8)}

    def run(world: Communicator) -> None:
        rank = Trained(world, SMALL, (1, 2, 1))
        own = rank.part.own(Checkpoint(more, {}, {}), rank.model)
        with pytest.raises(ValueError, match="qkv.weight"):
            rank.model.load_state_dict(own.weights)
        assert "blocks.7.norm1.weight" in own.weights

    run_ranks(2, run)


@pytest.mark.control
@pytest.mark.parametrize("sizes", [(1, 2, 1), (1, 1, 2)])
def test_what_several_ranks_have_and_is_counted_twice_is_noticed(sizes: Sizes, monkeypatch: pytest.MonkeyPatch) -> None:
    check_gradients(SMALL, sizes)
    monkeypatch.setattr(ModelPart, "owned", lambda part, name: [slice(0, 10**9)])
    with pytest.raises(AssertionError):
        check_gradients(SMALL, sizes)


@pytest.mark.control
@pytest.mark.parametrize(
    "wrong",
    [lambda arrays, _: arrays[0].copy(), lambda arrays, _: sum(arrays) / len(arrays)],
    ids=["a missing reduction", "a wrong scale"],
)
def test_gradients_of_rows_that_are_not_added_up_are_noticed(wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    check_gradients(SMALL, (3, 1, 1))
    monkeypatch.setattr(reduction, "reduced", wrong)
    with pytest.raises(AssertionError):
        check_gradients(SMALL, (3, 1, 1))
