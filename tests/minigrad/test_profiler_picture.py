"""The picture of a profile: its columns show what their definition says, and the SVG has all its parts."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import Tensor
from minigrad.lazy import Gradient
from minigrad.profiler import Event, Profile, span
from minigrad.profiler.picture import COLORS, GREYS, OTHERS, WIDTH, Block, longest_events, memory_columns
from minigrad.profiler.report import GRADIENTS, Change
from minigrad.tensor import record

SVG = "{http://www.w3.org/2000/svg}"
BLOCK = Block(10.0, 10.0 + WIDTH)  # a column is a second
MOMENTS = st.integers(0, 4 * (WIDTH + 20)).map(lambda quarter: quarter / 4)


def forward(name: str, start: float, end: float) -> Event:
    return Event(name, "", "forward", "MainThread", start, end, end - start)


@given(arrays=st.lists(st.tuples(MOMENTS, st.sampled_from("abc"), st.integers(1, 9)), max_size=12))
def test_a_column_shows_its_fullest_moment(arrays: list[tuple[float, str, int]]) -> None:
    """Each array is allocated at a moment and freed after as many seconds as it has bytes."""
    changes: list[Change] = [*arrays, *((time + size, name, -size) for time, name, size in arrays)]
    columns = list(memory_columns(changes, BLOCK))
    assert len(columns) == WIDTH

    def alive(time: float) -> int:
        return sum(size for begin, _, size in changes if begin <= time)

    moments = sorted({time for time, _, _ in changes})
    for i, column in enumerate(columns):
        begin, end = BLOCK.begin + i, BLOCK.begin + i + 1
        # Changes at the same moment come one after the other, so a sum in between can be the fullest.
        assert column.total() >= max(alive(time) for time in [begin, *(t for t in moments if begin < t <= end)])
        if not any(begin < time <= end for time in moments):
            sizes = {name: sum(s for t, n, s in changes if n == name and t <= begin) for name in "abc"}
            assert column == Counter(sizes)


@given(moments=st.lists(st.tuples(MOMENTS, MOMENTS), max_size=6))
def test_a_row_shows_the_event_that_took_most_of_a_column(moments: list[tuple[float, float]]) -> None:
    times = sorted({time for pair in moments for time in pair if BLOCK.begin <= time <= BLOCK.end})
    events = [forward(str(i), start, end) for i, (start, end) in enumerate(zip(times, times[1:]))]
    columns = longest_events(events, BLOCK)
    for i, shown in enumerate(columns):
        begin, end = BLOCK.begin + i, BLOCK.begin + i + 1
        seconds = {e.name: min(e.end, end) - max(e.start, begin) for e in events}
        most = max(seconds.values(), default=0.0)
        if most > 0:
            assert seconds[shown] == most
        elif shown is not None:
            assert seconds[shown] == 0, "an event that touches the column"


def test_of_nested_events_the_inner_one_is_shown() -> None:
    columns = longest_events([forward("inner", 13.0, 15.0), forward("outer", 12.0, 17.0)], BLOCK)
    assert columns[2:7] == ["outer", "inner", "inner", "outer", "outer"]


def profiled(ops: int = 3) -> Profile:
    x = Tensor(np.ones(1000, np.float32), requires_grad=True)
    with mg.profile() as p:
        y = x
        for _ in range(ops):
            y = y.exp().sin()
        with span("a < b & c"):
            y.sum().backward()
    return p


def test_the_svg_has_all_its_parts(tmp_path: Path) -> None:
    p = profiled()
    text = p.draw(tmp_path / "memory.svg")
    assert (tmp_path / "memory.svg").read_text("utf-8") == text
    root = ElementTree.fromstring(text)
    words = [element.text for element in root.iter(f"{SVG}text")]
    for word in ("MainThread", "forward", "backward", "exp", "sin", "a < b & c", GRADIENTS, "ms"):
        assert word in words
    assert OTHERS not in words
    assert any(word and word.startswith("peak, ") and word.endswith(" KiB") for word in words)
    areas = [polygon.find(f"{SVG}title").text for polygon in root.iter(f"{SVG}polygon")]  # type: ignore[union-attr]
    assert set(areas) >= {"exp", "sin", GRADIENTS}


def test_every_color_is_one_that_svg_knows() -> None:
    elements = list(ElementTree.fromstring(profiled().draw()).iter())
    colors = {element.attrib[name] for element in elements for name in ("fill", "stroke") if name in element.attrib}
    assert colors >= {GREYS[GRADIENTS], *COLORS[:2]}
    assert all(
        re.fullmatch("none|black|white|#[0-9a-f]{3}|#[0-9a-f]{6}", color) for color in {*colors, *GREYS.values()}
    )


def test_the_file_stays_small_however_long_the_profile_is() -> None:
    small, large = (len(profiled(ops).draw()) for ops in (3, 3000))
    assert large < 300_000  # 760 columns of a dozen areas and rows
    assert small < large


def test_names_without_a_color_are_others() -> None:
    def op(number: int) -> Tensor:
        def rule(g: Gradient, out: None) -> tuple:
            return (g,)

        rule.__qualname__ = f"op{number}"
        return record(np.ones(100), (Tensor(np.ones(1), requires_grad=True),), rule)

    with mg.profile() as p:
        results = [op(number) for number in range(len(COLORS) + 3)]
    root = ElementTree.fromstring(p.draw())
    words = [element.text for element in root.iter(f"{SVG}text")]
    assert len(results) == len(COLORS) + 3
    assert sum(bool(word and word.startswith("op")) for word in words) == len(COLORS)
    assert OTHERS in words
    assert "2.344 KiB" in words  # of three arrays of 100 numbers


def test_the_last_block_is_drawn() -> None:
    p = mg.profile()
    x = Tensor(np.ones(10), requires_grad=True)
    with p:
        x.exp()
    with p:
        x.sin()
    words = [element.text for element in ElementTree.fromstring(p.draw()).iter(f"{SVG}text")]
    assert "sin" in words
    assert "exp" not in words


def test_an_empty_block_can_be_drawn_and_no_block_cannot() -> None:
    p = mg.profile()
    with pytest.raises(ValueError, match="this profile has recorded nothing that could be drawn"):
        p.draw()
    with p:
        pass
    ElementTree.fromstring(p.draw())
