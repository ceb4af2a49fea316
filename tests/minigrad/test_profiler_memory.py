"""Bytes in a profile: predicted exactly for drawn shapes, and compared with the memory that tracemalloc reports."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from minigrad import Tensor
from minigrad.gradcheck.catalogue import CATALOGUE
from minigrad.profiler import Profile
from minigrad.profiler.memory import Memory, owner
from minigrad.profiler.report import peak
from minigrad.profiler.table import Row, rows, size
from minigrad.tensor import record
from tests.minigrad.strategies import examples

LENGTHS = st.integers(1, 40)
FLOAT = 4


def leaf(*shape: int) -> Tensor:
    return Tensor(np.ones(shape, np.float32), requires_grad=True)


def alive(p: Profile) -> Counter[str]:
    """Bytes by label."""
    found: Counter[str] = Counter()
    for _, label, change in p.memory.changes:
        found[label] += change
    return found


def bytes_of(row: Row) -> tuple[int, int]:
    return row.allocated, row.moved


# --- predicted --------------------------------------------------------------------------------------------------------


@given(n=LENGTHS, i=LENGTHS, o=LENGTHS)
def test_linear(n: int, i: int, o: int) -> None:
    x, weight = leaf(n, i) * 1.0, leaf(o, i)
    with mg.profile() as p:
        y = mg.linear(x, weight)
    assert bytes_of(rows(p.events)["linear"]) == (FLOAT * n * o, FLOAT * (n * i + o * i + n * o))
    assert alive(p) == {"linear": FLOAT * n * o}
    p = mg.profile()
    with p:
        y = mg.linear(x, weight)
        forward = len(p.events)
        y.backward(np.ones((n, o), np.float32))
    # dy, x and W come in, dx and dW go out. dx is allocated by the rule; dW is a LazyGradient, stored where it stays.
    backward = rows(p.events[forward:])["linear"]
    assert bytes_of(backward) == (FLOAT * n * i, FLOAT * (n * o + 2 * n * i + 2 * o * i))


@given(n=LENGTHS, m=LENGTHS)
def test_primitives(n: int, m: int) -> None:
    x, y, nbytes = leaf(n, m), leaf(m), FLOAT * n * m
    with mg.profile() as p:
        z = (x * y).exp()
        z.backward(np.ones((n, m), np.float32))
    found = {(event.name, event.kind): (event.allocated, event.moved) for event in p.events}
    assert found["mul", "forward"] == (nbytes, 2 * nbytes + FLOAT * m)
    assert found["exp", "forward"] == (nbytes, 2 * nbytes)
    assert found["exp", "backward"] == (nbytes, 3 * nbytes)  # dz, the result that was saved, dx
    # dz; x and y, which were saved; and two gradients. The engine's sum over the rows of the second does not count.
    allocated, moved = found["mul", "backward"]
    assert moved == 4 * nbytes + FLOAT * m
    assert allocated == 2 * nbytes


@given(shape=st.lists(LENGTHS, min_size=1, max_size=3))
def test_views_are_free(shape: list[int]) -> None:
    x = leaf(*shape)
    with mg.profile() as p:
        views = [x.reshape(-1), x.transpose(), x[0:1], mg.expand_dims(x, 0), *mg.split(x, 1)]
        views.append(mg.broadcast_to(x, (3, *x.shape)))
    assert all(view.requires_grad for view in views)
    assert {bytes_of(row) for row in rows(p.events).values()} == {(0, 0)}
    assert alive(p).total() == 0


@given(lengths=st.lists(LENGTHS, min_size=1, max_size=6), with_backward=st.booleans())
def test_the_memory_of_a_chain_rises_and_falls(lengths: list[int], with_backward: bool) -> None:
    """Each result of the chain is saved for its gradient, and freed by the backward pass, the last one first."""
    with mg.profile() as p:
        y = leaf(1)
        for n in lengths:
            y = mg.broadcast_to(y.sum(), (n,)).tanh()
        before = len(p.memory.changes)
        if with_backward:
            y.backward(np.ones(lengths[-1], np.float32))
        del y
    assert [change for _, label, change in p.memory.changes[:before] if label == "tanh"] == [FLOAT * n for n in lengths]
    results = [change for _, label, change in p.memory.changes[before:] if label == "tanh"]
    *others, last = (-FLOAT * n for n in lengths)
    if with_backward:
        assert results == [*reversed(others), last], "the last one is freed by `del y`"
    else:
        assert sorted(results) == sorted([*others, last])
    left = alive(p)
    assert left["tanh"] == 0
    assert left.total() == left["gradients"] == 0
    assert p.report().peak >= FLOAT * sum(lengths)


def test_without_recording_a_result_lives_as_long_as_its_tensor() -> None:
    x = leaf(100)
    with mg.profile() as p, mg.no_grad():
        y = x.exp().sin()
    assert alive(p) == {"exp": 0, "sin": 400}
    del y
    assert alive(p).total() == 0
    assert p.report().peak == 800


def test_memory_freed_in_a_pause_is_gone() -> None:
    p = mg.profile()
    with p:
        y = leaf(100).exp()
    del y
    with p:
        z = leaf(100).exp()
    assert p.report().peak == 400
    assert p.memory.changes[1][0] == p.blocks[0][1]
    assert z.requires_grad


# --- compared with tracemalloc ----------------------------------------------------------------------------------------


def numpy_bytes() -> int:
    """What tracemalloc has seen NumPy allocate and not free, without the single byte of an array without elements."""
    numpy_only = tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)
    return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces([numpy_only]).traces if trace.size > 1)


def profiled_and_traced(f: Callable[[], Any]) -> tuple[Profile, int, int]:
    """The profile of a call, the bytes that it counts as alive while the result is, and those that NumPy holds."""
    f()  # what is computed once and cached does not count
    p = mg.profile()
    tracemalloc.start()
    try:
        with p:
            result = f()
        traced = numpy_bytes()
    finally:
        tracemalloc.stop()
    counted = sum(change for _, _, change in p.memory.changes if abs(change) > 1)
    assert result is not None
    return p, counted, traced


@pytest.mark.parametrize("name", CATALOGUE)
@given(data=st.data())
def test_every_array_that_a_function_returns_or_saves_is_found(name: str, data: st.DataObject) -> None:
    example = data.draw(examples(name))
    xs = [Tensor(x, requires_grad=True) for x in example.inputs]
    p, counted, traced = profiled_and_traced(lambda: CATALOGUE[name].f(*xs, **example.options))
    # Options such as an index or a mask existed before, so tracemalloc has not seen them. The rule may save them.
    options = {id(owner(a)): owner(a) for a in arrays_in(example.options.values())}
    existing = sum(a.nbytes for key, a in options.items() if key in p.memory._alive and a.nbytes > 1)
    assert counted - existing == traced


def arrays_in(values: Iterable[Any]) -> list[np.ndarray]:
    """The arrays among the values, also those in tuples and lists."""
    found: list[np.ndarray] = []
    for value in values:
        if isinstance(value, np.ndarray):
            found.append(value)
        elif isinstance(value, (tuple, list)):
            found += arrays_in(value)
    return found


@pytest.mark.control
def test_an_array_that_no_reference_leads_to_would_be_missed() -> None:
    hidden = []

    def hides(x: Tensor) -> Tensor:
        hidden.append(np.ones(1000))
        return record(x.data * 2, (x,), lambda g, out: (g * 2.0,))

    _, counted, traced = profiled_and_traced(lambda: hides(leaf(10)))
    assert counted == 40
    assert traced >= 8040


@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"norm_position": "post", "dropout": 0.1},
        {"positions": "alibi", "tied_head": False},
        {"positions": "rope", "norm": "rmsnorm", "mlp": "swiglu", "bias": False, "kv_heads": 2, "qk_norm": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("recompute", [False, True])
def test_a_language_model(choices: dict[str, Any], recompute: bool) -> None:
    model = GPT(GPTConfig(vocab_size=100, context=32, layers=2, heads=4, dim=32, **choices))
    model.recompute = recompute
    mg.optim.SGD(model.parameters(), lr=0.1)  # allocates the flat gradient
    ids = np.zeros((4, 32), dtype=int)
    p, counted, traced = profiled_and_traced(lambda: model.loss(ids, ids))
    assert traced * 0.99 <= counted <= traced + 2 * ids.nbytes, "the ids existed before, so they may be counted, too"
    with p:
        model.loss(ids, ids).backward()
        left = alive(p)
    assert left.total() <= 2 * ids.nbytes, "backward frees everything"
    assert p.report().peak > counted


# --- details ----------------------------------------------------------------------------------------------------------


def test_memory_is_counted_once_for_all_of_its_views() -> None:
    memory = Memory(lambda: 0.0)
    a = np.ones(8)
    assert [memory.track(view, "a") for view in (a[2:5], a, a.reshape(2, 4).T, np.ones(0))] == [64, 0, 0, 0]
    view = a[::2]
    del a
    assert memory.changes == [(0.0, "a", 64)]
    del view
    assert memory.changes == [(0.0, "a", 64), (0.0, "a", -64)]
    assert peak(memory.changes) == 64


def test_sizes_have_readable_units() -> None:
    sizes = {0: "0 B", 1023: "1023 B", 1536: "1.5 KiB", 3 * 2**20: "3 MiB", 5.5 * 2**30: "5.5 GiB"}
    assert [size(n) for n in sizes] == list(sizes.values())
