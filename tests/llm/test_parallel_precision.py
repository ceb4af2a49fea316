"""--precision on several ranks: a step beside that of one process, what is sent, the loss scale, other splits."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.parallel.communicators.communicator import Communicator
from llm.parallel.communicators.threads import Threads as RankThreads
from llm.parallel.communicators.threads import run_ranks
from llm.runs.checkpoints import Checkpoint
from llm.training.mixed_precision import LossScale, MixedPrecision
from llm.training.objectives import NextToken
from llm.training.optimizers import make_optimizer
from llm.training.step import StepResult, train_step
from minigrad import precision
from minigrad.precision import Precision
from tests.llm.mpi_jobs import MARKS, ROOT, mpiexec
from tests.llm.steps import T, V, random_batch, workers_of
from tests.llm.test_parallel_optimizers import SIZES, Rank, Sizes, options_of
from tests.llm.trainings import arguments, metrics, resume, train, without_pictures

pytest.importorskip("ml_dtypes")
HALF = st.sampled_from(["bf16", "fp16"])
EPSILON = {"bf16": 2.0**-8, "fp16": 2.0**-11, "fp32": 0.0}  # the largest relative error of rounding
CONFIGS = st.builds(
    GPTConfig,
    vocab_size=st.just(V), context=st.just(T), layers=st.just(2), heads=st.just(4), dim=st.just(8),
    kv_heads=st.sampled_from([2, 4]), mlp=st.sampled_from(["gelu", "swiglu"]), tied_head=st.booleans(),
    positions=st.just("rope"),
)  # fmt: skip


def mixed_precision(name: Any, scale: float = 2.0**10) -> MixedPrecision:
    mixed = MixedPrecision(name)
    if mixed.scale:
        mixed.scale.loss_scale = scale
    return mixed


class MixedRank(Rank):
    """A rank whose products are in a half type."""

    def __init__(self, world: Communicator, config: GPTConfig, sizes: Sizes, zero: int, name: Any, **more: Any):
        self.mixed = mixed_precision(name)
        objective = self.mixed.objective(more.pop("objective", NextToken()))
        super().__init__(world, config, sizes, zero, options_of("adamw"), np.float32, objective, **more)

    def steps(self, count: int, first: int = 0, micro_batches: int = 2) -> list[StepResult]:
        return steps(self.workers, self.optimizer, self.mixed, count, first, micro_batches)


def steps(workers: Any, optimizer: Any, mixed: Any, count: int, first: int = 0, parts: int = 2) -> list[StepResult]:
    """Without clipping, which would hide a wrong scale."""
    return [
        train_step(
            workers, optimizer, random_batch(n, 6), lr=0.01, clip=0, micro_batches=parts, seed=(1, n), mixed=mixed
        )
        for n in range(first, first + count)
    ]


def alone(config: GPTConfig, name: Any, count: int) -> tuple[list[StepResult], Checkpoint]:
    """The run of one process."""
    model = GPT(config, rng=1, dtype=np.float32).train()
    optimizer, mixed = make_optimizer(model, options_of("adamw")), mixed_precision(name)
    with workers_of(model, 1, objective=mixed.objective(NextToken())) as workers:
        found = steps(workers, optimizer, mixed, count)
    return found, Checkpoint({n: a.copy() for n, a in model.state_dict().items()}, optimizer.state_dict(), {})


def assert_near(found: list[StepResult], expected: list[StepResult], name: Any) -> None:
    """Ranks add up their own rows, heads or hidden units, and one process all: in float32, in another order.

    Where such a sum is near the middle of two half numbers, it is rounded to the other one as a factor of the next
    product. Measured in 120 drawn cases: at most 0.012 epsilon in the loss and 0.37 in the norm of the gradient.
    """
    for one, other in zip(found, expected, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=EPSILON[name] / 16)
        assert one.grad_norm == pytest.approx(other.grad_norm, rel=2 * EPSILON[name])
        assert one.updated and other.updated


# --- a step -----------------------------------------------------------------------------------------------------------


@settings(max_examples=16)
@given(name=HALF, config=CONFIGS, sizes=SIZES, zero=st.integers(0, 3), sequence=st.booleans(), parts=st.integers(1, 2))
@example("bf16", GPTConfig(vocab_size=V, context=T, layers=2, heads=4, dim=8, experts=4), (2, 2, 1, 1), 1, False, 2)
def test_steps_are_near_those_of_one_process(
    name: Any, config: GPTConfig, sizes: Sizes, zero: int, sequence: bool, parts: int
) -> None:
    expected, _ = alone(config, name, 2)
    more = {"sequence": sequence and sizes[1] > 1 and config.experts is None}

    def run(world: Communicator) -> list[StepResult]:
        rank = MixedRank(world, config, sizes, zero, name, **more)
        found = rank.steps(2, micro_batches=parts)
        assert all(p.half is None or p.data.strides[0] for p in rank.model.parameters())
        return found

    results = run_ranks(math.prod(sizes), run)
    for found in results:
        assert_near(found, expected, name)
        assert [(r.loss, r.grad_norm) for r in found] == [(r.loss, r.grad_norm) for r in results[0]], "they agree"


@pytest.mark.control
@pytest.mark.parametrize("zero", range(4))
def test_the_tolerance_tells_the_precisions_from_each_other(zero: int) -> None:
    """Products that are not rounded are noticed: fp32 in the place of bf16 is off by more than the order of sums."""
    config = GPTConfig(vocab_size=V, context=T, layers=2, heads=4, dim=8)
    expected, _ = alone(config, "fp32", 2)
    found = run_ranks(2, lambda world: MixedRank(world, config, (2, 1, 1, 1), zero, "bf16").steps(2))[0]
    differences = [abs(a.grad_norm / b.grad_norm - 1) for a, b in zip(found, expected)]
    assert max(differences) > 1e-4
    with pytest.raises(AssertionError):
        assert_near(found, expected, "fp32")


@pytest.mark.parametrize("sizes", [(2, 1, 1, 1), (1, 2, 1, 1), (1, 1, 2, 1), (1, 1, 1, 2)])
@pytest.mark.parametrize("zero", range(4))
def test_ranks_send_no_half_numbers_and_multiply_only_these(
    monkeypatch: pytest.MonkeyPatch, sizes: Sizes, zero: int
) -> None:
    sent, factors, precisions = set(), set(), set()
    put, half_product, matmul = RankThreads._put, precision._half_product, Precision.matmul

    def watched_put(self: Any, kind: str, to: int, value: Any) -> None:
        if kind != "object":
            sent.add(value.dtype.name)
        put(self, kind, to, value)

    def watched_product(a: Any, b: Any, *out: Any) -> Any:
        factors.update((a.dtype.name, b.dtype.name))
        return half_product(a, b, *out)

    def watched_matmul(self: Any, *arrays: Any, **options: Any) -> Any:
        precisions.add(None if self.dtype is None else self.dtype.name)
        return matmul(self, *arrays, **options)

    monkeypatch.setattr(Precision, "matmul", watched_matmul)
    monkeypatch.setattr(RankThreads, "_put", watched_put)
    monkeypatch.setattr(precision, "_half_product", watched_product)
    config = GPTConfig(vocab_size=V, context=T, layers=2, heads=4, dim=8)
    run_ranks(2, lambda world: MixedRank(world, config, sizes, zero, "bf16").steps(1))
    assert factors == precisions == {"bfloat16"}
    assert sent <= {"float32", "float64"} and "float32" in sent  # norms are float64


@pytest.mark.parametrize("zero", range(4))
def test_parameters_are_cast_once_in_a_step_or_when_they_are_gathered(monkeypatch: Any, zero: int) -> None:
    """With one micro-batch. Of ZeRO 3, a block is gathered forward and backward, and the last one only once."""
    config = GPTConfig(vocab_size=V, context=T, layers=3, heads=4, dim=8, tied_head=False)
    block = sum(p.size for name, p in GPT(config, rng=1).named_parameters() if name.startswith("blocks.0."))
    cast, factor = list[int](), Precision.factor

    def watched(self: Any, a: Any) -> Any:
        if self.dtype is not None and a.dtype == np.float32 and a.ndim == 1:
            cast.append(a.size)
        return factor(self, a)

    monkeypatch.setattr(Precision, "factor", watched)
    run_ranks(2, lambda world: MixedRank(world, config, (2, 1, 1, 1), zero, "bf16").steps(1, micro_batches=1))
    whole = GPT(config, rng=1).num_parameters()
    assert sum(cast) == 2 * (5 * block if zero == 3 else whole)


# --- the loss scale ---------------------------------------------------------------------------------------------------


class TooLargeOnOneRank:
    """NextToken, with a gradient that overflows float16 in the rows of one rank, in one step."""

    def __init__(self, here: bool):
        self.here = here

    def loss_sum(self, model: GPT, batch: Any) -> Any:
        return NextToken().loss_sum(model, batch) * (2.0**30 if self.here else 1.0)

    def count(self, batch: Any) -> float:
        return NextToken().count(batch)


@pytest.mark.parametrize("zero", range(4))
def test_an_overflow_on_one_rank_skips_the_update_of_all(zero: int) -> None:
    config = GPTConfig(vocab_size=V, context=T, layers=2, heads=4, dim=8)

    def run(world: Communicator) -> tuple[list[tuple[bool, bool]], list[LossScale], bool]:
        objective = TooLargeOnOneRank(here=world.rank == 1)
        rank = MixedRank(world, config, (3, 1, 1, 1), zero, "fp16", objective=objective)
        before = {name: array.copy() for name, array in rank.checkpoint().weights.items()}
        found, scales = [], []
        for step in range(3):
            objective.here = world.rank == 1 and step == 1
            found += rank.steps(1, first=step)
            scales.append(LossScale(**rank.mixed.to_json()))
            if step == 0:
                before = {name: array.copy() for name, array in rank.checkpoint().weights.items()}
            if step == 1:
                after = rank.checkpoint().weights
                same = world.rank > 0 and zero == 3 or all(np.array_equal(after[n], before[n]) for n in before)
        return [(r.updated, r.overflow) for r in found], scales, same

    for found, scales, same in run_ranks(3, run):
        assert found == [(True, False), (False, True), (True, False)]
        assert scales == [LossScale(2.0**10, 1), LossScale(2.0**9, 0), LossScale(2.0**9, 1)]
        assert same, "no weight has changed"


# --- another split ----------------------------------------------------------------------------------------------------


@settings(max_examples=10)
@given(
    name=HALF, config=CONFIGS, sizes=SIZES, other=SIZES, zero=st.integers(0, 3), next_zero=st.integers(0, 3)
)  # fmt: skip
def test_a_run_goes_on_with_another_split(
    name: Any, config: GPTConfig, sizes: Sizes, other: Sizes, zero: int, next_zero: int
) -> None:
    expected, _ = alone(config, name, 3)

    def begin(world: Communicator) -> tuple[list[StepResult], Checkpoint, dict]:
        rank = MixedRank(world, config, sizes, zero, name)
        return rank.steps(2), rank.checkpoint(), rank.mixed.to_json()

    first, saved, scale = run_ranks(math.prod(sizes), begin)[0]
    assert scale == ({} if name == "bf16" else {"loss_scale": 2.0**10, "good_steps": 2})

    def go_on(world: Communicator) -> tuple[list[StepResult], dict]:
        rank = MixedRank(world, config, other, next_zero, name)
        rank.restore(saved)
        rank.mixed.restore(scale)
        return rank.steps(1, first=2), rank.mixed.to_json()

    for more, after in run_ranks(math.prod(other), go_on):
        assert_near(first + more, expected, name)
        assert after == ({} if name == "bf16" else {"loss_scale": 2.0**10, "good_steps": 3})


# --- with mpiexec -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "split",
    [
        (2, "bf16", "--zero", "3"),
        (4, "fp16", "--tensor-parallel", "2", "--pipeline-parallel", "2", "--micro-batches", "2"),
        (4, "bf16", "--tensor-parallel", "2", "--sequence-parallel", "--zero", "1", "--optimizer", "muon"),
        (2, "fp16", "--context-parallel", "2"),
    ],
    ids=lambda split: " ".join(map(str, split)),
)
@MARKS[0]
@MARKS[1]
def test_ranks_train_as_one_process_does(split: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ranks, name, *options = split
    without_pictures(monkeypatch)
    more = ["--steps", "6", "--eval-every", "3", "--sample-every", "0", "--batch-size", "6", "--precision", name]
    more += ["--layers", "2", "--heads", "4", "--kv-heads", "2", "--positions", "rope"]
    train(tmp_path / "expected", *more, *(["--optimizer", "muon"] if "muon" in options else []))
    result = mpiexec(ranks, str(ROOT / "train.py"), *arguments(tmp_path / "run", *more, *options))
    assert result.returncode == 0, result.stderr
    resume(tmp_path / "expected", "--steps", "8")
    resume(tmp_path / "run", "--steps", "8")  # by one process
    assert len(metrics(tmp_path / "run")) == 8
    for found, wanted in zip(metrics(tmp_path / "run"), metrics(tmp_path / "expected"), strict=True):
        assert found["train_loss"] == pytest.approx(wanted["train_loss"], rel=EPSILON[name] / 16)
        assert found["grad_norm"] == pytest.approx(wanted["grad_norm"], rel=2 * EPSILON[name])
    found, wanted = (load_file(tmp_path / out / "model.safetensors") for out in ("run", "expected"))
    for key in wanted:  # after 8 steps of at most 0.004 each, where a tiny gradient may have another sign
        np.testing.assert_allclose(found[key], wanted[key], atol=0.01, err_msg=key)
