"""Gradients shared by workers: the same bits however their threads run, without arrays of their own, and nobody waits
for ever.
"""

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


def share(kind: str, values: np.ndarray) -> Any:
    """A share of a gradient in one of the forms in which they come."""

    def add(out: np.ndarray) -> None:
        for row in values:  # row by row, as repeated ids of an embedding: other bits than their sum
            out += row

    if kind == "array":
        return values.sum(axis=0)
    fill = None if kind == "added" else lambda out: np.sum(values, axis=0, out=out)
    return LazyGradient(
        values[0],
        fill,
        add=add
        if kind == "added"
        else (lambda out: np.add(out, values.sum(axis=0), out=out))
        if kind == "both"
        else None,
    )


def parameter(begun: bool) -> Parameter:
    """One that has, if `begun`, a gradient from before."""
    p = Parameter(np.zeros(SHAPE, np.float32))
    p.grad = Tensor(np.full(SHAPE, 0.1, np.float32)) if begun else None
    return p


def added_in_order(shares: list[Any], begun: bool = False) -> bytes:
    p = parameter(begun)
    with no_grad():
        for each in shares:
            p.accumulate(each)
    return p.grad.data.tobytes()  # type: ignore[union-attr]


def brought(order: list[int], slow: list[bool], shares: list[list[Any]], begun: bool) -> bytes:
    """The sum after the workers have brought their shares, `order` saying whose turn it is to come; then all of them
    come back at once.

    Who is `slow` is overtaken between asking for his place and adding his share.
    """
    p = parameter(begun)
    gradients, mine = SharedGradients([p], len(shares)), [iter(each) for each in shares]
    later: list[list] = [[] for _ in shares]
    add, slow_ones, overtaken = gradients._add, iter(slow), []
    gradients._add = lambda *what: overtaken.append(what) if next(slow_ones) else add(*what)  # type: ignore[method-assign]

    def come_back(rank: int) -> None:
        with no_grad():  # threads begin by recording
            gradients._come_back(later[rank])

    with no_grad():
        for rank in order:
            gradients._bring(gradients.sums[p], rank, next(mine[rank]), later[rank])
        gradients._add = add  # type: ignore[method-assign]
        for what in reversed(overtaken):
            add(*what)
    threads = [threading.Thread(target=come_back, args=[rank]) for rank in range(len(shares))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads), "somebody waits for ever"
    assert p.grad is not None
    return p.grad.data.tobytes()


@st.composite
def meetings(draw: Callable) -> tuple[list[int], list[bool], list[str], int, int]:
    """In which order workers come, and who is slow; the kinds of the shares of each round, how many workers, a seed for
    the numbers.
    """
    workers, kinds = draw(st.integers(1, 4)), draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=4))
    order = draw(st.permutations([rank for rank in range(workers) for _ in kinds]))
    slow = draw(st.lists(st.booleans(), min_size=len(order), max_size=len(order)))
    return order, slow, kinds, workers, draw(st.integers(0, 2**32))


def make_shares(kinds: list[str], workers: int, seed: int) -> list[list[Any]]:
    """By worker and round: numbers of many sizes, so that another order gives other bits."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((workers, len(kinds), 4, *SHAPE)) * 10.0 ** rng.integers(
        -3, 4, (workers, len(kinds), 4, *SHAPE)
    )
    return [[share(kind, each) for kind, each in zip(kinds, mine)] for mine in values.astype(np.float32)]


@pytest.mark.parametrize("large", [0, 1000])
@given(meeting=meetings(), begun=st.booleans())
def test_shares_are_added_in_one_order_whoever_comes_first(large: int, meeting: Any, begun: bool) -> None:
    order, slow, kinds, workers, seed = meeting
    shares = make_shares(kinds, workers, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "llm.parallel.shared_gradients.LARGE", large
        )  # below it, shares that can do without an array get one all the same
        found = brought(order, slow, shares, begun)
    assert found == added_in_order([each for round in zip(*shares) for each in round], begun)


def test_another_order_would_be_seen() -> None:
    """Negative control."""
    shares = make_shares(["filled", "filled"], 2, seed=1)
    in_order = [each for round in zip(*shares) for each in round]
    assert added_in_order([in_order[i] for i in (0, 2, 1, 3)]) != added_in_order(in_order)
    assert added_in_order([in_order[i] for i in (1, 0, 2, 3)]) == added_in_order(in_order), (
        "the first two may change places"
    )


def test_nobody_waits_for_a_worker_that_fails() -> None:
    table, outcome = Parameter(np.ones((4, 2), np.float32)), []
    gradients = SharedGradients([table], 2)

    def second() -> None:
        gradients.backward(
            1, embedding(np.array([1, 1]), table).sum()
        )  # can only be added, so worker 0 must come first
        outcome.append("went on")

    thread = threading.Thread(target=second)
    thread.start()
    with pytest.raises(ZeroDivisionError):
        gradients.backward(0, record(table.data.sum(), (table,), lambda g, out: 1 / 0))
    thread.join(10)
    assert outcome == ["went on"]


def test_the_second_worker_needs_no_array_of_the_size_of_a_large_head(monkeypatch: pytest.MonkeyPatch) -> None:
    rng, V, C = np.random.default_rng(0), 40_000, 8
    monkeypatch.setattr("llm.parallel.shared_gradients.LARGE", 1000)
    head, x = Parameter(rng.standard_normal((V, C), np.float32)), Tensor(rng.standard_normal((4, C), np.float32))
    head.grad_buffer = np.empty_like(head.data)
    gradients = SharedGradients([head], 2)
    losses = [
        linear_cross_entropy(x, head, rng.integers(0, V, 4)) for _ in range(2)
    ]  # 4 rows: the gradients of logits are kept
    tracemalloc.start()
    for rank, loss in enumerate(losses):
        gradients.backward(rank, loss)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < head.data.nbytes / 4, "slabs of 2,048 rows are a twentieth of it"
