"""Workers that are processes: the gradient of the whole batch, and no process left behind. Bits and dropout:
test_training_step.py.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from mmap import mmap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.parallel import processes as processes_module
from llm.parallel.processes import ALIGNMENT, Processes
from llm.parallel.selection import MAX_PARAMETERS_FOR_PROCESSES, make_workers, processes_are_faster
from llm.parallel.threads import Threads
from llm.parallel.workers import Workers
from llm.training.objectives import NextToken
from tests.llm.steps import NEEDS_FORK, assert_close, gradients, model_and_optimizer, random_batch, workers_of
from tests.llm.test_training_resume import options, start

pytestmark = NEEDS_FORK


def compare(model: GPT, workers: Workers, seed: int, rows: int, parts: int = 1) -> None:
    """Loss and gradient beside those of one backward pass of a model with the same weights."""
    inputs, targets = random_batch(seed, rows)
    for p in model.parameters():
        p.grad = None
    loss = workers.accumulate((inputs, targets), micro_batches=parts)
    plain, _ = model_and_optimizer()
    plain.load_state_dict(model.state_dict())
    expected = plain.loss(inputs, targets)
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-12)
    assert_close(gradients(model), gradients(plain))


@settings(max_examples=settings().max_examples // 2)  # each forks
@given(seed=st.integers(0, 2**32), rows=st.integers(1, 9), count=st.integers(1, 4), parts=st.integers(1, 4))
def test_a_split_batch_gives_the_loss_and_gradient_of_the_whole(seed: int, rows: int, count: int, parts: int) -> None:
    model, _ = model_and_optimizer()
    with workers_of(model, count, Processes) as workers:
        compare(model, workers, seed, rows, parts)
        compare(model, workers, seed + 1, 9, 1)  # with all workers, perhaps for the first time


def test_changed_weights_are_used() -> None:
    model, _ = model_and_optimizer()
    other, _ = model_and_optimizer(positions="learned")
    with workers_of(model, 2, Processes) as workers:
        compare(model, workers, seed=1, rows=4)
        model.load_state_dict({name: 2 * array for name, array in other.state_dict().items()})
        compare(model, workers, seed=2, rows=4)
        model.load_state_dict({name: 3 * array for name, array in other.state_dict().items()})


@pytest.mark.control
def test_weights_that_are_not_copied_are_noticed() -> None:
    model, _ = model_and_optimizer()
    with workers_of(model, 2, Processes) as workers:
        workers._weights = []  # type: ignore[attr-defined]
        model.load_state_dict({name: 2 * array for name, array in model.state_dict().items()})
        with pytest.raises(AssertionError):
            compare(model, workers, seed=2, rows=4)


@settings(max_examples=settings().max_examples // 2)  # each forks
@given(count=st.integers(1, 3), dim=st.sampled_from([2, 6, 14]), layers=st.integers(1, 2))
def test_workers_ask_the_system_for_one_array_of_weights_and_a_gradient_for_each_child(
    count: int, dim: int, layers: int
) -> None:
    """Shared memory, which no tool for Python's memory sees: as much as the arrays need, and each at its own place."""
    asked: list[int] = []

    class Mapping(mmap):
        def __new__(cls, number: int, length: int) -> Mapping:
            assert number == -1, "memory, not a file"
            asked.append(length)
            return super().__new__(cls, number, length)

    model = GPT(GPTConfig(vocab_size=5, context=3, layers=layers, heads=1, dim=dim), rng=1, dtype=np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes_module, "mmap", Mapping)
        workers = Processes(model, NextToken(), count)
    try:
        parameters = list(model.parameters())
        needed = sum(p.data.nbytes for p in parameters)
        assert len(asked) == count
        assert all(needed <= length <= needed + ALIGNMENT * len(parameters) for length in asked)
        for arrays in (workers._weights, *workers._gradients):
            places = sorted((each.ctypes.data, each.nbytes) for each in arrays)
            assert all(place % ALIGNMENT == 0 for place, _ in places)
            assert all(place + size <= after for (place, size), (after, _) in pairwise(places)), "none overlaps another"
            assert [(a.shape, a.dtype) for a in arrays] == [(p.shape, p.data.dtype) for p in parameters]
    finally:
        workers.close()


# --- what can go wrong ------------------------------------------------------------------------------------------------


