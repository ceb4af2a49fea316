"""Muon, and AdamW without a schedule, on several ranks: the weights after some steps are those of one process."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llm.evaluation.loss import Validation, evaluate
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.model.matrices import is_inner_matrix
from llm.parallel.communicators.communicator import Communicator
from llm.parallel.communicators.threads import run_ranks
from llm.parallel.data.ranks import Ranks
from llm.parallel.mesh import Mesh
from llm.parallel.model_part import ModelPart
from llm.parallel.pipeline.ranks import PipelineRanks
from llm.parallel.pipeline.stages import Stage
from llm.parallel.plan.memory import FULL, rank_memory
from llm.parallel.plan.split import Split
from llm.parallel.plan.traffic import rank_traffic
from llm.parallel.workers import Workers
from llm.parallel.zero.kinds import RankScheduleFree, sharded
from llm.parallel.zero.matrices import SplitMuon
from llm.runs.checkpoints import Checkpoint
from llm.runs.options import TrainOptions
from llm.training.objectives import NextToken
from llm.training.optimizers import make_optimizer
from llm.training.step import train_step
from minigrad.optim import Averaged, Muon, Optimizer
from tests.llm.steps import T, V, random_batch, workers_of

ROWS = 6
Sizes = tuple[int, int, int, int]  # data, tensor, pipeline, context

SIZES = st.sampled_from([
    (2, 1, 1, 1), (3, 1, 1, 1), (1, 2, 1, 1), (1, 4, 1, 1), (2, 2, 1, 1), (1, 1, 2, 1), (2, 1, 2, 1), (1, 2, 2, 1),
    (2, 2, 2, 1), (1, 1, 1, 2), (2, 1, 1, 2),
])  # fmt: skip
CONFIGS = st.builds(
    GPTConfig,
    vocab_size=st.just(V), context=st.just(T), layers=st.just(2), heads=st.just(4), dim=st.just(8),
    kv_heads=st.sampled_from([1, 2, 4]), mlp=st.sampled_from(["gelu", "swiglu"]), tied_head=st.booleans(),
    positions=st.just("rope"), mlp_dim=st.sampled_from([12, 32]),
)  # fmt: skip


class Rank:
    """A rank, with its part of the model."""

    def __init__(
        self,
        world: Communicator,
        config: GPTConfig,
        sizes: Sizes,
        zero: int,
        options: TrainOptions,
        dtype: Any = np.float64,
        objective: Any = None,
        **more: Any,
    ):
        data, tensor, pipeline, context = sizes
        self.mesh = Mesh(world, data=data, tensor=tensor, pipeline=pipeline, context=context)
        self.part = ModelPart(self.mesh, config, **more)
        self.model, objective = self.part.make(1, dtype).train(), objective or NextToken()
        self.optimizer, sums = sharded(
            zero, self.model, lambda kind: make_optimizer(self.model, options, kind), self.mesh.data, 100, self.part
        )
        if isinstance(self.model, Stage):
            self.workers: Ranks = PipelineRanks([self.model], objective, sums, part=self.part)
        else:
            self.workers = Ranks(self.model, objective, 1, sums, self.part, context)

    def checkpoint(self) -> Checkpoint:
        with self.optimizer.averaged(), self.optimizer.whole_parameters(changed=False):
            state = self.optimizer.state_dict()
            weights = {name: array.copy() for name, array in self.model.state_dict().items()}
            return self.part.gather(Checkpoint(weights, state, {"step": 2}))

    def restore(self, checkpoint: Checkpoint) -> None:
        own = self.part.own(checkpoint, self.model)
        with self.optimizer.whole_parameters(changed=True):
            self.model.load_state_dict(own.weights)
        self.optimizer.load_state_dict(own.optimizer)


def train(workers: Any, optimizer: Optimizer, steps: int, clip: float = 0.0, first: int = 0) -> list[float]:
    """Losses and norms."""
    found = [
        train_step(workers, optimizer, random_batch(n, ROWS), lr=0.01, clip=clip, micro_batches=2, seed=(1, n))
        for n in range(first, first + steps)
    ]
    return [number for step in found for number in (step.loss, step.grad_norm)]


def options_of(kind: str) -> TrainOptions:
    """`kind`: as --optimizer; with "+ema" beside a moving average of the weights."""
    name, _, ema = kind.partition("+")
    return TrainOptions(optimizer=name, lr=0.01, ema_decay=0.7 if ema else 0.0)  # type: ignore[arg-type]


def alone(config: GPTConfig, kind: str, steps: int, clip: float = 0.0) -> tuple[list[float], Checkpoint]:
    """The run of one process."""
    model = GPT(config, rng=1, dtype=np.float64).train()
    optimizer = make_optimizer(model, options_of(kind))
    with workers_of(model, 1) as workers:
        found = train(workers, optimizer, steps, clip)
    with optimizer.averaged():
        return found, Checkpoint({n: a.copy() for n, a in model.state_dict().items()}, optimizer.state_dict(), {})


def assert_close(found: dict, expected: dict, rtol: float, atol: float) -> None:
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=rtol, atol=atol, err_msg=name)


@settings(max_examples=12)
@given(config=CONFIGS, sizes=SIZES, zero=st.integers(0, 3), sequence=st.booleans())
@example(GPTConfig(vocab_size=V, context=T, layers=2, heads=4, dim=8, experts=4), (2, 2, 1, 1), 1, False)
@example(GPTConfig(vocab_size=V, context=T, layers=2, heads=4, dim=8, experts=3), (1, 2, 2, 1), 1, False)
@example(GPTConfig(vocab_size=V, context=T, layers=2, heads=4, dim=8, mlp_dim=13), (2, 2, 1, 1), 0, True)
def test_a_step_of_muon_is_that_of_one_process(config: GPTConfig, sizes: Sizes, zero: int, sequence: bool) -> None:
    check_step(config, sizes, zero, sequence=sequence and sizes[1] > 1 and config.experts is None)


def check_step(config: GPTConfig, sizes: Sizes, zero: int, **more: bool) -> None:
    (loss, norm), expected = alone(config, "muon", 1)

    def run(world: Communicator) -> Checkpoint:
        rank = Rank(world, config, sizes, zero, options_of("muon"), **more)
        assert train(rank.workers, rank.optimizer, 1) == pytest.approx([loss, norm], rel=1e-10)
        return rank.checkpoint()

    found = run_ranks(math.prod(sizes), run)[0]
    matrices = {name for name, array in expected.weights.items() if is_inner_matrix(name, array.ndim)}
    assert {f"momentum_buffer.{name}" for name in matrices} == {k for k in expected.optimizer if k[0] == "m"}
    # One step of 0.01: an error in a direction would be seen 1e10 times over. What the sums round off, the polynomials
    # make about 100 times larger in directions of which the gradient has nearly nothing.
    for name in matrices:
        np.testing.assert_allclose(found.weights[name], expected.weights[name], rtol=0, atol=1e-12, err_msg=name)
        key = f"momentum_buffer.{name}"
        np.testing.assert_allclose(found.optimizer[key], expected.optimizer[key], rtol=0, atol=1e-12, err_msg=name)
    # AdamW divides by the size of a gradient, which may be tiny: so the differences grow.
    assert_close(found.weights, expected.weights, 1e-6, 1e-9)
    assert_close(found.optimizer, expected.optimizer, 1e-6, 1e-12)


@pytest.mark.control
def test_parts_of_a_matrix_that_are_made_orthogonal_alone_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SplitMuon, "direction", Muon.direction)
    with pytest.raises(AssertionError):
        check_step(GPTConfig(vocab_size=V, context=T, layers=2, heads=4, dim=8), (1, 2, 1, 1), 0)


@settings(max_examples=12)
@given(
    kind=st.sampled_from(["muon", "schedule-free", "adamw+ema", "muon+ema"]), config=CONFIGS, sizes=SIZES, other=SIZES,
    zero=st.integers(0, 3), next_zero=st.integers(0, 3), clip=st.sampled_from([0.0, 0.3]),
)  # fmt: skip
def test_a_run_goes_on_with_another_split(
    kind: str, config: GPTConfig, sizes: Sizes, other: Sizes, zero: int, next_zero: int, clip: float
) -> None:
    options = options_of(kind)
    losses, expected = alone(config, kind, 4, clip)

    def begin(world: Communicator) -> tuple[list[float], Checkpoint]:
        rank = Rank(world, config, sizes, zero, options)
        return train(rank.workers, rank.optimizer, 2, clip), rank.checkpoint()

    first, saved = run_ranks(math.prod(sizes), begin)[0]

    def go_on(world: Communicator) -> tuple[list[float], Checkpoint]:
        rank = Rank(world, config, other, next_zero, options)
        rank.restore(saved)
        return train(rank.workers, rank.optimizer, 2, clip, first=2), rank.checkpoint()

    results = run_ranks(math.prod(other), go_on)
    for more, _ in results:
        assert first + more == pytest.approx(losses, rel=1e-7)
    # AdamW divides by the size of a gradient, which may be tiny: so the differences grow.
    assert_close(results[0][1].weights, expected.weights, 1e-6, 1e-8)
    assert_close(results[0][1].optimizer, expected.optimizer, 1e-6, 1e-10)


AVERAGES = pytest.mark.parametrize("kind", ["schedule-free", "adamw+ema", "muon+ema"])


@pytest.mark.parametrize("zero", range(4))
@AVERAGES
def test_after_an_evaluation_of_the_average_training_goes_on_with_the_parameters_before(zero: int, kind: str) -> None:
    check_average(zero, kind)


def check_average(zero: int, kind: str) -> None:
    config = GPTConfig(vocab_size=V, context=T, layers=2, heads=4, dim=8)
    validation = Validation([random_batch(seed, rows=3) for seed in range(4)])

    def evaluated_between(workers: Workers, optimizer: Optimizer) -> list[float]:
        """Losses and norms of two steps, the loss of the average then, and those of two more steps."""
        first = train(workers, optimizer, 2)
        with optimizer.averaged():
            found = evaluate(workers, validation).loss
        return [*first, found, *train(workers, optimizer, 2, first=2)]

    model = GPT(config, rng=1, dtype=np.float64).train()
    with workers_of(model, 1) as workers:
        expected = evaluated_between(workers, make_optimizer(model, options_of(kind)))

    def run(world: Communicator) -> list[float]:
        rank = Rank(world, config, (2, 1, 1, 1), zero, options_of(kind))
        return evaluated_between(rank.workers, rank.optimizer)

    for found in run_ranks(2, run):
        assert found == pytest.approx(expected, rel=1e-7)


@pytest.mark.control
@pytest.mark.parametrize(
    ("zero", "kind", "owner", "method"),
    [(0, "schedule-free", RankScheduleFree, "averaged"), (1, "adamw+ema", Averaged, "share_update")],
)
def test_ranks_that_evaluate_the_trained_parameters_are_noticed(
    monkeypatch: pytest.MonkeyPatch, zero: int, kind: str, owner: Any, method: str
) -> None:
    monkeypatch.setattr(owner, method, getattr(Optimizer, method))
    with pytest.raises(AssertionError):
        check_average(zero, kind)


@pytest.mark.parametrize("zero", range(4))
def test_a_rank_has_the_average_of_its_shard(zero: int) -> None:
    config = GPTConfig(vocab_size=V, context=T, layers=2, heads=4, dim=8)

    def run(world: Communicator) -> tuple[int, int, int]:
        rank = Rank(world, config, (3, 1, 1, 1), zero, options_of("adamw+ema"))
        size, whole = sum(a.nbytes for a in rank.optimizer.averages), rank.optimizer.moments_size()
        return size, whole, sum(array.nbytes for name, array in rank.checkpoint().optimizer.items() if array.ndim)

    sizes, wholes, saved = zip(*run_ranks(3, run))
    numbers = GPT(config, rng=1).num_parameters()
    assert sum(sizes) == 8 * numbers * (1 if zero else 3)  # float64
    # Two moments of AdamW and the average: the weights are saved as the parameters.
    assert saved[0] == wholes[0] == 3 * 8 * numbers


@pytest.mark.parametrize("zero", range(4))
@pytest.mark.parametrize("sizes", [(3, 1, 1, 1), (1, 2, 1, 1), (2, 2, 2, 1), (1, 4, 1, 1)])
def test_the_bytes_that_muon_sends_are_those_of_the_plan(sizes: Sizes, zero: int) -> None:
    config = GPTConfig(vocab_size=V, context=T, layers=4, heads=4, kv_heads=2, dim=8, mlp="swiglu")
    split = Split(*sizes[:3], zero=zero, muon=True)

    def run(world: Communicator) -> tuple[tuple[int, int], tuple[int, int]]:
        rank = Rank(world, config, sizes, zero, options_of("muon"))
        of_data, of_muon = [rank.mesh.data, *gathering(rank.optimizer)], rank.mesh.tensor
        before = sum(ranks.sent for ranks in of_data)
        rank.optimizer.zero_grad()
        rank.workers.accumulate(random_batch(0, 12), micro_batches=12 // sizes[0])
        sent = of_muon.sent
        rank.optimizer.step()
        sent, data = of_muon.sent - sent, sum(ranks.sent for ranks in of_data) - before
        place = rank.mesh.pipeline_rank, rank.mesh.data_rank, rank.mesh.tensor_rank
        planned = rank_traffic(config, split, 12, T, 8, place)
        # Of ZeRO above 0, the norms of the clipping are planned too: a number to each data rank.
        return (data, sent), (planned.data - (8 * (sizes[0] - 1) if zero else 0), planned.muon)

    results = run_ranks(math.prod(sizes), run)
    found, planned = np.transpose(results, (1, 0, 2))
    assert found[:, 1].tolist() == planned[:, 1].tolist()
    assert found[:, 1].any() == (sizes[1] > 1)
    if zero < 3:
        assert found[:, 0].tolist() == planned[:, 0].tolist()
    # The optimizer has the parameters that decay first, so a rank may own more of one layer, and less of another.
    assert found[:, 0].sum() == pytest.approx(planned[:, 0].sum(), rel=0.05)


def gathering(optimizer: Any) -> list[Communicator]:
    """ZeRO 3 has a group of its own for parameters, in each optimizer."""
    return [each._gathering for each in optimizer.optimizers if hasattr(each, "_gathering")]


@pytest.mark.parametrize("zero", range(4))
@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_the_moments_of_the_fullest_rank_take_the_bytes_of_the_plan(zero: int, kind: str) -> None:
    config = GPTConfig(vocab_size=V, context=T, layers=2, heads=4, dim=8)

    def run(world: Communicator) -> int:
        rank = Rank(world, config, (3, 1, 1, 1), zero, options_of(kind))
        return sum(moment.size for group in rank.optimizer.groups for moment in group.moments)

    split = Split(data=3, zero=zero, muon=kind == "muon")
    planned = rank_memory(config, split, 3, T, FULL).optimizer
    # The largest shards of both optimizers need not be those of one rank.
    assert 4 * max(run_ranks(3, run)) == pytest.approx(planned, rel=0.01)
