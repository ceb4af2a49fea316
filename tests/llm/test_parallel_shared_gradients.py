"""Gradients that threads share: the same bits however the threads run, without arrays of their own, and no deadlock."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.parallel.shared_gradients import SharedGradients
from minigrad import Tensor, no_grad
from minigrad.fused.embedding import embedding
from minigrad.fused.linear_cross_entropy import linear_cross_entropy
from minigrad.lazy import LazyGradient
from minigrad.nn.module import Parameter
from minigrad.tensor import record

SHAPE = (3, 2)
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
        for each in gradients:
            p.accumulate(each)
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
    threads = [threading.Thread(target=add_delayed, args=[rank]) for rank in range(len(gradients))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads), "a thread waits for ever"
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


@pytest.mark.control
def test_another_order_is_noticed() -> None:
    first, *others = in_order(random_gradients(["filled", "filled"], 2, seed=1))
    a, b, c = others
    expected = added_in_order([first, a, b, c])
    assert added_in_order([first, b, a, c]) != expected
    assert added_in_order([a, first, b, c]) == expected, "the first two may be exchanged"


def test_a_worker_does_not_wait_for_one_that_has_failed() -> None:
    table, outcome = Parameter(np.ones((4, 2), np.float32)), []
    gradients = SharedGradients([table], 2)

    def second() -> None:
        # This gradient can only be added to another one, so it waits for that of worker 0.
        gradients.backward(1, embedding(np.array([1, 1]), table).sum())
        outcome.append("went on")

    thread = threading.Thread(target=second)
    thread.start()
    with pytest.raises(ZeroDivisionError):
        gradients.backward(0, record(table.data.sum(), (table,), lambda g, out: 1 / 0))
    thread.join(10)
    assert outcome == ["went on"]


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
