"""minigrad.profile(): every second counts to one op, rule or span. The clock moves only where a test says so."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import Tensor, nn
from minigrad.graph import Rule
from minigrad.lazy import Gradient
from minigrad.modes import mode
from minigrad.profiler import Profile, span
from minigrad.profiler.table import rows
from tests.minigrad.slow_ops import Clock, Slow, Sum, ones, outer, slow, stopped_clock, times, total

SECONDS = st.integers(0, 50)  # whole numbers: their sums are exact


@pytest.fixture(scope="module")
def clock() -> Iterator[Clock]:
    with stopped_clock() as clock:
        yield clock


# --- ops, rules and spans ---------------------------------------------------------------------------------------------


@given(steps=st.lists(st.tuples(SECONDS, SECONDS, SECONDS), min_size=1, max_size=6))
def test_all_time_of_a_chain_is_counted_once(clock: Clock, steps: Sequence[tuple[int, int, int]]) -> None:
    y = x = ones()
    with mg.profile() as p:
        for forward, backward, lazy in steps:
            y = slow(y, clock, forward, backward, lazy)
        y.backward(np.ones(2))
    row = rows(p.events)["slow"]
    assert (row.forward_calls, row.backward_calls, row.calls) == (len(steps),) * 3
    assert row.forward == sum(forward for forward, _, _ in steps)
    assert row.backward == sum(backward + lazy for _, backward, lazy in steps)
    assert total(p) == p.elapsed() == row.seconds
    assert x.grad is not None


@given(steps=st.lists(st.tuples(SECONDS, SECONDS, SECONDS), min_size=1, max_size=6), overhead=SECONDS)
def test_the_time_that_the_profiler_takes_counts_to_nothing(
    clock: Clock, steps: Sequence[tuple[int, int, int]], overhead: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_count_forward", "_count_backward"):
            counting = getattr(Profile, name)

            def count(*arguments: Any, counting: Any = counting, **options: Any) -> Any:
                clock.tick(overhead)
                return counting(*arguments, **options)

            patch.setattr(Profile, name, count)
        with mg.profile() as p:
            y = x = ones()
            for forward, backward, lazy in steps:
                y = slow(y, clock, forward, backward, lazy)
            y.backward(np.ones(2))
    row = rows(p.events)["slow"]
    assert row.forward == sum(forward for forward, _, _ in steps)
    assert row.backward == sum(backward + lazy for _, backward, lazy in steps)
    assert x.grad is not None


@pytest.mark.control
def test_timing_only_the_rules_would_miss_lazy_gradients(clock: Clock) -> None:
    """A wrapper around the rule sees half of the time of this one."""
    seen = []

    def hook(data: np.ndarray, inputs: Sequence[Tensor], vjp: Rule) -> Rule:
        def timed(g: Gradient, out: None) -> Sequence[Gradient]:
            begin = time.perf_counter()
            gradients = vjp(g, out)
            seen.append(time.perf_counter() - begin)
            return gradients

        return timed

    mode.op_hook = hook
    try:
        y = slow(ones(), clock, backward=3, lazy=3)
    finally:
        mode.op_hook = None
    y.backward(np.ones(2))
    assert seen == [3]


def test_python_before_an_op_counts_to_it_but_only_from_the_entry_into_its_module(clock: Clock) -> None:
    module = Slow(clock, wait=7, forward=1)
    with mg.profile() as p:
        clock.tick(5)
        x = slow(ones(), clock, 1)
        clock.tick(100)
        module(x)
    assert [event.seconds for event in p.events] == [5 + 1, 7 + 1]
    assert p.elapsed() == 114


@given(before=SECONDS, forward=SECONDS, backward=SECONDS)
def test_ops_inside_a_rule_count_to_the_rule(clock: Clock, before: int, forward: int, backward: int) -> None:
    """With create_graph too. Then their results can be differentiated, and their own rules count for themselves."""
    x = ones()
    with mg.profile() as p:
        outer(x, clock, before, forward, backward).backward(np.ones(2))
    assert times(p) == {"outer": (0, before + forward, 0)}
    seed = Tensor(np.ones(2), requires_grad=True)
    with mg.profile() as p:
        (g,) = mg.grad([outer(x, clock, before, forward, backward)], [x], [seed], create_graph=True)
        clock.tick(40)
        g.backward(np.ones(2))
    assert times(p)["outer"] == (0, before + forward, 0)
    assert times(p)["slow"] == (0, backward, 0)
    assert total(p) == p.elapsed() - 40


def test_sums_made_by_the_engine_count_to_the_rule_whose_gradient_is_added(clock: Clock) -> None:
    """One sum undoes broadcasting, one adds two gradients. No event is called `sum` or `add`."""
    x = ones(1)
    with mg.profile() as p:
        y = slow(x, clock)
        (mg.broadcast_to(y, (3,)) * 2.0 * mg.broadcast_to(y, (3,))).backward(np.ones(3))
    assert {name: row.calls for name, row in rows(p.events).items()} == {"slow": 1, "mul": 2, "broadcast_to": 2}


@given(forward=SECONDS, backward=SECONDS, lazy=SECONDS)
def test_what_a_checkpoint_computes_again_counts_as_forward(
    clock: Clock, forward: int, backward: int, lazy: int
) -> None:
    x = ones()
    with mg.profile() as p:
        costs = clock, forward, backward, lazy
        mg.checkpoint(lambda x: slow(slow(x, *costs), *costs), x).backward(np.ones(2))
    # The gradient that leaves the checkpoint is lazy. It is computed when the rule of the checkpoint has returned.
    assert times(p) == {"slow": (4 * forward, 2 * backward + lazy, 0), "checkpoint": (0, lazy, 0)}
    assert rows(p.events)["slow"].forward_calls == 4
    assert total(p) == p.elapsed()


def test_with_retain_graph_the_last_rule_ends_when_it_returns(clock: Clock) -> None:
    x = ones()
    with mg.profile() as p:
        y = slow(x, clock, 1, 2)
        y.backward(np.ones(2), retain_graph=True)
        clock.tick(30)
        with mg.no_grad():
            nn.Dropout(0.0)(x)  # a module is entered, so a forward pass has begun
            nn.Sequential(Sum())(x)
        y.backward(np.ones(2), retain_graph=True)
        clock.tick(20)
        with span("work"):
            clock.tick(6)
        y.backward(np.ones(2))
    assert times(p) == {"slow": (1, 3 * 2, 0), "work": (0, 0, 6), "sum": (0, 0, 0)}
    assert rows(p.events)["slow"].backward_calls == 3


def test_spans_count_without_what_is_inside(clock: Clock) -> None:
    @span("outer")
    def work() -> None:
        clock.tick(1)  # counts to the op that follows
        slow(ones(), clock, 10)
        with span("inner"):
            clock.tick(100)
        clock.tick(1000)

    work()
    with mg.profile() as p:
        work()
        work()
    assert times(p) == {"slow": (22, 0, 0), "inner": (0, 0, 200), "outer": (0, 0, 2000)}
    assert rows(p.events)["outer"].calls == 2
    assert total(p) == p.elapsed()


def test_optimizer_and_clipping_are_spans() -> None:
    model = nn.Linear(3, 2)
    optimizer = mg.optim.AdamW(model.named_parameters())
    with mg.profile() as p:
        model(Tensor(np.ones((1, 3), np.float32))).sum().backward()
        mg.optim.clip_grad_norm(optimizer, 1e-9)
        optimizer.step()
    found = rows(p.events)
    assert (found["AdamW"].spans, found["clip_grad_norm"].spans) == (1, 2)  # clipping measures, then scales


def test_events_have_the_path_of_the_module_forward_and_backward() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Sequential(nn.Linear(2, 2), Sum()))
    with mg.profile() as p:
        (model(Tensor(np.ones((1, 3), np.float32))) * 2.0).backward()
    ops = [("linear", "0"), ("linear", "1.0"), ("sum", "1.1"), ("mul", "")]
    kinds = "forward", "backward"
    assert {(event.name, event.module, event.kind) for event in p.events} == {
        (name, module, kind) for kind in kinds for name, module in ops
    }
    assert sorted(rows(p.events, "module")) == ["*", "*.*", "mul"]
    assert rows(p.events, "module")["*.*"].calls == 2


# --- threads ----------------------------------------------------------------------------------------------------------


def run_in_thread(f: Callable[[], object], name: str = "other") -> None:
    thread = threading.Thread(target=f, name=name)
    thread.start()
    thread.join()


def test_all_threads_are_recorded(clock: Clock) -> None:
    def work() -> None:
        clock.tick(500)  # when the first op of a thread began is unknown, so this counts to nothing
        y = slow(ones(), clock, 1, 2)
        clock.tick(3)
        slow(y, clock, 4).backward(np.ones(2))

    with mg.profile() as p:
        slow(ones(), clock, 10)
        run_in_thread(work)
        run_in_thread(lambda: nn.Sequential(Slow(clock))(ones()), "third")
    assert [(event.worker, event.kind, event.seconds) for event in p.events] == [
        ("MainThread", "forward", 10),
        ("other", "forward", 0),
        ("other", "forward", 7),
        ("other", "backward", 0),
        ("other", "backward", 2),
        ("third", "forward", 9),
    ]
    hooks: list = []
    run_in_thread(lambda: hooks.append(mode.op_hook))
    assert hooks == [mode.op_hook] == [None]


def test_a_hook_set_in_another_thread_meanwhile_does_not_keep_the_profile_there() -> None:
    """checkpoint() sets a hook of its thread in front of the profile's, and must take both away again."""
    begin, end, finished = threading.Event(), threading.Event(), threading.Event()
    hooks: list = []

    def work() -> None:
        begin.wait(60)
        mg.checkpoint(lambda x: x * x, ones())
        hooks.append(mode.op_hook)
        end.set()
        finished.wait(60)
        hooks.append(mode.op_hook)

    thread = threading.Thread(target=work, name="other")
    thread.start()
    with mg.profile() as p:
        begin.set()
        end.wait(60)
    finished.set()
    thread.join()
    assert {event.worker for event in p.events} == {"other"}
    assert hooks[0] is not None
    assert hooks[1] is None


def test_the_table_of_two_threads_compares_with_the_time_of_both(clock: Clock) -> None:
    with mg.profile() as p:
        slow(ones(), clock, 6)
        run_in_thread(lambda: nn.Sequential(Slow(clock))(ones()))
    assert p.table().splitlines()[-1].startswith("total 15000.00 ms, 50% of 15000.00 ms in each of 2 workers;")


def test_a_report_of_another_process_is_moved_to_the_time_of_this_one(clock: Clock) -> None:
    p, other = mg.profile(), mg.profile()
    with other:  # as if in another process: its second 0 is 5 seconds before that of `p`
        slow(ones(3), clock, 4)
        clock.tick(1)
    with p:
        slow(ones(), clock, 2)
        p.merge(other.report())
    assert [(event.start, event.end) for event in p.events] == [(0, 2), (-5, -1)]
    assert p.memory.changes[0][0] == -1, "the changes of the memory are in the order of time"
    assert p.report().overhead == 0
