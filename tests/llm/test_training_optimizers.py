"""Which optimizer trains which parameter, and the memory that it takes."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given

from llm.model.config import GPTConfig
from llm.model.cost import training_memory
from llm.model.frozen import freeze
from llm.model.gpt import GPT
from llm.runs.options import Options, TrainOptions
from llm.runs.tuning_options import TuningOptions
from llm.training.memory import memory_arguments
from llm.training.mixed_precision import MixedPrecision
from llm.training.objectives import NextToken
from llm.training.optimizers import make_optimizer
from minigrad.optim import AdamW, Muon, Together
from tests.llm.gpts import configs, random_gpt
from tests.llm.steps import random_batch, workers_of

WIDE = GPTConfig(vocab_size=13, context=6, layers=2, heads=2, dim=256)


@given(configs())
def test_muon_trains_the_matrices_of_the_layers_and_adamw_all_others(config: GPTConfig) -> None:
    model = random_gpt(config, 0)
    together = make_optimizer(model, TrainOptions(optimizer="muon"))
    assert isinstance(together, Together)
    kinds = {name: type(each) for each in together.optimizers for group in each.groups for name in group.names}
    expected = {n: Muon if n.startswith("blocks.") and p.ndim > 1 else AdamW for n, p in model.named_parameters()}
    assert kinds == expected


@given(configs())
def test_the_memory_of_the_moments_is_the_predicted_one(config: GPTConfig) -> None:
    config = replace(config, bias=False, qkv_bias=None, out_bias=None, mlp_bias=None)  # two moments of few numbers
    model = random_gpt(config, 0)
    for kind in ("adamw", "muon", "schedule-free"):
        found = make_optimizer(model, TrainOptions(optimizer=kind)).moments_size()  # type: ignore[arg-type]
        how = {"muon": kind == "muon", "averaged": kind == "schedule-free"}
        assert found == training_memory(config, itemsize=8, **how).optimizer


def test_the_memory_of_an_average_is_the_predicted_one() -> None:
    """What making the optimizer takes, with --ema-decay and without it."""
    model = GPT(WIDE)
    plain, averaged = (held_after(lambda d=d: make_optimizer(model, TrainOptions(ema_decay=d))) for d in (0.0, 0.9))
    predicted = [training_memory(WIDE, averaged=each).optimizer for each in (False, True)]
    assert averaged - plain == pytest.approx(predicted[1] - predicted[0], rel=0.01)  # Python's own objects


def held_after(make: Any) -> int:
    """Bytes that are held by what `make()` returns."""
    tracemalloc.start()
    kept = make()
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    del kept
    return held


# --- the copies of --precision ----------------------------------------------------------------------------------------


class Watched(NextToken):
    """Notes how many bytes are held when the forward pass begins."""

    held = 0

    def loss_sum(self, model: GPT, batch: Any) -> Any:
        self.held = tracemalloc.get_traced_memory()[0]
        return super().loss_sum(model, batch)


def copies_of(precision: Any, *, frozen: bool = False) -> int:
    """Bytes that a step, and the one before it, have made before its forward pass begins."""
    model, watched, mixed = GPT(WIDE), Watched(), MixedPrecision(precision)
    if frozen:
        freeze(model, "blocks.0")
    optimizer = make_optimizer(model, TrainOptions(optimizer="muon"))
    with workers_of(model, 1, objective=mixed.objective(watched, model)) as workers:
        tracemalloc.start()
        for step in range(2):  # frozen weights are cast in the first one
            mixed.accumulate(workers, optimizer, random_batch(step, 2))
        tracemalloc.stop()
    return watched.held


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("frozen", [False, True])
def test_the_half_copies_take_what_is_predicted(precision: Any, frozen: bool) -> None:
    if precision == "bf16":
        pytest.importorskip("ml_dtypes")
    tuning = TuningOptions(freeze="blocks.0") if frozen else TuningOptions()
    training = TrainOptions(optimizer="muon", precision=precision)
    how = [memory_arguments(Options(replace(training, precision=p), WIDE, tuning), 1) for p in ("fp32", precision)]
    without, with_copies = (training_memory(WIDE, **each).weights for each in how)
    found = copies_of(precision, frozen=frozen)
    assert found == pytest.approx(with_copies - without, rel=0.02)  # Python's own objects
    assert copies_of("fp32", frozen=frozen) < 0.02 * found, "a control: without another precision there are none"
