"""Gradients that threads share: the same bits however the threads run, without arrays of their own, and no deadlock."""

from __future__ import annotations

import threading
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.parallel import shared_gradients
from llm.parallel.shared_gradients import SharedGradients
from llm.training.objectives import NextToken
from minigrad import Tensor, no_grad
from minigrad.fused.embedding import embedding
from minigrad.fused.linear_cross_entropy import linear_cross_entropy
from minigrad.lazy import LazyGradient
from minigrad.nn.module import Parameter
from minigrad.tensor import record
from tests.llm.steps import model_and_optimizer, workers_of

SHAPE = (3, 2)
SECONDS = 10.0  # how long threads that should not wait may take, on a busy machine
KINDS = ("array", "filled", "added", "both")


def gradient(kind: str, values: np.ndarray) -> Any:
    """A gradient in one of the forms in which rules return them: the sum of `values` (n, *SHAPE) over n."""

    def add_rows(out: np.ndarray) -> None:
        for row in values:  # row by row, as repeated ids of an embedding: it rounds differently from adding the sum
            out += row

    def add_sum(out: np.ndarray) -> None:
        out += values.sum(axis=0)

    def fill(out: np.ndarray) -> None:
        np.sum(values, axis=0, out=out)

    return {
        "array": values.sum(axis=0),
        "filled": LazyGradient(values[0], fill),
        "added": LazyGradient(values[0], add=add_rows),
        "both": LazyGradient(values[0], fill, add=add_sum),
    }[kind]


def parameter(*, has_gradient: bool) -> Parameter:
    p = Parameter(np.zeros(SHAPE, np.float32))
    p.grad = Tensor(np.full(SHAPE, 0.1, np.float32)) if has_gradient else None
    return p


def added_in_order(gradients: list[Any], *, has_gradient: bool = False) -> bytes:
    p = parameter(has_gradient=has_gradient)
    with no_grad():
        for number, each in enumerate(gradients):
            p.accumulate(each, in_place=number > 0)  # as backward() does
    return p.grad.data.tobytes()  # type: ignore[union-attr]


def run_interleaved(
    order: list[int], overtaken: list[bool], gradients: list[list[Any]], large: int, *, has_gradient: bool
) -> bytes:
    """The sum when workers have submitted their gradients in the given order, and then added the delayed ones at once.

    Where `overtaken` is True, other workers come between the moment in which a gradient gets its number and the moment
    in which it is added.
    """
    p = parameter(has_gradient=has_gradient)
    shared, remaining = SharedGradients([p], len(gradients), large), [iter(each) for each in gradients]
    delayed: list[list] = [[] for _ in gradients]
    add, is_overtaken, postponed = shared._add, iter(overtaken), []
    shared._add = lambda *what: postponed.append(what) if next(is_overtaken) else add(*what)  # type: ignore[method-assign]

    def add_delayed(rank: int) -> None:
        with no_grad():  # the setting belongs to a thread, and a new thread records
            shared._add_delayed(delayed[rank])

    with no_grad():
        for rank in order:
            shared._submit(shared._accumulators[p], rank, next(remaining[rank]), delayed[rank])
        shared._add = add  # type: ignore[method-assign]
        for what in reversed(postponed):
            add(*what)
    # Daemons: threads that wait for ever would keep Python from ending after the failure of the test.
    threads = [threading.Thread(target=add_delayed, args=[rank], daemon=True) for rank in range(len(gradients))]
    for thread in threads:
        thread.start()
    end = time.monotonic() + SECONDS
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    if any(thread.is_alive() for thread in threads):
        shared.abandon()  # lets them end
        pytest.fail("a thread waits for ever")
    assert p.grad is not None
    return p.grad.data.tobytes()


@st.composite
def interleavings(draw: Callable) -> tuple[list[int], list[bool], list[str], int, int]:
    """In which order workers submit, and when they are overtaken; the kinds of the gradients of each round, the number
    of workers, and a seed for the numbers.
    """
    workers, kinds = draw(st.integers(1, 4)), draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=4))
    order = draw(st.permutations([rank for rank in range(workers) for _ in kinds]))
    overtaken = draw(st.lists(st.booleans(), min_size=len(order), max_size=len(order)))
    return order, overtaken, kinds, workers, draw(st.integers(0, 2**32))


