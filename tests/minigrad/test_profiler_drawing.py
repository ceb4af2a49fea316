"""What the picture of a profile shows can be read off it again: areas, axes, the peak, and the rows of the workers."""

from __future__ import annotations

from collections import Counter
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad.profiler import span
from minigrad.profiler.picture import HEIGHT, LEFT, ROW, TOP, WIDTH, Block, draw, longest_events, memory_columns
from minigrad.profiler.report import Change, Event, Report

SVG = "{http://www.w3.org/2000/svg}"
PIXEL = 0.06  # positions are written with one digit after the point
UNITS = {"bytes": 1, "B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
SECONDS = st.integers(0, 4 * WIDTH).map(lambda quarter: quarter / 4)
ARRAYS = st.lists(st.tuples(SECONDS, st.sampled_from("abc"), st.integers(1, 5000)), min_size=1, max_size=8)
EVENTS = st.lists(
    st.tuples(SECONDS, SECONDS, st.sampled_from("abc"), st.sampled_from(["forward", "backward"])), max_size=6
)


def report_of(arrays: list[tuple[float, str, int]], scale: float, events: list[Event] | None = None) -> Report:
    """Arrays that live for 100 seconds each, in a profile of as many seconds as the picture has columns."""
    end = WIDTH * scale
    freed = [(time + 100, name, -size) for time, name, size in arrays]
    changes: list[Change] = sorted((time * scale, name, size) for time, name, size in [*arrays, *freed])
    return Report(0.0, end, [(0.0, end)], events or [], [change for change in changes if change[0] <= end], 0.0)


def values(points: list[tuple[float, float]]) -> np.ndarray:
    """A step function, given by its corners from left to right: its value in the middle of each column."""
    x, y = np.array(points).T
    return y[np.searchsorted(x, LEFT + np.arange(WIDTH) + 0.5)]


def areas(root: ElementTree.Element) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """For each name the upper and the lower edge of its area, in pixels, in the middle of each column."""
    found = {}
    for polygon in root.iter(f"{SVG}polygon"):
        points = [tuple(map(float, point.split(","))) for point in polygon.attrib["points"].split()]
        turn = 1 + next(i for i, (x, _) in enumerate(points) if x == LEFT + WIDTH)
        title = polygon.find(f"{SVG}title")
        assert title is not None and title.text
        found[title.text] = values(points[:turn]), values(points[turn:][::-1])  # type: ignore[arg-type]
    return found


@given(ARRAYS)
def test_the_height_of_an_area_is_its_share_of_the_peak(arrays: list[tuple[float, str, int]]) -> None:
    report = report_of(arrays, scale=1.0)
    columns = list(memory_columns(report.changes, Block(*report.blocks[0])))
    peak = max(columns, key=Counter.total)
    below = np.full(WIDTH, TOP + HEIGHT, float)  # the areas stand on each other, the first one on the axis
    for name, (upper, lower) in areas(ElementTree.fromstring(draw(report))).items():
        np.testing.assert_allclose(lower, below, atol=PIXEL)
        expected = [HEIGHT * column[name] / peak.total() for column in columns]
        np.testing.assert_allclose(lower - upper, expected, atol=2 * PIXEL, err_msg=name)
        below = upper


@given(ARRAYS, st.sampled_from([1e-4, 0.01, 1.0]))
def test_the_axes_tell_bytes_and_milliseconds(arrays: list[tuple[float, str, int]], scale: float) -> None:
    report = report_of(arrays, scale)
    peak = max(memory_columns(report.changes, Block(*report.blocks[0])), key=Counter.total).total()
    texts = [(e.text or "", e.attrib) for e in ElementTree.fromstring(draw(report)).iter(f"{SVG}text")]
    heights = [(text, float(at["y"]) - 4) for text, at in texts if float(at["x"]) == LEFT - 8]
    times = [(text, float(at["x"])) for text, at in texts if at["text-anchor"] == "middle" and "peak" not in text]
    assert 2 <= len(heights) <= 8 and 2 <= len(times) <= 8
    for text, y in heights:
        number, unit = text.split()
        share = float(number.replace(",", "")) * UNITS[unit] / peak
        # Up to four digits of a number of bytes are written.
        assert y == pytest.approx(TOP + HEIGHT * (1 - share), abs=PIXEL + 5e-4 * HEIGHT)
    for text, x in times:
        assert x == pytest.approx(LEFT + float(text) / 1e3 / scale, abs=PIXEL)
    (heading, at), *_ = [(text, at) for text, at in texts if text.startswith("peak, ")]
    columns = [column.total() for column in memory_columns(report.changes, Block(*report.blocks[0]))]
    assert float(at["x"]) == pytest.approx(LEFT + columns.index(peak) + 0.5, abs=PIXEL)
    assert heading.removeprefix("peak, ") in " ".join(text for text, _ in texts if text.startswith("Live memory"))


@given(EVENTS)
def test_the_rows_of_a_worker_show_its_longest_events(moments: list[tuple[float, float, str, str]]) -> None:
    events = [
        Event(name, "", kind, worker, min(one, other), max(one, other), abs(one - other))
        for worker in ("first", "second")
        for one, other, name, kind in moments
        if max(one, other) > 0  # what has ended before the block is not drawn
    ]
    root = ElementTree.fromstring(draw(report_of([(0.0, "a", 8)], 1.0, events)))
    rows: dict[float, list[str | None]] = {}
    for rectangle in root.iter(f"{SVG}rect"):
        title, y = rectangle.find(f"{SVG}title"), float(rectangle.get("y", -1))
        if y > TOP + HEIGHT and title is not None:
            left, width = int(rectangle.attrib["x"]) - LEFT, int(rectangle.attrib["width"])
            assert rectangle.attrib["height"] == str(ROW)
            rows.setdefault(y, [None] * WIDTH)[left : left + width] = [title.text] * width
    expected = [
        longest_events([e for e in events if e.worker == worker and e.kind == kind], Block(0.0, float(WIDTH)))
        for worker in ("first", "second")
        for kind in ("forward", "backward")
    ]
    assert [rows[y] for y in sorted(rows)] == [row for row in expected if any(row)]


def test_a_span_with_nothing_in_it_allocates_and_moves_nothing() -> None:
    with mg.profile() as p, span("empty"):
        pass
    (event,) = p.report().events
    assert (event.name, event.kind, event.allocated, event.moved) == ("empty", "span", 0, 0)
