"""minigrad.profile(): what it leaves alone, when it refuses, and its table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import Tensor, debug_arrays, detect_anomaly
from minigrad.gradcheck.catalogue import CATALOGUE
from minigrad.gradcheck.choices import Choices, Example
from minigrad.lazy import Gradient
from minigrad.modes import mode
from minigrad.profiler import Profile, span
from minigrad.profiler.table import Row, rows
from tests import fake_cupy
from tests.minigrad.slow_ops import Clock, broken, ones, slow, stopped_clock, times, total
from tests.minigrad.strategies import examples


@pytest.fixture(scope="module")
def clock() -> Iterator[Clock]:
    with stopped_clock() as clock:
        yield clock


# --- when it records --------------------------------------------------------------------------------------------------


def test_nothing_outside_of_the_block_is_recorded() -> None:
    x = ones()
    before = (x * x).sum()
    with mg.profile() as p:
        inside = (x + x).exp()
    assert [event.name for event in p.events] == ["add", "exp"]
    count = len(p.events)
    before.backward()
    inside.sum().backward()
    with span("work"):
        mg.log(x)
    assert len(p.events) == count
    assert mode.op_hook is None
    assert x.grad is not None


def test_the_ops_of_a_rule_recorded_before_count_as_forward() -> None:
    """The profile cannot know that they belong to a rule."""
    x = ones()
    before = (x * x).sum()
    with mg.profile() as p:
        before.backward(create_graph=True)
    assert {event.kind for event in p.events} == {"forward"}


def test_only_one_can_run_at_a_time() -> None:
    with mg.profile() as p:
        for another in (p, mg.profile()):
            with pytest.raises(RuntimeError, match="a profile is running already, and there can be only one"):
                another.__enter__()
        ones().exp()
    assert [event.name for event in p.events] == ["exp"]
    with mg.profile() as another:
        ones().exp()
    assert len(another.events) == 1


def test_entered_again_it_goes_on_without_the_pause(clock: Clock) -> None:
    p = mg.profile()
    for _ in range(3):
        with p:
            clock.tick(1)
            slow(ones(), clock, 4, 2).backward(np.ones(2))
        clock.tick(90)
        slow(ones(), clock, 8)
    assert p.blocks == [(0, 7), (7, 14), (14, 21)]
    assert times(p) == {"slow": (15, 6, 0)}
    assert "total 7000.00 ms, 100% of 7000.00 ms, mean of 3 blocks;" in p.table()


def test_an_error_ends_it_and_counts_what_had_begun(clock: Clock) -> None:
    p = mg.profile()
    with pytest.raises(ArithmeticError), p, span("work"):
        broken(slow(ones(), clock, 1), clock).backward(np.ones(2))
    assert times(p) == {"slow": (1, 0, 0), "broken": (0, 5, 0), "work": (0, 0, 0)}
    assert total(p) == p.elapsed() == 6
    assert mode.op_hook is None
    with mg.profile() as p:
        slow(ones(), clock, 3)
    assert times(p) == {"slow": (3, 0, 0)}


# --- what it leaves alone ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("other", [detect_anomaly, debug_arrays])
@pytest.mark.parametrize("profile_first", [True, False])
def test_it_works_together_with_other_tools(other: Any, profile_first: bool) -> None:
    p, x = mg.profile(), ones()
    tool: AbstractContextManager = other()
    with p if profile_first else tool, tool if profile_first else p:
        (x * x).sum().backward()
        assert mode.op_hook is not None
    calls = {name: (row.forward_calls, row.backward_calls) for name, row in rows(p.events).items()}
    assert calls == {"mul": (1, 1), "sum": (1, 1)}
    assert mode.op_hook is None


def derivatives(name: str, example: Example) -> list[bytes]:
    """Results, first and second derivatives, and what is left in .grad."""
    xs = [Tensor(x, requires_grad=True) for x in example.inputs]
    out = CATALOGUE[name].f(*xs, **example.options)
    outs = [out] if isinstance(out, Tensor) else list(out)
    first = mg.grad(outs, xs, [np.cos(o.data) for o in outs], create_graph=True)
    curved = [(g * g).sum() for g in first if g.requires_grad]
    for each in outs:
        each.backward(np.cos(each.data), retain_graph=True)
    second = mg.grad(curved, xs) if curved else ()
    return [t.data.tobytes() for t in (*outs, *first, *second, *(x.grad for x in xs if x.grad is not None))]


@pytest.mark.parametrize("name", CATALOGUE)
@given(data=st.data())
def test_gradients_are_the_same_to_the_bit(name: str, data: st.DataObject) -> None:
    example = data.draw(examples(name))
    with mg.profile() as p:
        profiled = derivatives(name, example)
    assert profiled == derivatives(name, example)
    assert p.events or name == "dropout", "dropout returns x itself when nothing is dropped"


@pytest.mark.control
def test_a_change_in_the_last_bit_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    example = CATALOGUE["exp"].example(Choices(0))
    before = derivatives("exp", example)
    run_rule = Profile.run_rule

    def one_bit_more(g: Gradient) -> Gradient:
        return None if g is None else g * (1 + 2**-52)

    monkeypatch.setattr(Profile, "run_rule", lambda *args: tuple(map(one_bit_more, run_rule(*args))))
    with mg.profile():
        assert derivatives("exp", example) != before


def test_on_a_gpu_it_does_not_wait(cupy: Any) -> None:
    x = Tensor(cupy.asarray(np.ones((3, 2), np.float32)), requires_grad=True)
    weight = Tensor(cupy.asarray(np.ones((4, 2), np.float32)), requires_grad=True)
    with fake_cupy.no_sync(), mg.profile() as p:
        mg.linear(x, weight).exp().sum().backward()
    assert [row.calls for row in rows(p.events).values()] == [1, 1, 1]
    linear = next(event for event in p.events if event.name == "linear")
    assert (linear.allocated, linear.moved) == (4 * 12, 4 * (6 + 8 + 12))
    assert "linear" in p.table()


# --- the table --------------------------------------------------------------------------------------------------------


def test_the_table(clock: Clock) -> None:
    with mg.profile() as p:
        y = slow(ones(1 << 17), clock, 1, 4, 1)  # 1 MiB
        y.backward(np.ones(1 << 17))
        with span("work"):
            clock.tick(2)
        clock.tick(2)
    *lines, last = p.table().splitlines()
    assert [line.split() for line in lines] == [
        ["calls", "forward", "ms", "backward", "ms", "total", "ms", "%", "allocated", "moved", "GB/s"],
        ["slow", "1", "1000.00", "5000.00", "6000.00", "60.0", "1", "MiB", "4", "MiB", "0.0"],
        ["work", "1", "2000.00", "20.0"],
    ]
    assert last == ("total 8000.00 ms, 80% of 10000.00 ms; the profiler itself took 0%; peak of the live memory 1 MiB")
    assert len({len(line) for line in lines}) == 1, "columns are aligned"
    assert str(p) == p.table()


def test_an_empty_profile_has_a_table() -> None:
    p = mg.profile()
    assert p.table().splitlines()[-1].startswith("total 0.00 ms, 0% of 0.00 ms;"), "also before it has run"
    with p:
        pass
    assert p.table().splitlines()[-1].startswith("total 0.00 ms, 0% of ")
    assert rows(p.events) == {}
    assert Row().calls == 0


def test_a_table_by_something_else_is_refused() -> None:
    with mg.profile() as p:
        ones().exp()
    with pytest.raises(ValueError, match='a profile is shown by "op" or by "module", not by \'line\''):
        p.table(by="line")
