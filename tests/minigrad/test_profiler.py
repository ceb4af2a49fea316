"""minigrad.profile(): times by a clock that only the ops themselves move, so that every second has one right place; and
its guards.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import Tensor, debug_arrays, detect_anomaly, nn
from minigrad.gradcheck.catalogue import CATALOGUE
from minigrad.gradcheck.choices import Choices, Example
from minigrad.lazy import LazyGradient
from minigrad.modes import mode
from minigrad.nn import module
from minigrad.profiler import Profile, span
from minigrad.profiler.table import Row, rows
from minigrad.tensor import array_of, record, tensor
from tests import fake_cupy
from tests.minigrad.strategies import examples

SECONDS = st.integers(0, 50)  # whole numbers: their sums are exact


class Clock:
    """Time stands still but for what `tick` lets pass. Each thread lives in the same time."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def tick(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(scope="module")
def clock() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock()
        patch.setattr(time, "perf_counter", clock)
        patch.setattr(module._here, "entered", 0.0)  # and put back what it was: times of two clocks do not mix
        yield clock


def slow(x: Tensor, clock: Clock, forward: float = 0, backward: float = 0, deferred: float = 0) -> Tensor:
    """x + 0, which takes so long forward, in its rule, and in filling its deferred gradient."""
    clock.tick(forward)

    def vjp(g: Tensor, out: None) -> tuple:
        clock.tick(backward)
        return (LazyGradient(array_of(g), lambda out: (clock.tick(deferred), np.copyto(out, array_of(g)))),)

    return record(x.data + 0, (x,), vjp)


def outer(x: Tensor, clock: Clock, a: float, b: float, c: float) -> Tensor:
    """x + 0, whose rule takes a and uses an op that takes b, and c backward."""

    def vjp(g: Tensor, out: None) -> tuple:
        clock.tick(a)
        return (slow(tensor(g), clock, b, c),)

    return record(x.data + 0, (x,), vjp)


def broken(x: Tensor, clock: Clock) -> Tensor:
    def vjp(g: Tensor, out: None) -> tuple:
        clock.tick(5)
        raise ArithmeticError

    return record(x.data + 0, (x,), vjp)


def leaf(*shape: int) -> Tensor:
    return Tensor(np.ones(shape or (2,)), requires_grad=True)


def times(p: Profile) -> dict[str, tuple[float, float, float]]:
    return {name: (row.forward, row.backward, row.span) for name, row in rows(p.events).items()}


def total(p: Profile) -> float:
    return sum(event.seconds for event in p.events)


# ---- what counts to what ---------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(SECONDS, SECONDS, SECONDS), min_size=1, max_size=6))
def test_all_time_of_a_chain_is_counted_once(clock, steps):
    y, x = (leaf(),) * 2
    with mg.profile() as p:
        for forward, backward, deferred in steps:
            y = slow(y, clock, forward, backward, deferred)
        y.backward(np.ones(2))
    row = rows(p.events)["slow"]
    assert (row.forward_calls, row.backward_calls, row.calls) == (len(steps),) * 3
    assert row.forward == sum(forward for forward, _, _ in steps)
    assert row.backward == sum(backward + deferred for _, backward, deferred in steps)
    assert total(p) == p.now() == row.seconds
    assert x.grad is not None


def test_negative_control_timing_the_rules_alone_misses_deferred_gradients(clock):
    """What a wrapper around the rule would see: half of the time of this one."""
    seen = []

    def watch(data, inputs, vjp):
        def timed(g, out):
            begin = time.perf_counter()
            shares = vjp(g, out)
            seen.append(time.perf_counter() - begin)
            return shares

        return timed

    mode.op_hook = watch
    try:
        y = slow(leaf(), clock, backward=3, deferred=3)
    finally:
        mode.op_hook = None
    y.backward(np.ones(2))
    assert seen == [3]


def test_python_between_two_ops_counts_to_the_second_but_not_from_before_its_module(clock):
    class Late(nn.Module):
        def forward(self, x):
            clock.tick(7)
            return slow(x, clock, 1)

    late = Late()
    with mg.profile() as p:
        clock.tick(5)
        x = slow(leaf(), clock, 1)
        clock.tick(100)
        late(x)
    assert [event.seconds for event in p.events] == [5 + 1, 7 + 1]
    assert p.now() == 114


