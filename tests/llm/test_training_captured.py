"""Training steps in a captured graph are those of `train_step`, to the bit, in one launch and with one wait each."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.parallel.threads import Threads
from llm.parallel.workers import Workers
from llm.runs.options import Options, TrainOptions
from llm.runs.tuning_options import TuningOptions
from llm.training import captured, mixed_precision, setup
from llm.training.captured import CapturedStep, obstacle
from llm.training.mixed_precision import MixedPrecision
from llm.training.objectives import NextToken
from llm.training.optimizers import make_optimizer
from llm.training.step import StepResult, train_step
from minigrad.cuda import cublaslt
from minigrad.cuda.products import our_products
from minigrad.optim import SGD, Averaged, Muon
from tests import fake_cupy
from tests.llm.gpts import configs
from tests.llm.trainings import Killed, assert_same_run, interrupt_at, kill, metrics, resume, train, without_pictures

pytest.importorskip("ml_dtypes")
pytestmark = pytest.mark.usefixtures("cupy")

V, B, T = 11, 4, 7
SHAPES: dict[str, dict[str, Any]] = {
    "gpt2": {},
    "llama": {"positions": "rope", "norm": "rmsnorm", "mlp": "swiglu", "kv_heads": 1, "bias": False},
    "soft cap": {"positions": "none", "soft_cap": 5.0, "window": 3},
}
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adamw": {},
    "muon": {"optimizer": "muon"},
    "averaged": {"optimizer": "muon", "ema_decay": 0.5},
}
RATES = [0.01, 0.02, 0.005, 0.01]


class Steps:
    """Steps of a small model on a GPU, by `train_step` or what does the same."""

    def __init__(self, step: Any, optimizer: str = "adamw", shape: str = "gpt2", precision: Any = "fp32",
                 micro_batches: int = 1, *, recompute: bool = False, config: GPTConfig | None = None):  # fmt: skip
        config = config or GPTConfig(vocab_size=V, context=T, layers=2, heads=4, dim=16, **SHAPES[shape])
        self.model = GPT(config, rng=1)
        self.model.recompute = recompute
        self.model.to("cuda")
        self.optimizer = make_optimizer(self.model, TrainOptions(lr=RATES[0], **OPTIMIZERS[optimizer]))
        self.step, self.micro_batches, self.mixed = step, micro_batches, MixedPrecision(precision)
        self.workers: Workers = Threads(self.model, self.mixed.objective(NextToken()), 1)

    def take(self, rows: tuple, lr: float = 0.01) -> StepResult:
        how: dict[str, Any] = {"clip": 0.5, "micro_batches": self.micro_batches, "mixed": self.mixed}
        return self.step(self.workers, self.optimizer, rows, lr=lr, **how)

    def state(self) -> dict[str, np.ndarray]:
        """All that a checkpoint has."""
        with self.optimizer.averaged():
            state = self.model.state_dict() | self.optimizer.state_dict()
        return state | {name: np.asarray(value) for name, value in self.mixed.to_json().items()}

    def first_weight(self) -> Any:
        return next(p.data for name, p in self.model.named_parameters() if name == "embedding.weight")


def plain_step(*arguments: Any, **options: Any) -> StepResult:
    """`train_step` with the products of a graph: those of CuPy add in another order."""
    with our_products():
        return train_step(*arguments, **options)


def batch(seed: int) -> tuple[np.ndarray, np.ndarray]:
    ids = np.random.default_rng(seed).integers(0, V, (B, T + 1))
    return ids[:, :-1], ids[:, 1:]


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def compare(*how: Any, **named: Any) -> None:
    """Steps have the same results with a graph and without it, and the same state after each."""
    plain, graph = (Steps(step, *how, **named) for step in (plain_step, CapturedStep()))
    for number, lr in enumerate(RATES):
        expected, found = (each.take(batch(number), lr) for each in (plain, graph))
        if is_stand_in():
            assert repr(found) == repr(expected)  # (NaN is not equal to NaN)
            assert_same(graph.state(), plain.state())
        else:  # some sums on a GPU have no fixed order
            assert found.loss == pytest.approx(expected.loss, rel=0.01)


def is_stand_in() -> bool:
    return sys.modules["cupy"] is fake_cupy.cupy


# --- the same steps ---------------------------------------------------------------------------------------------------


@given(
    optimizer=st.sampled_from(sorted(OPTIMIZERS)),
    shape=st.sampled_from(sorted(SHAPES)),
    precision=st.sampled_from(["fp32", "bf16", "fp16"]),
    micro_batches=st.integers(1, 3),
    recompute=st.booleans(),
)
def test_captured_steps_are_those_of_train_step(
    optimizer: str, shape: str, precision: str, micro_batches: int, recompute: bool
) -> None:
    compare(optimizer, shape, precision, micro_batches, recompute=recompute)


@pytest.mark.filterwarnings("ignore:overflow encountered", "ignore:invalid value")  # of NumPy in the stand-in
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_scale_of_fp16_falls_and_rises_as_without_a_graph(optimizer: str, monkeypatch: Any) -> None:
    start = {"loss_scale": 2.0**23, "good_steps": 0}  # overflows at first
    monkeypatch.setattr(mixed_precision.LossScale, "__init__", lambda self: vars(self).update(start))
    monkeypatch.setattr(mixed_precision, "GROWTH_STEPS", 2)
    plain, graph = (Steps(step, optimizer, precision="fp16") for step in (plain_step, CapturedStep()))
    overflows = []
    for number in range(22):
        expected, found = plain.take(batch(number)), graph.take(batch(number))
        if is_stand_in():
            assert repr(found) == repr(expected)  # (NaN is not equal to NaN)
            assert_same(graph.state(), plain.state())
        overflows.append(found.overflow)
    assert overflows[0] and not all(overflows) and any(overflows[overflows.index(False) :])


@given(configs(), st.sampled_from(["fp32", "bf16"]))
def test_every_model_without_an_obstacle_can_be_captured(config: GPTConfig, precision: Any) -> None:
    steps = Steps(CapturedStep(), "muon", precision=precision, config=config)
    if obstacle(Options(model=config), steps.workers):
        return
    assert all(steps.take(batch(number)).updated for number in range(2))


@pytest.mark.parametrize("config", [{"experts": 2}, {"positions": "alibi"}])
@pytest.mark.control
def test_a_model_that_cannot_be_captured_is_noticed(config: dict[str, Any]) -> None:
    steps = Steps(CapturedStep(), config=GPTConfig(vocab_size=V, context=T, layers=1, heads=2, dim=8, **config))
    with pytest.raises(RuntimeError, match="could not be captured .*; train with --no-cuda-graph"):
        steps.take(batch(0))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("at_first", [False, True])
def test_a_step_that_is_not_finite_changes_nothing_and_does_not_count(optimizer: str, at_first: bool) -> None:
    steps = Steps(CapturedStep(), optimizer)
    if not at_first:
        steps.take(batch(0))
    weight = steps.first_weight()
    kept = weight[0, 0].copy()
    weight[0, 0] = np.nan
    before = steps.state()
    result = steps.take(tuple(np.zeros((B, T), np.int64) for _ in range(2)))  # reads row 0 of the embedding
    assert not math.isfinite(result.loss) and not result.updated
    assert_same(steps.state(), before)
    weight[0, 0] = kept
    assert steps.take(batch(1)).updated
    counts = {steps for group in steps.optimizer.groups for steps in group.steps}
    assert counts == {1 if at_first else 2}


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_step_is_one_launch_and_one_wait(optimizer: str, precision: str) -> None:
    steps = Steps(CapturedStep(), optimizer, precision=precision, micro_batches=2)
    steps.take(batch(0))
    fake_cupy.reset()
    steps.take(batch(1))
    assert len(fake_cupy.syncs) <= 1
    assert fake_cupy.launches.count("graph") <= 1
    assert len(fake_cupy.launches) <= 4  # the graph, the two arrays of the batch, the numbers


def test_weights_that_were_replaced_are_those_of_the_next_step() -> None:
    plain, graph = Steps(plain_step), Steps(CapturedStep())
    for number in range(2):
        plain.take(batch(number))
        graph.take(batch(number))
        for each in (plain, graph):
            for p in each.model.parameters():
                p.data = p.data * 0.5
    assert graph.take(batch(2)).loss == pytest.approx(plain.take(batch(2)).loss, rel=1e-4)  # on a GPU: other sums


def forget_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = captured._numbers
    monkeypatch.setattr(captured, "_numbers", lambda o, t, lr, mixed: numbers(o, t, RATES[0], mixed))


def forget_time(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = captured._numbers
    monkeypatch.setattr(captured, "_numbers", lambda o, t, lr, mixed: numbers(o, 1, lr, mixed))


def forget_average(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Averaged, "update_averages", lambda self, parallel=None: None)


def forget_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MixedPrecision, "accumulate", lambda self, workers, optimizer, batch, **options: (
        workers.accumulate(batch, **options)))  # fmt: skip


def assert_takes(steps: Steps, expected: list) -> None:
    for number, (lr, (result, state)) in enumerate(zip(RATES, expected)):
        assert steps.take(batch(number), lr) == result
        assert_same(steps.state(), state)


@pytest.mark.control
@pytest.mark.parametrize("forget", [forget_rates, forget_time, forget_average, forget_precision])
def test_what_a_graph_would_forget_is_noticed(forget: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if not is_stand_in():
        pytest.skip("needs equal bits")
    how = ("averaged", "gpt2", "fp16" if forget is forget_precision else "fp32")
    plain = Steps(plain_step, *how)
    expected = [(plain.take(batch(n), lr), plain.state()) for n, lr in enumerate(RATES)]
    forget(monkeypatch)
    graph = Steps(CapturedStep(), *how)
    with pytest.raises(AssertionError):
        assert_takes(graph, expected)


@pytest.mark.control
def test_an_update_without_a_guard_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Muon, "guard", property(lambda self: None, lambda self, value: None))
    with pytest.raises(AssertionError):
        test_a_step_that_is_not_finite_changes_nothing_and_does_not_count("muon", False)


# --- what cannot be captured ------------------------------------------------------------------------------------------


def test_a_batch_of_another_shape_is_refused() -> None:
    steps = Steps(CapturedStep())
    steps.take(batch(0))
    with pytest.raises(ValueError, match="shape"):
        steps.take(tuple(np.zeros((B, T - 1), np.int64) for _ in range(2)))


def test_other_optimizers_and_parameters_that_lag_behind_are_refused() -> None:
    steps = Steps(CapturedStep())
    steps.optimizer.groups[0].steps[0] = 3
    with pytest.raises(ValueError, match="same number of steps"):
        steps.take(batch(0))
    steps.optimizer = SGD(steps.model.named_parameters())
    with pytest.raises(ValueError, match="SGD cannot be captured"):
        steps.take(batch(0))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, ""),
        ({"positions": "alibi"}, "ALiBi"),
        ({"optimizer": "muon", "ema_decay": 0.9, "precision": "fp16", "micro_batches": 2}, ""),
        ({"cuda_graph": False}, "--no-cuda-graph"),
        ({"profile": True}, "--profile"),
        ({"dropout": 0.1}, "dropout"),
        ({"experts": 4}, "experts"),
        ({"lora_rank": 2}, "adapters"),
        ({"objective": "chat"}, "--objective chat"),
        ({"optimizer": "schedule-free"}, "schedule-free"),
    ],
)
def test_the_reason_against_a_graph_is_told(change: dict[str, Any], reason: str) -> None:
    training, tuning, shape = Options().training, TuningOptions(), GPTConfig(vocab_size=V, layers=1, heads=2, dim=8)
    for name, value in change.items():
        if hasattr(training, name):
            training = replace(training, **{name: value})
        elif hasattr(tuning, name):
            tuning = replace(tuning, **{name: value})
        else:
            shape = replace(shape, **{name: value})
    found = obstacle(Options(training, shape, tuning), Threads(GPT(shape), NextToken(), 1))
    assert (reason in found) if reason else (found == "")


def test_without_cublaslt_steps_are_not_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Any:
        raise cublaslt.Failed("libcublasLt was not found")

    monkeypatch.setattr(cublaslt, "library", missing)
    steps = Steps(CapturedStep())
    assert "cublasLt" in obstacle(Options(), steps.workers)


# --- runs -------------------------------------------------------------------------------------------------------------

ON_GPU = ["--device", "cuda", "--steps", "8", "--checkpoint-every", "3", "--eval-every", "2", "--sample-every", "4"]
RUNS = {
    "adamw": ["--micro-batches", "2"],
    "muon": ["--optimizer", "muon", "--ema-decay", "0.5", "--precision", "bf16"],
    "fp16": ["--precision", "fp16", "--freeze", "embedding"],
}


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    without_pictures(monkeypatch)
    monkeypatch.setenv("MINIGRAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(mixed_precision, "GROWTH_STEPS", 2)


@pytest.mark.usefixtures("_quick")
@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("mode", ["--cuda-graph", "--no-cuda-graph"])
def test_a_run_that_was_killed_and_resumed_equals_one_that_was_not(tmp_path: Path, name: str, mode: str) -> None:
    arguments = [*ON_GPU, *RUNS[name], mode]
    train(tmp_path / "expected", *arguments)
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, 5, kill)
        with pytest.raises(Killed):
            train(tmp_path / "run", *arguments)
    resume(tmp_path / "run", "--device", "cuda")
    assert_same_run(tmp_path / "run", tmp_path / "expected")
    assert layers(tmp_path / "run") == layers(tmp_path / "expected")
    assert len(metrics(tmp_path / "run")) == 8


@pytest.mark.usefixtures("_quick")
@pytest.mark.parametrize("name", RUNS)
def test_a_run_with_a_graph_equals_one_without(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, metrics, samples and the norms of the layers."""
    if not is_stand_in():
        pytest.skip("some sums on a GPU have no fixed order")
    monkeypatch.setattr(setup, "train_step", plain_step)
    said = {}
    for mode in ("--cuda-graph", "--no-cuda-graph"):
        train(tmp_path / mode, *ON_GPU, *RUNS[name], mode)
        said[mode] = capsys.readouterr().out
    assert "a step is started as a whole, in a CUDA graph" in said["--cuda-graph"]
    assert "a step is started one operation at a time: --no-cuda-graph says so" in said["--no-cuda-graph"]
    assert_same_run(*(tmp_path / mode for mode in said))
    assert len({json.dumps(layers(tmp_path / mode)) for mode in said}) == 1
    assert len({(tmp_path / mode / "samples.jsonl").read_text() for mode in said}) == 1
    assert all(norms["gradient"] and norms["update"] for line in layers(tmp_path / mode) for norms in line.values())


@pytest.mark.usefixtures("_quick")
def test_what_is_not_captured_is_said_once_and_trained(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    train(tmp_path / "run", *ON_GPU, "--dropout", "0.1")
    assert capsys.readouterr().out.count("one operation at a time: dropout cannot be captured") == 1
    train(tmp_path / "cpu", *ON_GPU, "--device", "cpu")
    assert "a step is started" not in capsys.readouterr().out


def layers(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line)["norms"] for line in (out / "layers.jsonl").read_text().splitlines()]
