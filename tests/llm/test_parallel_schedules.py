"""Schedules of a pipeline: complete, free of deadlocks, with the memory and the bubble that the papers promise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.parallel.pipeline import schedules
from llm.parallel.pipeline.schedules import Action, gpipe, interleaved, most_alive, one_f_one_b, parts_of
from llm.parallel.pipeline.timeline import Deadlock, as_text, bubble, draw, expected_bubble, needed_before, simulate

STAGES, MICRO_BATCHES = st.integers(1, 6), st.integers(1, 12)
TIMES = st.floats(0.1, 10)


@st.composite
def drawn(draw: st.DrawFn) -> tuple[list[list[Action]], int, int, int]:
    """The schedule of each rank, and the numbers of stages, micro-batches and chunks."""
    p, m, v = draw(STAGES), draw(MICRO_BATCHES), draw(st.integers(1, 4))
    kind = draw(st.sampled_from([gpipe, one_f_one_b, interleaved]))
    if kind is interleaved:
        return [interleaved(rank, p, m * p, v) for rank in range(p)], p, m * p, v
    return [kind(rank, p, m) for rank in range(p)], p, m, 1


@given(drawn())
def test_each_micro_batch_goes_once_forwards_and_once_backwards_through_each_chunk(case: tuple) -> None:
    ranks, _, m, v = case
    wanted = Counter(Action(kind, n, c) for kind in ("forward", "backward") for n in range(m) for c in range(v))
    assert all(Counter(actions) == wanted for actions in ranks)


@given(drawn(), TIMES, TIMES)
def test_no_schedule_has_a_deadlock_and_its_bubble_is_the_expected_one(
    case: tuple, forward: float, back: float
) -> None:
    ranks, p, m, v = case
    spans = simulate(ranks, chunks=v, forward=forward, backward=back)
    # Times are sums of up to some hundred floats.
    assert bubble(spans) == pytest.approx(expected_bubble(p, m, v), rel=1e-9, abs=1e-9)


@given(drawn())
def test_an_action_begins_when_all_that_it_needs_has_ended(case: tuple) -> None:
    ranks, p, _, v = case
    spans = {(span.rank, span.action): span for span in simulate(ranks, chunks=v)}
    for (rank, action), span in spans.items():
        assert all(spans[need].end <= span.begin for need in needed_before(rank, action, p, v))


@given(drawn())
def test_messages_are_received_in_the_order_in_which_they_are_sent(case: tuple) -> None:
    # A communicator has no labels: what a rank receives is the next thing that the other one has sent. Activations and
    # gradients go through groups of their own.
    ranks, p, _, v = case
    sent = {(kind, rank): list[tuple]() for kind in ("forward", "backward") for rank in range(p)}
    for rank, actions in enumerate(ranks):
        for kind, n, chunk in actions:
            to = chunk * p + rank + (1 if kind == "forward" else -1)
            if 0 <= to < v * p:
                sent[kind, rank].append((n, to))
    for rank, actions in enumerate(ranks):
        for kind in ("forward", "backward"):
            wants = [(n, chunk * p + rank) for k, n, chunk in actions if k == kind]
            first = 0 if kind == "forward" else v * p - 1
            source = (rank + (-1 if kind == "forward" else 1)) % p
            assert [want for want in wants if want[1] != first] == sent[kind, source]


@given(STAGES, MICRO_BATCHES)
def test_one_f_one_b_holds_at_most_stages_minus_rank_micro_batches(p: int, m: int) -> None:
    assert [most_alive(one_f_one_b(rank, p, m)) for rank in range(p)] == [min(m, p - rank) for rank in range(p)]
    assert [most_alive(gpipe(rank, p, m)) for rank in range(p)] == [m] * p


@given(STAGES, MICRO_BATCHES)
def test_one_chunk_interleaved_is_1f1b_with_earlier_forwards(p: int, m: int) -> None:
    for rank in range(p):
        actions = interleaved(rank, p, m * p, 1)
        assert most_alive(actions) <= min(m * p, 2 * (p - 1 - rank) + 1)


@given(st.integers(1, 40), st.integers(1, 10))
def test_layers_are_divided_evenly_and_the_last_stages_have_fewer(layers: int, parts: int) -> None:
    if parts > layers:
        with pytest.raises(ValueError, match="at least one layer"):
            parts_of(layers, parts)
        return
    ranges = parts_of(layers, parts)
    assert [layer for part in ranges for layer in part] == list(range(layers))
    lengths = [len(part) for part in ranges]
    assert max(lengths) - min(lengths) <= 1 and len(ranges[-1]) == min(lengths)


def test_interleaved_refuses_micro_batches_that_do_not_fill_its_groups() -> None:
    with pytest.raises(ValueError, match="multiples of the 3 stages, got 4"):
        interleaved(0, 3, 4, 2)


@pytest.mark.control
def test_a_deadlock_is_found() -> None:
    ranks = [[Action("backward", 0), Action("forward", 0)], one_f_one_b(1, 2, 1)]
    with pytest.raises(Deadlock, match="all ranks wait"):
        simulate(ranks)


@pytest.mark.control
@given(st.integers(2, 6), st.integers(2, 12))
def test_without_a_warmup_the_bubble_is_larger(p: int, m: int) -> None:
    each: Sequence[Action] = [action for n in range(m) for action in (Action("forward", n), Action("backward", n))]
    assert bubble(simulate([each] * p)) > expected_bubble(p, m) + 0.01


def test_the_drawing_at_the_top_of_the_file_is_what_the_code_computes() -> None:
    spans = simulate([one_f_one_b(rank, 3, 4) for rank in range(3)])
    for line in as_text(spans, width=18).splitlines():
        assert line in str(schedules.__doc__)


def test_a_timeline_can_be_drawn(tmp_path) -> None:
    draw(simulate([interleaved(rank, 2, 4, 2) for rank in range(2)], chunks=2), tmp_path / "timeline.png")
    assert (tmp_path / "timeline.png").read_bytes().startswith(b"\x89PNG")
