"""One update: however a batch is split it is the same; what is not finite changes nothing; dropout is a function of
seed and step.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.parallel.processes import Processes
from llm.parallel.threads import Workers
from llm.runs.options import TrainOptions
from llm.training.step import accumulate_gradients, learning_rate, train_step
from minigrad import Tensor, sqrt
from minigrad.optim import AdamW

V, T = 13, 6
# float64 sums of some dozen terms in another order; gradients here are of size 1e-3 to 1
EXACT = {"rtol": 1e-10, "atol": 1e-13}
FORKS = pytest.mark.skipif(sys.platform != "linux", reason="forks are for Linux; elsewhere there are threads")
KINDS = pytest.mark.parametrize("kind", [Workers, pytest.param(Processes, marks=FORKS)])


def make(dtype: Any = np.float64, **shape: Any) -> tuple[GPT, AdamW]:
    model = GPT(GPTConfig(vocab_size=V, context=T, layers=2, heads=2, dim=8, **shape), rng=1, dtype=dtype)
    return model, AdamW(model.named_parameters(), lr=0.01, weight_decay=0.1)


@contextmanager
def working(model: GPT, count: int, kind: type[Workers] = Workers) -> Iterator[Workers]:
    workers = kind(model, count)
    try:
        yield workers
    finally:
        workers.close()


def batch(seed: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    ids = np.random.default_rng(seed).integers(0, V, (rows, T + 1))
    return ids[:, :-1], ids[:, 1:]


def gradients(model: GPT) -> dict[str, np.ndarray]:
    return {name: p.grad.numpy().copy() for name, p in model.named_parameters() if p.grad is not None}


def assert_close(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], err_msg=name, **EXACT)


# --- splitting --------------------------------------------------------------------------------------------------------


def split_and_whole(accumulate: Any, seed: int, rows: int, count: int, parts: int) -> None:
    """Check `accumulate` with workers and parts against one backward pass of the mean loss."""
    (model, _), (plain, _) = make(), make()
    inputs, targets = batch(seed, rows)
    with working(model, count) as workers:
        loss = accumulate(workers, inputs, targets, parts)
    expected = plain.loss(inputs, targets)
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-12)
    assert_close(gradients(model), gradients(plain))


@given(seed=st.integers(0, 2**32), rows=st.integers(1, 9), count=st.integers(1, 4), parts=st.integers(1, 4))
def test_a_split_batch_gives_the_loss_and_gradient_of_the_whole(seed: int, rows: int, count: int, parts: int) -> None:
    split_and_whole(accumulate_gradients, seed, rows, count, parts)


def test_a_mean_of_means_is_caught() -> None:
    """Negative control: parts of 3 and 2 rows, each of which counts as much as the other."""

    def mean_of_means(workers: Workers, inputs: np.ndarray, targets: np.ndarray, parts: int) -> float:
        losses = []
        for x, y in zip(np.array_split(inputs, parts), np.array_split(targets, parts)):
            losses.append(workers.model.loss(x, y) / parts)
            losses[-1].backward()
        return sum(loss.item() for loss in losses)

    split_and_whole(mean_of_means, seed=5, rows=4, count=1, parts=2)
    with pytest.raises(AssertionError):
        split_and_whole(mean_of_means, seed=5, rows=5, count=1, parts=2)


@KINDS
@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_number_of_workers_gives_the_same_bits_twice(kind: type[Workers], count: int) -> None:
    results = []
    for _ in range(2):
        model, optimizer = make(np.float32, dropout=0.2)
        with working(model, count, kind) as workers:
            steps = [
                train_step(workers, optimizer, *batch(step, 7), lr=0.01, micro_batches=2, seed=(1, step))
                for step in range(4)
            ]
        results.append(
            ([(s.loss, s.grad_norm) for s in steps], [array.tobytes() for array in model.state_dict().values()])
        )
    assert results[0] == results[1]


# --- what is not finite -----------------------------------------------------------------------------------------------


def infinite(loss: Tensor) -> Tensor:
    return loss * math.inf


def steep(loss: Tensor) -> Tensor:
    """The same number, but its gradient is NaN: the slope of a square root at 0 is infinite, times 0."""
    return loss + sqrt((loss * 0) ** 2)


@pytest.mark.parametrize("spoil", [infinite, steep])
@pytest.mark.parametrize("count", [1, 2])
def test_what_is_not_finite_changes_nothing(
    spoil: Any, count: int, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    model, optimizer = make()
    with working(model, count) as workers:
        assert train_step(workers, optimizer, *batch(1, 4), lr=0.01).updated
        before = [array.tobytes() for array in (*model.state_dict().values(), *optimizer.state_dict().values())]
        loss = GPT.loss
        monkeypatch.setattr(GPT, "loss", lambda *args, **options: spoil(loss(*args, **options)))
        result = train_step(workers, optimizer, *batch(2, 4), lr=0.01)
        assert not result.updated
        assert math.isinf(result.loss) if spoil is infinite else math.isfinite(result.loss)
        assert not math.isfinite(result.grad_norm)
        assert [array.tobytes() for array in (*model.state_dict().values(), *optimizer.state_dict().values())] == before
        monkeypatch.undo()
        assert train_step(workers, optimizer, *batch(2, 4), lr=0.01).updated, "the next one is made again"
    assert [array.tobytes() for array in model.state_dict().values()] != before[: len(model.state_dict())]
    assert not recwarn.list, "it is said once, by the result"


def test_clip_0_leaves_the_gradient() -> None:
    states = []
    for clip in (0.0, 1e9, 1e-3):
        model, optimizer = make()
        with working(model, 1) as workers:
            train_step(workers, optimizer, *batch(1, 4), lr=0.01, clip=clip)
        states.append(gradients(model))
    assert_close(states[0], states[1])
    with pytest.raises(AssertionError):
        assert_close(states[0], states[2])


# --- dropout ----------------------------------------------------------------------------------------------------------


def gradient_of_copies(
    seed: tuple[int, int], count: int = 1, dropout: float = 0.3, kind: type[Workers] = Workers
) -> np.ndarray:
    """The gradient of so many copies of one row, one for each worker; of the mean, so that without dropout their number
    does not matter.
    """
    model, _ = make(dropout=dropout)
    with working(model, count, kind) as workers:
        accumulate_gradients(workers, *(np.tile(rows, (count, 1)) for rows in batch(1, 1)), seed=seed)
    return gradients(model)["embedding.weight"]


@given(seed=st.integers(0, 2**40), step=st.integers(0, 2**40))
def test_dropout_differs_between_steps_and_seeds_and_repeats(seed: int, step: int) -> None:
    here = gradient_of_copies((seed, step))
    assert np.array_equal(here, gradient_of_copies((seed, step)))
    assert not np.array_equal(here, gradient_of_copies((seed, step + 1)))
    assert not np.array_equal(here, gradient_of_copies((seed + 1, step)))


@KINDS
@pytest.mark.parametrize("count", [2, 3])
def test_dropout_differs_between_workers(kind: type[Workers], count: int) -> None:
    np.testing.assert_allclose(
        gradient_of_copies((5, 6), count, 0.0, kind), gradient_of_copies((5, 6), dropout=0.0), **EXACT
    )
    assert not np.allclose(gradient_of_copies((5, 6), count, kind=kind), gradient_of_copies((5, 6)), rtol=1e-3)


# --- learning rate ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", get_args(get_type_hints(TrainOptions)["schedule"]))
@given(steps=st.integers(1, 50), warmup=st.integers(0, 60), lr=st.floats(0, 1), min_lr=st.floats(0, 1))
def test_every_schedule_works_for_every_length(
    schedule: Any, steps: int, warmup: int, lr: float, min_lr: float
) -> None:
    rate = learning_rate(TrainOptions(steps=steps, warmup=warmup, lr=lr, min_lr=min_lr, schedule=schedule))
    rates = [rate(step) for step in range(steps + 3)]
    assert all(0 <= x <= lr * (1 + 1e-12) for x in rates)
    if warmup < steps:
        assert rates[warmup] == pytest.approx(lr)
    if schedule not in ("constant", "inverse_sqrt") and warmup < steps - 1:
        assert rates[-1] == pytest.approx(min(lr, min_lr), abs=1e-12)