@given(SECONDS, SECONDS, SECONDS)
def test_ops_of_a_rule_are_part_of_it(clock, a, b, c):
    """Also with recording on, when their results can be differentiated: then they have a backward of their own."""
    x = leaf()
    with mg.profile() as p:
        outer(x, clock, a, b, c).backward(np.ones(2))
    assert times(p) == {"outer": (0, a + b, 0)}
    with mg.profile() as p:
        (g,) = mg.grad([outer(x, clock, a, b, c)], [x], [Tensor(np.ones(2), requires_grad=True)], create_graph=True)
        clock.tick(40)
        g.backward(np.ones(2))
    assert times(p)["outer"] == (0, a + b, 0)
    assert times(p)["slow"] == (0, c, 0)
    assert total(p) == p.now() - 40


def test_gradients_that_the_engine_adds_up_count_to_the_rule_they_come_from(clock, monkeypatch):
    """A sum that undoes broadcasting, a sum of two shares: no op of the forward pass is called `sum` or `add` here."""
    x = leaf(1)
    with mg.profile() as p:
        y = slow(x, clock)
        (mg.broadcast_to(y, (3,)) * 2.0 * mg.broadcast_to(y, (3,))).backward(np.ones(3))
    assert {event.name for event in p.events} == {"slow", "mul", "broadcast_to"}
    assert {name: row.calls for name, row in rows(p.events).items()} == {"slow": 1, "mul": 2, "broadcast_to": 2}


@given(SECONDS, SECONDS, SECONDS)
def test_what_a_checkpoint_computes_again_is_forward_again(clock, forward, backward, deferred):
    x = leaf()
    with mg.profile() as p:
        costs = clock, forward, backward, deferred
        mg.checkpoint(lambda x: slow(slow(x, *costs), *costs), x).backward(np.ones(2))
    # the gradient that leaves the checkpoint is computed when the checkpoint delivers it
    assert times(p) == {"slow": (4 * forward, 2 * backward + deferred, 0), "checkpoint": (0, deferred, 0)}
    assert rows(p.events)["slow"].forward_calls == 4
    assert total(p) == p.now()


def test_when_the_graph_is_kept_the_last_rule_ends_as_it_returns(clock):
    x = leaf()
    with mg.profile() as p:
        y = slow(x, clock, 1, 2)
        y.backward(np.ones(2), retain_graph=True)
        clock.tick(30)
        with mg.no_grad():
            nn.Dropout(0.0)(x)  # a module is entered: this is forward again
            nn.Sequential(Sum())(x)
        y.backward(np.ones(2), retain_graph=True)
        clock.tick(20)
        with span("work"):
            clock.tick(6)
        y.backward(np.ones(2))
    assert times(p) == {"slow": (1, 3 * 2, 0), "work": (0, 0, 6), "sum": (0, 0, 0)}
    assert rows(p.events)["slow"].backward_calls == 3


