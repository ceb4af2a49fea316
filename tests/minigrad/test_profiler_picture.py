"""The picture of a profile: what its columns show, against the plain definition; and that it is a picture."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import Tensor
from minigrad.profiler import Event, Profile, span
from minigrad.profiler.picture import COLORS, GRADIENTS, OTHERS, WIDTH, Block, memory_columns, row_columns
from minigrad.tensor import record

SVG = "{http://www.w3.org/2000/svg}"
BLOCK = Block(10.0, 10.0 + WIDTH)  # a column a second
MOMENTS = st.integers(0, 4 * (WIDTH + 20)).map(lambda quarter: quarter / 4)


def forward(name: str, start: float, end: float) -> Event:
    return Event(name, "", "forward", "MainThread", start, end, end - start)


@given(st.lists(st.tuples(MOMENTS, st.sampled_from("abc"), st.integers(1, 9)), max_size=12))
def test_a_column_shows_the_fullest_moment_in_it(risings):
    changes = [(time, name, size) for time, name, size in risings] + [
        (time + size, name, -size) for time, name, size in risings
    ]
    columns = list(memory_columns(changes, BLOCK))
    assert len(columns) == WIDTH

    def alive(time: float) -> int:
        return sum(size for begin, _, size in changes if begin <= time)

    moments = sorted({time for time, _, _ in changes})
    for i, column in enumerate(columns):
        begin, end = BLOCK.begin + i, BLOCK.begin + i + 1
        # of changes at one moment, which come one after the other, a sum in between can be the fullest
        assert column.total() >= max(alive(time) for time in [begin, *(t for t in moments if begin < t <= end)])
        if not any(begin < time <= end for time in moments):
            assert column == Counter(
                {name: sum(s for t, n, s in changes if n == name and t <= begin) for name in "abc"}
            )


@given(st.lists(st.tuples(MOMENTS, MOMENTS), max_size=6))
def test_a_row_shows_what_took_most_of_a_column(moments):
    times = sorted({time for pair in moments for time in pair if BLOCK.begin <= time <= BLOCK.end})
    events = [forward(str(i), start, end) for i, (start, end) in enumerate(zip(times, times[1:]))]
    columns = row_columns(events, BLOCK)
    for i, shown in enumerate(columns):
        begin, end = BLOCK.begin + i, BLOCK.begin + i + 1
        shares = {e.name: min(e.end, end) - max(e.start, begin) for e in events}
        most = max((share for share in shares.values()), default=0.0)
        if most > 0:
            assert shares[shown] == most
        elif shown is not None:
            assert shares[shown] == 0  # no more than touches it


def test_of_two_events_the_inner_one_is_shown():
    columns = row_columns([forward("inner", 13.0, 15.0), forward("outer", 12.0, 17.0)], BLOCK)
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


def test_it_is_a_picture_with_all_its_parts(tmp_path: Path):
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


def test_the_file_stays_small_however_long_the_profile():
    small, large = (len(profiled(ops).draw()) for ops in (3, 3000))
    assert large < 300_000  # 760 columns of a dozen areas and rows
    assert small < large


def test_more_names_than_colors_are_others():
    def op(number: int):
        def rule(g, out):
            return (g,)

        rule.__qualname__ = f"op{number}"
        return record(np.ones(100), (Tensor(np.ones(1), requires_grad=True),), rule)

    with mg.profile() as p:
        made = [op(number) for number in range(len(COLORS) + 3)]
    root = ElementTree.fromstring(p.draw())
    words = [element.text for element in root.iter(f"{SVG}text")]
    assert len(made) == len(COLORS) + 3
    assert sum(bool(word and word.startswith("op")) for word in words) == len(COLORS)
    assert OTHERS in words
    assert "2.344 KiB" in words  # of three arrays of 100 numbers


def test_the_last_block_is_drawn():
    p = mg.profile()
    x = Tensor(np.ones(10), requires_grad=True)
    with p:
        x.exp()
    with p:
        x.sin()
    words = [element.text for element in ElementTree.fromstring(p.draw()).iter(f"{SVG}text")]
    assert "sin" in words
    assert "exp" not in words


def test_a_profile_of_nothing_can_be_drawn():
    with mg.profile() as p:
        pass
    ElementTree.fromstring(p.draw())
