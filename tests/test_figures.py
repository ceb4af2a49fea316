"""The chapter on several machines: pictures and tables are what the code does today, and formulas count right."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.model.config import GPTConfig
from llm.parallel.pipeline.schedules import SCHEDULES
from llm.parallel.plan.split import Split
from llm.parallel.plan.traffic import rank_traffic
from tools.figures import chapter, chart, formulas, picture, steps, timeline
from tools.figures.__main__ import PAGE, PICTURES

NAMES = sorted([*(f"{name}.svg" for name in chapter.TITLES), "pipeline.svg", "memory.svg"])
TEXT = PAGE.read_text("utf-8")


def test_the_chapter_shows_each_picture_once_and_says_what_it_is() -> None:
    shown = re.findall(r"!\[(.+?)\]\(parallel/([\w.]+)\)", TEXT)
    assert sorted(name for _, name in shown) == NAMES == sorted(path.name for path in PICTURES.iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_is_what_the_code_draws(name: str) -> None:
    drawn = chapter.pictures()[name]
    ElementTree.fromstring(drawn)  # it is well-formed
    assert (PICTURES / name).read_text("utf-8") == drawn, "python -m tools.figures draws it anew"


def test_the_tables_are_what_the_code_computes() -> None:
    assert all(f"<!-- table: {name} -->\n|" in TEXT for name in chapter.TABLES)
    assert chapter.with_tables(TEXT) == TEXT, "python -m tools.figures computes them anew"


@pytest.mark.parametrize("name", [*chapter.TITLES, "pipeline"])
def test_a_formula_counts_the_bytes_that_were_sent(name: str) -> None:
    step = chapter.steps()[name]
    assert chapter.expected(name, step) == sum(step.sent)


@settings(max_examples=10)
@given(
    kind=st.sampled_from([*chapter.TITLES, "pipeline"]), layers=st.integers(1, 3),
    shape=st.sampled_from([(2, 1), (2, 2), (4, 1)]),
)  # fmt: skip
def test_so_it_does_for_other_numbers_of_layers_ranks_and_micro_batches(
    kind: str, layers: int, shape: tuple[int, int]
) -> None:
    size, micro_batches = shape
    config = replace(steps.MIXTURE if kind == "experts" else steps.CONFIG, layers=layers)
    step = recorded(kind, config, size, micro_batches)
    assert chapter.expected(kind, step) == sum(step.sent)


def recorded(kind: str, config: GPTConfig, size: int, micro_batches: int) -> steps.Step:
    match kind:
        case "tensor" | "sequence" | "experts":
            return steps.tensor_step(config, size=size, sequence=kind == "sequence")
        case "context":
            return steps.context_step(config, size=size)
        case "pipeline":
            deep = replace(config, layers=size + config.layers)
            return steps.pipeline_step("1f1b", deep, size=size, micro_batches=micro_batches)
        case _:
            zero = 0 if kind == "data" else int(kind[-1])
            return steps.data_step(zero, config, size=size, micro_batches=micro_batches)


@pytest.mark.parametrize(("name", "split"), [
    ("data", Split(data=2)), ("zero1", Split(data=2, zero=1)), ("zero2", Split(data=2, zero=2)),
    ("zero3", Split(data=2, zero=3)), ("tensor", Split(tensor=2, rows=4)),
    ("sequence", Split(tensor=2, rows=4, sequence=True)), ("pipeline", Split(pipeline=3)),
])  # fmt: skip
def test_the_plan_counts_the_same_for_each_rank(name: str, split: Split) -> None:
    step = chapter.steps()[name]
    axis = {"tensor": 2, "sequence": 2, "pipeline": 0}.get(name, 1)
    for rank, sent in enumerate(step.sent):
        place = (*(0,) * axis, rank, *(0,) * (2 - axis))
        expected = rank_traffic(step.config, split, steps.ROWS, steps.CONTEXT, 4, place)
        assert (
            expected.total - expected.norm == sent
        )  # these steps do not clip the gradient of tensor and pipeline ranks


@settings(max_examples=15)
@given(
    zero=st.integers(0, 3), layers=st.integers(1, 4), shape=st.sampled_from([(2, 1), (2, 2), (4, 1), (1, 2)]),
    change=st.sampled_from([{}, {"tied_head": False}, {"mlp": "swiglu", "kv_heads": 2}, {"positions": "learned"}]),
)  # fmt: skip
def test_so_it_does_for_data_ranks_and_in_the_words_of_the_chapter(
    zero: int, layers: int, shape: tuple[int, int], change: dict[str, Any]
) -> None:
    (n, m), config = shape, replace(steps.CONFIG, layers=layers, **change)
    step, split = steps.data_step(zero, config, size=n, micro_batches=m), Split(data=n, rows=4 // (n * m), zero=zero)
    each = [rank_traffic(config, split, steps.ROWS, steps.CONTEXT, 4, (0, rank, 0)).data for rank in range(n)]
    assert each == step.sent
    P, layer = formulas.parameters(config), formulas.parameters(config, "blocks.0.")
    gathered = P if zero < 3 else P - layers * layer + (1 + 2 * m * (layers - 1)) * layer
    norms = 8 * n * (n - 1) if zero else 0
    assert sum(each) == 4 * (n - 1) * ((m * P if zero >= 2 else P) + gathered) + norms


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_ranks_of_a_pipeline_compute_in_the_order_that_is_drawn(schedule: str) -> None:
    spans = timeline.spans_of(schedule, steps.STAGES, steps.ROWS)
    drawn = [[span.action for span in spans if span.rank == rank] for rank in range(steps.STAGES)]
    assert [list(actions) for actions in steps.pipeline_step(schedule).actions] == drawn


@given(st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_a_curve_ends_where_its_value_is_and_no_two_names_overlap(values: list[float]) -> None:
    curves = {f"curve {i}": [(0.0, 0.0), (1.0, value)] for i, value in enumerate(values)}
    drawn = ElementTree.fromstring(chart.draw("", curves, x=("", (0, 1)), y=("", (0, 1))))
    ends = [line.attrib["points"].split()[-1] for line in drawn.findall(".//{*}polyline")]
    # a corner is rounded to a tenth
    assert [float(end.split(",")[1]) for end in ends] == [
        pytest.approx(chart.TOP + chart.HEIGHT * (1 - value), abs=0.06) for value in values
    ]
    names = sorted(
        float(each.attrib["y"]) for each in drawn.findall(".//{*}text") if (each.text or "").startswith("curve")
    )
    assert all(b - a >= 12 for a, b in zip(names, names[1:]))


# --- negative controls ------------------------------------------------------------------------------------------------


@pytest.mark.control
def test_a_message_more_changes_picture_and_count() -> None:
    step = chapter.steps()["data"]
    more = replace(step, events=[[*events, events[-2]] for events in step.events])  # the last message once more
    assert step.events[0][-2].is_message
    assert formulas.data_bytes(more, 0) != sum(more.sent)
    with pytest.raises(ValueError, match="4 messages have 3 notes"):
        picture.draw(more, "", chapter.NOTES["data"])


@pytest.mark.control
def test_ranks_that_send_in_another_order_are_not_drawn() -> None:
    step = chapter.steps()["tensor"]
    with pytest.raises(ValueError, match="same order"):
        picture.rows_of(replace(step, events=[step.events[0], step.events[1][::-1]]))


@pytest.mark.control
def test_a_table_that_was_edited_is_noticed() -> None:
    edited = TEXT.replace("| 56,832 |", "| 56,831 |")
    assert TEXT == chapter.with_tables(edited) != edited