def random_gradients(kinds: list[str], workers: int, seed: int) -> list[list[Any]]:
    """By worker and round. The numbers are of many sizes, so that another order gives other bits."""
    rng, shape = np.random.default_rng(seed), (workers, len(kinds), 4, *SHAPE)
    values = (rng.standard_normal(shape) * 10.0 ** rng.integers(-3, 4, shape)).astype(np.float32)
    return [[gradient(kind, each) for kind, each in zip(kinds, of_worker)] for of_worker in values]


def in_order(gradients: list[list[Any]]) -> list[Any]:
    """The first gradient of each worker, then the second of each, and so on."""
    return [each for round in zip(*gradients) for each in round]


@pytest.mark.parametrize("large", [0, 1000], ids=["delayed", "copied"])
@given(interleaving=interleavings(), has_gradient=st.booleans())
def test_gradients_are_added_in_one_order_whichever_thread_comes_first(
    large: int, interleaving: Any, has_gradient: bool
) -> None:
    order, overtaken, kinds, workers, seed = interleaving
    gradients = random_gradients(kinds, workers, seed)
    found = run_interleaved(order, overtaken, gradients, large, has_gradient=has_gradient)
    assert found == added_in_order(in_order(gradients), has_gradient=has_gradient)


@pytest.mark.parametrize("large", [0, 1000], ids=["delayed", "copied"])
@given(interleaving=interleavings())
def test_what_waits_is_an_array_and_what_would_need_a_large_array_is_delayed(large: int, interleaving: Any) -> None:
    """A lazy gradient refers to activations, which change or stay in memory, so none is stored for later."""
    order, _, kinds, workers, seed = interleaving
    p = parameter(has_gradient=False)
    shared, remaining = SharedGradients([p], workers, large), map(iter, random_gradients(kinds, workers, seed))
    each, delayed, next_ones = list(remaining), list[Any](), 0
    with no_grad():
        for rank in order:
            given_one, before = next(each[rank]), len(delayed)
            shared._submit(shared._accumulators[p], rank, given_one, delayed)
            next_ones += shared._accumulators[p].next_number > next_ones
            assert not any(isinstance(kept, LazyGradient) for kept in shared._accumulators[p].stored.values())
            for new in delayed[before:]:
                assert isinstance(given_one, LazyGradient) and not new.is_next()
                assert given_one.fill is None or p.size > large


@pytest.mark.control
def test_another_order_is_noticed() -> None:
    first, *others = in_order(random_gradients(["filled", "filled"], 2, seed=1))
    a, b, c = others
    expected = added_in_order([first, a, b, c])
    assert added_in_order([first, b, a, c]) != expected
    assert added_in_order([a, first, b, c]) == expected, "the first two may be exchanged"


@pytest.mark.parametrize("event", ["add", "abandon"])
def test_a_thread_that_waits_is_woken(event: str) -> None:
    """It waits already when its gradient becomes the next one, or when another thread fails."""
    p = parameter(has_gradient=True)
    shared, delayed, waits = SharedGradients([p], 2, large=0), list[Any](), threading.Event()
    first, second = (each[0] for each in random_gradients(["both"], 2, seed=1))
    wait_for = shared._changed.wait_for

    def announced(ready: Callable[[], bool]) -> bool:
        def is_ready() -> bool:
            if not (now := ready()):
                waits.set()  # with the lock held: nothing changes before this thread waits
            return now

        return wait_for(is_ready)

    shared._changed.wait_for = announced  # type: ignore[method-assign, assignment]

    def add_delayed() -> None:
        with no_grad():
            shared._add_delayed(delayed)

    with no_grad():
        shared._submit(shared._accumulators[p], 1, second, delayed)
        assert len(delayed) == 1
        thread = threading.Thread(target=add_delayed, daemon=True)
        thread.start()
        assert waits.wait(SECONDS)
        shared.abandon() if event == "abandon" else shared._submit(shared._accumulators[p], 0, first, [])
    thread.join(SECONDS)
    assert not thread.is_alive(), "it waits for ever"


def test_a_worker_does_not_wait_for_one_that_has_failed() -> None:
    table, outcome = Parameter(np.ones((4, 2), np.float32)), []
    gradients = SharedGradients([table], 2)

    def second() -> None:
        # This gradient can only be added to another one, so it waits for that of worker 0.
        gradients.backward(1, embedding(np.array([1, 1]), table).sum())
        outcome.append("went on")

    thread = threading.Thread(target=second, daemon=True)
    thread.start()
    with pytest.raises(ZeroDivisionError):
        gradients.backward(0, record(table.data.sum(), (table,), lambda g, out: 1 / 0))
    thread.join(SECONDS)
    assert outcome == ["went on"]


