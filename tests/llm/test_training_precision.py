"""--precision: the dtype of every array in a step, losses beside those of fp32, the loss scale, resuming exactly."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llm.parallel.workers import Workers
from llm.runs.errors import RunError
from llm.training import mixed_precision
from llm.training.mixed_precision import GROWTH_STEPS, LARGEST_SCALE, LossScale, MixedPrecision
from llm.training.objectives import NextToken
from llm.training.step import StepResult, train_step
from minigrad import precision
from minigrad.cuda import products
from minigrad.modes import op_hook
from tests import fake_cupy
from tests.llm.steps import KINDS, T, V, model_and_optimizer, random_batch, workers_of
from tests.llm.trainings import Killed, assert_same_run, interrupt_at, kill, metrics, resume, train, without_pictures

pytest.importorskip("ml_dtypes")
HALF = pytest.mark.parametrize("name", ["bf16", "fp16"])


def steps(
    name: Any, count: int, kind: Any = None, rows: int = 6, workers: int = 2, device: str = "cpu", lr: float = 0.01
) -> tuple[list[StepResult], list[bytes], MixedPrecision]:
    """The results of some steps, the weights after them, and the precision with its scale."""
    model, optimizer = model_and_optimizer(np.float32)
    mixed = MixedPrecision(name)
    arguments = (kind,) if kind else ()
    with workers_of(model, workers, *arguments, objective=mixed.objective(NextToken())) as group:
        results = [
            train_step(
                group, optimizer, random_batch(step % 3, rows), lr=lr, micro_batches=2, seed=(1, step), mixed=mixed
            )
            for step in range(count)
        ]
    return results, [p.data.tobytes() for p in model.parameters()], mixed


# --- the policy -------------------------------------------------------------------------------------------------------


@HALF
def test_only_factors_of_products_are_of_the_half_type(cupy, monkeypatch: pytest.MonkeyPatch, name: Any) -> None:
    """In a whole step on a GPU: results and gradients of all operations, weights, moments; and what is multiplied."""
    model, optimizer = model_and_optimizer(np.float32)
    model.to("cuda")
    optimizer = type(optimizer)(model.named_parameters(), lr=0.01)
    mixed, results, factors, found = MixedPrecision(name), set(), set(), []
    fused_product = products.fused_product

    def watched(a: Any, b: Any, *arguments: Any, **options: Any) -> Any:
        factors.update((a.dtype.name, b.dtype.name))
        found.append(fused_product(a, b, *arguments, **options))
        return found[-1]

    def hook(data: Any, inputs: Any, vjp: Any) -> Any:
        results.add(data.dtype.name)
        return vjp

    monkeypatch.setattr(products, "fused_product", watched)
    with workers_of(model, 1, objective=mixed.objective(NextToken())) as workers, op_hook(hook):
        batch = random_batch(0, 3)
        assert train_step(workers, optimizer, batch, lr=0.01, mixed=mixed).updated
    assert factors == {{"bf16": "bfloat16", "fp16": "float16"}[name]}
    # 2 layers: qkv, out, up, down, two products of attention; and the head. Two more of each in the backward pass,
    assert len(found) >= 3 * (2 * 6 + 1)
    assert {y.dtype.name for y in found} == {"float32"}
    assert results == {"float32"}
    for group in optimizer.groups:
        assert {a.dtype.name for a in (group.flat.data, group.flat.grad, *group.moments)} == {"float32"}
    assert all(p.half is None for p in model.parameters()), "no copy is left that an update would make old"


@HALF
def test_weights_are_cast_once_in_a_step(monkeypatch: pytest.MonkeyPatch, name: Any) -> None:
    """All micro-batches and threads use the copies of the flat arrays."""
    model, optimizer = model_and_optimizer(np.float32)
    mixed, cast, factor = MixedPrecision(name), [], precision.Precision.factor
    sizes = {p.data.nbytes for p in model.parameters() if p.ndim == 2}

    def watched(self: Any, a: Any) -> Any:
        if a.dtype == np.float32 and (a.base is not None and a.nbytes in sizes or a.ndim == 1):
            cast.append(a)
        return factor(self, a)

    monkeypatch.setattr(precision.Precision, "factor", watched)
    with workers_of(model, 2, objective=mixed.objective(NextToken())) as workers:
        train_step(workers, optimizer, random_batch(0, 4), lr=0.01, micro_batches=2, mixed=mixed)
    of_weights = [a for a in cast if any(np.shares_memory(a, group.flat.data) for group in optimizer.groups)]
    assert len(of_weights) == len(optimizer.groups)


def learn_to_count(name: Any, count: int = 200, lr: float = 0.003) -> np.ndarray:
    """The losses of steps that each have new rows of numbers in order, from a number that is drawn."""
    model, optimizer = model_and_optimizer(np.float32)
    mixed, losses = MixedPrecision(name), []
    with workers_of(model, 1, objective=mixed.objective(NextToken())) as workers:
        for step in range(count):
            ids = (np.random.default_rng(step).integers(0, V, (8, 1)) + np.arange(T + 1)) % V
            result = train_step(workers, optimizer, (ids[:, :-1], ids[:, 1:]), lr=lr, mixed=mixed)
            losses.append(result.loss)
    return np.array(losses)


@HALF
def test_two_hundred_losses_beside_those_of_fp32(name: Any) -> None:
    full, half = learn_to_count("fp32"), learn_to_count(name)
    assert full[-1] < full[0] / 2, "the model has learned something"
    assert not np.array_equal(full, half)
    # Measured: 0.0026 for bf16 and 0.0006 for fp16, which has three more binary digits.
    assert abs(full - half).max() < 0.02
    # The control: another learning rate, by a tenth, is noticed.
    assert abs(full - learn_to_count("fp32", lr=0.0033)).max() > 0.04


def test_fp32_is_a_step_without_a_policy() -> None:
    model, optimizer = model_and_optimizer(np.float32)
    with workers_of(model, 2) as workers:
        plain = [
            train_step(workers, optimizer, random_batch(step % 3, 6), lr=0.01, micro_batches=2, seed=(1, step))
            for step in range(3)
        ]
    results, weights, _ = steps("fp32", 3)
    assert results == plain
    assert weights == [p.data.tobytes() for p in model.parameters()]


@HALF
@KINDS
def test_threads_and_processes_give_the_same_bits_twice(kind: type[Workers], name: Any) -> None:
    assert steps(name, 3, kind)[:2] == steps(name, 3, kind)[:2]


@HALF
def test_on_a_gpu_as_on_the_cpu(cupy, name: Any) -> None:
    losses = []
    for device in ("cpu", "cuda"):
        model, _ = model_and_optimizer(np.float32)
        model.to(device)
        optimizer = type(_)(model.named_parameters(), lr=0.01)
        mixed = MixedPrecision(name)
        with workers_of(model, 1, objective=mixed.objective(NextToken())) as workers:
            fake_cupy.reset()
            losses.append([train_step(workers, optimizer, random_batch(0, 4), lr=0.01, mixed=mixed) for _ in range(3)])
            assert len(fake_cupy.syncs) <= 3 * 2  # the loss and the norm, as in float32
    for on_cpu, on_gpu in zip(*losses):
        assert on_cpu.loss == pytest.approx(on_gpu.loss, rel=0.01)  # some roundings go the other way


# --- the loss scale ---------------------------------------------------------------------------------------------------


@KINDS
@pytest.mark.parametrize("workers", [1, 3])
def test_an_overflow_is_found_and_skipped_for_all(kind: type[Workers], workers: int, monkeypatch: Any) -> None:
    monkeypatch.setattr(mixed_precision.LossScale, "__init__", lambda self: vars(self).update(SCALE))
    SCALE = {"loss_scale": 2.0**30, "good_steps": 0}
    results, after, mixed = steps("fp16", 1, kind, workers=workers)
    assert math.isfinite(results[0].loss) and not math.isfinite(results[0].grad_norm)
    assert (results[0].updated, results[0].overflow) == (False, True)
    assert after == [p.data.tobytes() for p in model_and_optimizer(np.float32)[0].parameters()], "no weight has changed"
    assert vars(mixed.scale) == {"loss_scale": 2.0**29, "good_steps": 0}
    results, *_ = steps("fp16", 20, kind, workers=workers)
    assert results[-1].updated and not results[-1].overflow, "halved until it fits"


@pytest.mark.control
def test_without_a_scale_small_gradients_are_lost_in_fp16() -> None:
    small = 1e-8  # as a gradient; the smallest float16 is 6e-8
    assert np.float16(small) == 0
    assert float(np.float16(small * mixed_precision.FIRST_SCALE)) / mixed_precision.FIRST_SCALE == pytest.approx(
        small, rel=1e-3
    )


def test_the_schedule_of_the_scale() -> None:
    scale = LossScale()
    assert [scale.update(overflow=False) for _ in range(GROWTH_STEPS - 1)] == [False] * (GROWTH_STEPS - 1)
    assert scale == LossScale(2.0**16, GROWTH_STEPS - 1)
    scale.update(overflow=False)
    assert scale == LossScale(2.0**17, 0)
    assert scale.update(overflow=True)
    assert scale == LossScale(2.0**16, 0)
    assert not LossScale(1.0).update(overflow=True), "no smaller scale would help"
    largest = LossScale(LARGEST_SCALE, GROWTH_STEPS - 1)
    largest.update(overflow=False)
    assert largest.loss_scale == LARGEST_SCALE


@pytest.mark.parity
def test_the_schedule_is_that_of_torch() -> None:
    torch = pytest.importorskip("torch")
    theirs, ours = torch.amp.GradScaler("cpu", growth_interval=GROWTH_STEPS), LossScale()
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer, random = torch.optim.SGD([weight], lr=0), np.random.default_rng(5)
    for step in range(2 * GROWTH_STEPS + 50):
        overflow = bool(random.random() < 0.01) and (step < 30 or step > 2 * GROWTH_STEPS + 30)
        assert theirs.get_scale() == ours.loss_scale
        weight.grad = theirs.scale(torch.ones(1)) * (math.inf if overflow else 1)
        theirs.step(optimizer)
        theirs.update()
        ours.update(overflow=overflow)
    assert ours.loss_scale > 2.0**16


# --- runs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [["bf16"], ["fp16"], ["fp16", "--threads", "2", "--recompute"]])
def test_a_resumed_run_equals_one_that_was_not_interrupted(
    tmp_path: Path, monkeypatch: Any, options: list[str]
) -> None:
    without_pictures(monkeypatch)
    monkeypatch.setattr(mixed_precision, "GROWTH_STEPS", 2)  # so that the scale grows, and overflows in the end
    arguments = ["--precision", *options, "--steps", "12", "--checkpoint-every", "3", "--eval-every", "4"]
    train(tmp_path / "expected", *arguments)
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, 5, kill)
        with pytest.raises(Killed):
            train(tmp_path / "run", *arguments)
    resume(tmp_path / "run")
    assert_same_run(tmp_path / "run", tmp_path / "expected")
    found, expected = (json.loads((tmp_path / name / "state.json").read_text()) for name in ("run", "expected"))
    assert {k: found.get(k) for k in ("loss_scale", "good_steps")} == {
        k: expected.get(k) for k in ("loss_scale", "good_steps")
    }
    assert ("loss_scale" in expected) == (options[0] == "fp16")
    assert expected.get("loss_scale", 0) != mixed_precision.FIRST_SCALE
    assert len(metrics(tmp_path / "run")) == 12


@pytest.mark.parametrize(("key", "value"), [("loss_scale", 3.0), ("loss_scale", "big"), ("loss_scale", 0.5),
                                            ("good_steps", -1), ("good_steps", None)])  # fmt: skip
def test_an_impossible_scale_is_refused(key: str, value: Any) -> None:
    with pytest.raises(RunError, match=key):
        MixedPrecision("fp16").restore({"loss_scale": 4.0, "good_steps": 1, key: value})