def test_an_error_in_a_process_is_raised_here(monkeypatch: pytest.MonkeyPatch) -> None:
    here, loss = os.getpid(), GPT.loss

    def fails_elsewhere(*args: Any, **more: Any) -> Any:
        if os.getpid() != here:
            raise MemoryError("no room")
        return loss(*args, **more)

    model, _ = model_and_optimizer()
    monkeypatch.setattr(GPT, "loss", fails_elsewhere)
    with workers_of(model, 2, Processes) as workers:
        with pytest.raises(RuntimeError, match="a worker could not go on: MemoryError: no room"):
            workers.accumulate(random_batch(1, 4))
        monkeypatch.undo()
        compare(model, workers, seed=2, rows=4)


def test_a_process_that_is_killed_is_noticed_and_replaced() -> None:
    model, _ = model_and_optimizer()
    with workers_of(model, 3, Processes) as workers:
        compare(model, workers, seed=1, rows=4)
        os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGKILL)
        with pytest.raises(RuntimeError, match="its process was ended from outside"):
            workers.accumulate(random_batch(2, 4))
        compare(model, workers, seed=3, rows=4)


def test_an_interrupt_leaves_no_result_for_the_next_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    here, loss = os.getpid(), GPT.loss

    def interrupted(*args: Any, **more: Any) -> Any:
        if os.getpid() == here:
            raise KeyboardInterrupt
        return loss(*args, **more)

    model, _ = model_and_optimizer()
    with workers_of(model, 2, Processes) as workers:
        compare(model, workers, seed=1, rows=4)
        monkeypatch.setattr(GPT, "loss", interrupted)
        with pytest.raises(KeyboardInterrupt):
            workers.accumulate(random_batch(2, 4))
        monkeypatch.undo()
        compare(model, workers, seed=3, rows=4)


@pytest.mark.parametrize("closed", [True, False])
def test_no_process_is_left_behind(closed: bool) -> None:
    """Whether the workers are closed or garbage collected."""
    before = set(multiprocessing.active_children())
    model, _ = model_and_optimizer()
    workers = Processes(model, NextToken(), 3)
    workers.accumulate(random_batch(1, 4))
    assert len(set(multiprocessing.active_children()) - before) == 2
    if closed:
        workers.close()
        workers.close()
    del workers
    assert set(multiprocessing.active_children()) == before


def test_a_program_that_closes_nothing_ends() -> None:
    """Also if something else has registered a handler for the end of Python before."""
    program = """if True:
        import tempfile
        folder = tempfile.TemporaryDirectory()
        from llm.parallel.processes import Processes
        from llm.training.objectives import NextToken
        from tests.llm.steps import model_and_optimizer, random_batch
        workers = Processes(model_and_optimizer()[0], NextToken(), 3)
        print(workers.accumulate(random_batch(1, 4)))
    """
    subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2], check=True, timeout=60)


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_signal_to_all_processes_lets_them_finish_the_update(number: signal.Signals, tmp_path: Path) -> None:
    """As a terminal sends Ctrl-C, and a system that shuts down SIGTERM."""
    process = start(tmp_path / "run", *options(**{"steps": 100_000, "threads": 3}), start_new_session=True)
    end = time.monotonic() + 60
    while not (tmp_path / "run" / "metrics.jsonl").exists():
        assert time.monotonic() < end and process.poll() is None, "training does not begin"
        time.sleep(0.05)
    time.sleep(0.3)
    os.killpg(process.pid, number)
    output, _ = process.communicate(timeout=60)  # waits for every process that could write
    assert process.returncode == 128 + number, output.decode()
    assert b"stopped at step " in output


def test_small_models_use_processes_and_others_threads() -> None:
    model, _ = model_and_optimizer()
    assert type(make_workers(model, NextToken(), 2)) is Processes
    assert type(make_workers(model, NextToken(), 1)) is Threads
    limit = MAX_PARAMETERS_FOR_PROCESSES
    assert processes_are_faster(limit, 2)
    assert not processes_are_faster(limit + 1, 2) and not processes_are_faster(limit, 1)


def test_threads_are_used_when_no_process_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise BlockingIOError("Resource temporarily unavailable")

    monkeypatch.setattr(processes_module, "Child", refused)
    assert type(make_workers(model_and_optimizer()[0], NextToken(), 2)) is Threads


def test_a_process_that_may_have_no_children_uses_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as those of a pool."""
    monkeypatch.setattr(multiprocessing, "current_process", lambda: SimpleNamespace(daemon=True))
    assert not processes_are_faster(MAX_PARAMETERS_FOR_PROCESSES, 2)