class Sum(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sum()


def test_spans_count_without_what_is_inside(clock):
    @span("outer")
    def work() -> None:
        clock.tick(1)
        slow(leaf(), clock, 10)
        with span("inner"):
            clock.tick(100)
        clock.tick(1000)

    work()
    with mg.profile() as p:
        work()
        work()
    # what comes before an op counts to it
    assert times(p) == {"slow": (22, 0, 0), "inner": (0, 0, 200), "outer": (0, 0, 2000)}
    assert rows(p.events)["outer"].calls == 2
    assert total(p) == p.now()


def test_optimizer_and_clipping_are_spans():
    model = nn.Linear(3, 2)
    update = mg.optim.AdamW(model.named_parameters())
    with mg.profile() as p:
        model(Tensor(np.ones((1, 3), np.float32))).sum().backward()
        mg.optim.clip_grad_norm(update, 1e-9)
        update.step()
    found = rows(p.events)
    assert (found["AdamW"].spans, found["clip_grad_norm"].spans) == (1, 2)  # measured, and scaled


def test_events_have_the_path_of_the_module_forward_and_backward():
    model = nn.Sequential(nn.Linear(3, 2), nn.Sequential(nn.Linear(2, 2), Sum()))
    with mg.profile() as p:
        (model(Tensor(np.ones((1, 3), np.float32))) * 2.0).backward()
    assert {(event.name, event.module, event.way) for event in p.events} == {
        (name, module, way)
        for way in ("forward", "backward")
        for name, module in (("linear", "0"), ("linear", "1.0"), ("sum", "1.1"), ("mul", ""))
    }
    assert sorted(rows(p.events, "module")) == ["*", "*.*", "mul"]
    assert rows(p.events, "module")["*.*"].calls == 2


# ---- threads ---------------------------------------------------------------------------------------------------------


def in_thread(f: Any, name: str = "other") -> None:
    thread = threading.Thread(target=f, name=name)
    thread.start()
    thread.join()


def test_all_threads_are_seen(clock):
    def work() -> None:
        clock.tick(500)  # nobody knows since when: no time of the op
        y = slow(leaf(), clock, 1, 2)
        clock.tick(3)
        slow(y, clock, 4).backward(np.ones(2))

    with mg.profile() as p:
        slow(leaf(), clock, 10)
        in_thread(work)
        in_thread(lambda: nn.Sequential(Slow(clock))(leaf()), "third")
    assert [(event.thread, event.way, event.seconds) for event in p.events] == [
        ("MainThread", "forward", 10),
        ("other", "forward", 0),
        ("other", "forward", 7),
        ("other", "backward", 0),
        ("other", "backward", 2),
        ("third", "forward", 9),
    ]
    found = []
    in_thread(lambda: found.append(mode.op_hook))
    assert found == [mode.op_hook] == [None]


class Slow(nn.Module):
    def __init__(self, clock: Clock):
        self.clock = clock

    def forward(self, x: Tensor) -> Tensor:
        return slow(x, self.clock, 9)


def test_a_thread_that_watched_for_itself_meanwhile_is_left_in_peace_afterwards():
    """checkpoint() watches: it must not leave the profile's watch behind in its thread."""
    begin, end, found = threading.Event(), threading.Event(), []

    def work() -> None:
        begin.wait(60)
        mg.checkpoint(lambda x: x * x, leaf())
        found.append(mode.op_hook)
        end.set()
        finished.wait(60)
        found.append(mode.op_hook)

    finished = threading.Event()
    thread = threading.Thread(target=work, name="other")
    thread.start()
    with mg.profile() as p:
        begin.set()
        end.wait(60)
    finished.set()
    thread.join()
    assert {event.thread for event in p.events} == {"other"}
    assert found[0] is not None
    assert found[1] is None


@pytest.mark.parametrize("other", [detect_anomaly, debug_arrays])
@pytest.mark.parametrize("first", [True, False])
def test_beside_other_tools(other, first):
    p, tool, x = mg.profile(), other(), leaf()
    with p if first else tool, tool if first else p:
        (x * x).sum().backward()
        assert mode.op_hook is not None
    assert {name: (row.forward_calls, row.backward_calls) for name, row in rows(p.events).items()} == {
        "mul": (1, 1),
        "sum": (1, 1),
    }
    assert mode.op_hook is None


# ---- guards ----------------------------------------------------------------------------------------------------------


def test_nothing_outside_is_recorded():
    x = leaf()
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


def test_a_rule_recorded_before_is_not_counted_inside():
    x = leaf()
    before = (x * x).sum()
    with mg.profile() as p:
        before.backward(create_graph=True)
    assert {event.way for event in p.events} == {"forward"}, "nobody knows that these ops belong to a rule"


def test_only_one_at_a_time():
    with mg.profile() as p:
        for another in (p, mg.profile()):
            with pytest.raises(
                RuntimeError, match="a profile is running already, and it sees everything; end it before another begins"
            ):
                another.__enter__()
        leaf().exp()
    assert [event.name for event in p.events] == ["exp"]
    with mg.profile() as another:
        leaf().exp()
    assert len(another.events) == 1


def test_entered_again_it_goes_on_without_the_pause(clock):
    p = mg.profile()
    for _ in range(3):
        with p:
            clock.tick(1)
            slow(leaf(), clock, 4, 2).backward(np.ones(2))
        clock.tick(90)
        slow(leaf(), clock, 8)
    assert p.blocks == [(0, 7), (7, 14), (14, 21)]
    assert times(p) == {"slow": (15, 6, 0)}
    assert "in all 7000.00 ms, 100% of 7000.00 ms, mean of 3" in p.table()


def test_an_error_ends_it_and_what_had_begun_is_counted(clock):
    p = mg.profile()
    with pytest.raises(ArithmeticError), p, span("work"):
        broken(slow(leaf(), clock, 1), clock).backward(np.ones(2))
    assert times(p) == {"slow": (1, 0, 0), "broken": (0, 5, 0), "work": (0, 0, 0)}
    assert total(p) == p.now() == 6
    assert mode.op_hook is None
    with mg.profile() as p:
        slow(leaf(), clock, 3)
    assert times(p) == {"slow": (3, 0, 0)}


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
def test_gradients_are_the_same_to_the_bit(name, data):
    example = data.draw(examples(name))
    with mg.profile() as p:
        watched = derivatives(name, example)
    assert watched == derivatives(name, example)
    assert p.events or name == "dropout", "which returns x itself when nothing is dropped"


def test_negative_control_a_change_in_the_last_bit_is_seen(monkeypatch):
    example = CATALOGUE["exp"].example(Choices(0))
    before = derivatives("exp", example)
    run = Profile.run_rule
    one_bit_more = lambda g: None if g is None else g * (1 + 2**-52)
    monkeypatch.setattr(Profile, "run_rule", lambda *args: tuple(map(one_bit_more, run(*args))))
    with mg.profile():
        assert derivatives("exp", example) != before


def test_on_the_gpu_nothing_is_waited_for(cupy):
    x = Tensor(cupy.asarray(np.ones((3, 2), np.float32)), requires_grad=True)
    weight = Tensor(cupy.asarray(np.ones((4, 2), np.float32)), requires_grad=True)
    with fake_cupy.no_sync(), mg.profile() as p:
        mg.linear(x, weight).exp().sum().backward()
    assert [row.calls for row in rows(p.events).values()] == [1, 1, 1]
    linear = next(event for event in p.events if event.name == "linear")
    assert (linear.allocated, linear.moved) == (4 * 12, 4 * (6 + 8 + 12))
    assert "linear" in p.table()


# ---- the table -------------------------------------------------------------------------------------------------------


def test_the_table(clock):
    with mg.profile() as p:
        y = slow(leaf(1 << 17), clock, 1, 4, 1)  # 1 MiB
        y.backward(np.ones(1 << 17))
        with span("work"):
            clock.tick(2)
        clock.tick(2)
    lines = p.table().splitlines()
    assert [line.split() for line in lines[:-1]] == [
        ["calls", "forward", "ms", "backward", "ms", "all", "ms", "%", "allocated", "moved", "GB/s"],
        ["slow", "1", "1000.00", "5000.00", "6000.00", "60.0", "1", "MiB", "4", "MiB", "0.0"],
        ["work", "1", "2000.00", "20.0"],
    ]
    assert lines[-1] == "in all 8000.00 ms, 80% of 10000.00 ms; 0% went into looking; live memory at most 1 MiB"
    assert len({len(line) for line in lines[:-1]}) == 1, "columns are aligned"


def test_the_table_of_two_threads_is_measured_by_what_both_had(clock):
    with mg.profile() as p:
        slow(leaf(), clock, 6)
        in_thread(lambda: nn.Sequential(Slow(clock))(leaf()))
    assert p.table().splitlines()[-1].startswith("in all 15000.00 ms, 50% of 15000.00 ms in each of 2 threads;")


def test_an_empty_profile_has_a_table():
    with mg.profile() as p:
        pass
    assert p.table().splitlines()[-1].startswith("in all 0.00 ms, 0% of ")
    assert rows(p.events) == {}
    assert Row().calls == 0


def test_a_table_by_something_else_is_refused():
    with mg.profile() as p:
        leaf().exp()
    with pytest.raises(ValueError, match='a profile is shown by "op" or by "module", not by \'line\''):
        p.table(by="line")
