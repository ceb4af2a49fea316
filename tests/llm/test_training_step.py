"""One update: the same however the batch is split, none when something is not finite; dropout by seed and step."""

from __future__ import annotations

import math
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.model.gpt import GPT
from llm.parallel.objective import Batch
from llm.parallel.threads import Threads
from llm.parallel.workers import Workers
from llm.runs.options import TrainOptions
from llm.training.step import learning_rate, train_step
from minigrad import Tensor, sqrt
from tests.llm.steps import EXACT, KINDS, T, assert_close, gradients, model_and_optimizer, random_batch, workers_of

# --- splitting --------------------------------------------------------------------------------------------------------


def check_split(accumulate: Any, seed: int, rows: int, count: int, micro_batches: int) -> None:
    """Compare `accumulate`, with workers and micro-batches, with one backward pass of the mean loss."""
    (model, _), (plain, _) = model_and_optimizer(), model_and_optimizer()
    batch = random_batch(seed, rows)
    with workers_of(model, count) as workers:
        loss = accumulate(workers, batch, micro_batches=micro_batches)
    expected = plain.loss(*batch)
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-12)
    assert_close(gradients(model), gradients(plain))


@given(seed=st.integers(0, 2**32), rows=st.integers(1, 9), count=st.integers(1, 4), parts=st.integers(1, 4))
def test_a_split_batch_has_the_loss_and_gradient_of_the_whole(seed: int, rows: int, count: int, parts: int) -> None:
    check_split(Workers.accumulate, seed, rows, count, parts)


@pytest.mark.control
def test_a_mean_of_means_is_noticed() -> None:
    """Micro-batches of 3 and 2 rows, each of which counts as much as the other."""

    def mean_of_means(workers: Workers, batch: Batch, micro_batches: int) -> float:
        losses = []
        for x, y in zip(*(np.array_split(array, micro_batches) for array in batch)):
            losses.append(workers.model.loss(x, y) / micro_batches)
            losses[-1].backward()
        return sum(loss.item() for loss in losses)

    check_split(mean_of_means, seed=5, rows=4, count=1, micro_batches=2)
    with pytest.raises(AssertionError):
        check_split(mean_of_means, seed=5, rows=5, count=1, micro_batches=2)


@KINDS
@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_number_of_workers_gives_the_same_bits_twice(kind: type[Workers], count: int) -> None:
    results = []
    for _ in range(2):
        model, optimizer = model_and_optimizer(np.float32, dropout=0.2)
        with workers_of(model, count, kind) as workers:
            steps = [
                train_step(workers, optimizer, random_batch(step, 7), lr=0.01, micro_batches=2, seed=(1, step))
                for step in range(4)
            ]
        results.append(
            ([(s.loss, s.grad_norm) for s in steps], [array.tobytes() for array in model.state_dict().values()])
        )
    assert results[0] == results[1]


def test_tokens_are_the_ids_that_the_model_reads() -> None:
    model, optimizer = model_and_optimizer()
    with workers_of(model, 2) as workers:
        assert train_step(workers, optimizer, random_batch(1, 5), lr=0.01).tokens == 5 * T


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
    model, optimizer = model_and_optimizer()
    with workers_of(model, count) as workers:
        assert train_step(workers, optimizer, random_batch(1, 4), lr=0.01).updated
        before = [array.tobytes() for array in (*model.state_dict().values(), *optimizer.state_dict().values())]
        loss = GPT.loss
        monkeypatch.setattr(GPT, "loss", lambda *args, **options: spoil(loss(*args, **options)))
        result = train_step(workers, optimizer, random_batch(2, 4), lr=0.01)
        assert not result.updated
        assert math.isinf(result.loss) if spoil is infinite else math.isfinite(result.loss)
        assert not math.isfinite(result.grad_norm)
        assert [array.tobytes() for array in (*model.state_dict().values(), *optimizer.state_dict().values())] == before
        monkeypatch.undo()
        assert train_step(workers, optimizer, random_batch(2, 4), lr=0.01).updated, "the next update works again"
    assert [array.tobytes() for array in model.state_dict().values()] != before[: len(model.state_dict())]
    assert not recwarn.list, "the result reports it; warnings would repeat it"


def test_clip_0_leaves_the_gradient() -> None:
    states = []
    for clip in (0.0, 1e9, 1e-3):
        model, optimizer = model_and_optimizer()
        with workers_of(model, 1) as workers:
            train_step(workers, optimizer, random_batch(1, 4), lr=0.01, clip=clip)
        states.append(gradients(model))
    assert_close(states[0], states[1])
    with pytest.raises(AssertionError):
        assert_close(states[0], states[2])


# --- dropout ----------------------------------------------------------------------------------------------------------


def gradient_of_copies(
    seed: tuple[int, int], count: int = 1, dropout: float = 0.3, kind: type[Workers] = Threads
) -> np.ndarray:
    """The gradient of `count` copies of one row, one for each worker. It is of the mean loss, so without dropout it is
    the same for any number.
    """
    model, _ = model_and_optimizer(dropout=dropout)
    with workers_of(model, count, kind) as workers:
        workers.accumulate(tuple(np.tile(rows, (count, 1)) for rows in random_batch(1, 1)), seed=seed)
    return gradients(model)["embedding.weight"]


@given(seed=st.integers(0, 2**40), step=st.integers(0, 2**40))
def test_dropout_differs_between_steps_and_seeds_and_repeats(seed: int, step: int) -> None:
    here = gradient_of_copies((seed, step))
    assert np.array_equal(here, gradient_of_copies((seed, step)))
    assert not np.array_equal(here, gradient_of_copies((seed, step + 1)))
    assert not np.array_equal(here, gradient_of_copies((seed + 1, step)))


@KINDS
@pytest.mark.parametrize("count", [2, 3])
def test_dropout_differs_between_rows_of_workers(kind: type[Workers], count: int) -> None:
    plain = gradient_of_copies((5, 6), dropout=0.0)
    np.testing.assert_allclose(gradient_of_copies((5, 6), count, 0.0, kind), plain, **EXACT)
    assert not np.allclose(gradient_of_copies((5, 6), count, kind=kind), gradient_of_copies((5, 6)), rtol=1e-3)


@KINDS
@settings(max_examples=5)  # processes are forked for each
@given(rows=st.integers(1, 6), count=st.integers(1, 3), parts=st.integers(1, 3), recompute=st.booleans())
def test_dropout_does_not_depend_on_how_a_batch_is_split(
    kind: type[Workers], rows: int, count: int, parts: int, recompute: bool
) -> None:
    found = []
    for split in (count, parts), (1, 1):
        model, _ = model_and_optimizer(dropout=0.3, kv_heads=1)
        model.recompute = recompute
        with workers_of(model, split[0], kind) as workers:
            loss = workers.accumulate(random_batch(1, rows), micro_batches=split[1], seed=(5, 6))
        found.append(gradients(model) | {"loss": np.array(loss)})
    assert_close(*found)


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