@pytest.mark.parametrize("failing", [0, 1])
def test_no_worker_waits_for_one_that_has_failed_before_its_first_gradient(failing: int) -> None:
    """As when there is no memory for the activations of one of them."""
    started = threading.Barrier(2)

    class Fails(NextToken):
        def loss_sum(self, model: Any, batch: Any) -> Any:
            rank = batch[0][0, 0]
            started.wait(SECONDS)
            if rank == failing:
                raise MemoryError("no room")
            return super().loss_sum(model, batch)

    model, _ = model_and_optimizer()
    raised: list[BaseException] = []

    def train() -> None:
        with workers_of(model, 2, objective=Fails()) as workers:
            try:
                # The first id of each row is the rank of its worker. The gradient of an embedding waits for its turn.
                workers.accumulate((np.array([[0, 1], [1, 2]]), np.array([[1, 2], [2, 3]])))
            except MemoryError as error:
                raised.append(error)

    thread = threading.Thread(target=train, daemon=True)
    thread.start()
    thread.join(SECONDS)
    assert [str(error) for error in raised] == ["no room"], "it waits for ever"


def test_the_state_of_the_sums_is_read_and_written_with_the_lock_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the lock, two threads could add at once. That happens too seldom for a test that waits for it."""
    unguarded = guard(monkeypatch)
    random = np.random.default_rng(3)
    for large in (0, 1000):
        gradients = random_gradients([*KINDS], 3, seed=1)
        order = random.permutation(np.repeat(np.arange(3), len(KINDS))).tolist()
        run_interleaved(order, [False] * len(order), gradients, large, has_gradient=False)
    assert unguarded == []


@pytest.mark.control
@pytest.mark.parametrize("method", ["_submit", "_add", "_add_delayed"])
def test_a_forgotten_lock_is_noticed(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    unguarded = guard(monkeypatch)
    original = getattr(SharedGradients, method)

    class NoLock:
        def __enter__(self) -> None: ...

        def __exit__(self, *error: object) -> None: ...

        def notify_all(self) -> None: ...

        def wait_for(self, ready: Callable[[], bool]) -> None:
            assert ready()

    def without_lock(shared: SharedGradients, *arguments: Any) -> None:
        lock, shared._changed = shared._changed, NoLock()  # type: ignore[assignment]
        try:
            original(shared, *arguments)
        finally:
            shared._changed = lock

    monkeypatch.setattr(SharedGradients, method, without_lock)
    run_interleaved([1, 0], [False] * 2, random_gradients(["added"], 2, seed=1), 0, has_gradient=True)
    assert unguarded != []


def guard(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A list of the state of accumulators that will have been used by a thread that did not hold the lock."""
    unguarded: list[str] = []
    locks: list[threading.Condition] = []

    class Guarded(shared_gradients._Accumulator):
        def __getattribute__(self, name: str) -> Any:
            if name in ("submitted", "stored", "next_number", "is_adding", "swapped"):
                check(name)
            return super().__getattribute__(name)

        def __setattr__(self, name: str, value: Any) -> None:
            check(name)
            super().__setattr__(name, value)

    def check(name: str) -> None:
        if locks and not locks[-1]._is_owned():  # type: ignore[attr-defined]
            unguarded.append(name)

    make = SharedGradients.__init__

    def remember_lock(shared: SharedGradients, *arguments: Any) -> None:
        locks.clear()  # nobody needs a lock while the accumulators are made
        make(shared, *arguments)
        locks.append(shared._changed)

    monkeypatch.setattr(shared_gradients, "_Accumulator", Guarded)
    monkeypatch.setattr(SharedGradients, "__init__", remember_lock)
    return unguarded


def test_the_second_worker_needs_no_array_of_the_size_of_a_large_head() -> None:
    rng, V, C = np.random.default_rng(0), 40_000, 8
    head, x = Parameter(rng.standard_normal((V, C), np.float32)), Tensor(rng.standard_normal((4, C), np.float32))
    head.grad_buffer = np.empty_like(head.data)
    gradients = SharedGradients([head], 2, large=1000)
    # With 4 rows, the gradients of the logits are kept, so that of the head is lazy.
    losses = [linear_cross_entropy(x, head, rng.integers(0, V, 4)) for _ in range(2)]
    tracemalloc.start()
    for rank, loss in enumerate(losses):
        gradients.backward(rank, loss)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < head.data.nbytes / 4, "it is added in slabs of 2,048 rows, a twentieth of it"
