"""Pictures as SVG: how a number is distributed, with the threshold; how long documents are, before and after;
how likely near duplicates are found.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Sequence

from llm.data.lab.page.findings import RuleFindings
from llm.data.lab.page.html import Html, element

WIDTH, HEIGHT, BOTTOM, TOP = 460, 140, 22, 18  # units of a picture; it is drawn as wide as there is room
WIDE = 1080  # of one that is as wide as the page
BINS = 44


def number(value: float) -> str:
    """As people write it: 50, 100,000, 0.2, 0.0024."""
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def size(count: float) -> str:
    """Bytes: 512 B, 1.2 kB, 3.4 MB."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(count) < 1000 or unit == "TB":
            return f"{count:,.0f} {unit}" if unit == "B" or abs(count) >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError


class Axis:
    """Numbers to places from left to right: linear, or by logarithms where they differ a hundredfold."""

    def __init__(self, low: float, high: float):
        self.logarithmic = low >= 1 and high >= 100 * low
        self.low, self.high = (math.log(low), math.log(high)) if self.logarithmic else (low, high)
        margin = (self.high - self.low) / BINS or 0.5  # what lies at an end has room there
        self.low, self.high = self.low - margin, self.high + margin

    def share(self, value: float) -> float:
        """0 at the left end, 1 at the right one."""
        value = math.log(max(value, 1e-300)) if self.logarithmic else value
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))

    def value(self, share: float) -> float:
        value = self.low + share * (self.high - self.low)
        return math.exp(value) if self.logarithmic else value

    def ticks(self) -> list[float]:
        """About five round numbers."""
        if self.logarithmic:
            first, last = math.ceil(self.low / math.log(10) - 1e-9), math.floor(self.high / math.log(10) + 1e-9)
            return [10.0**n for n in range(first, last + 1)]
        step = 10.0 ** math.floor(math.log10((self.high - self.low) / 4))
        step *= next(m for m in (1, 2, 5, 10) if (self.high - self.low) / (m * step) <= 6)
        first = math.ceil(self.low / step - 1e-9)
        return [round((first + i) * step, 12) for i in range(int((self.high - first * step) / step + 1e-9) + 1)]


def histogram(rule: RuleFindings) -> Html | None:
    """How many documents had which number. Those that the rule took are in the other colour."""
    values = [(x, n) for x, n in rule.histogram if math.isfinite(x) and n > 0]
    if len(values) < 2 or rule.threshold is None or not math.isfinite(rule.threshold):
        return None  # one number needs no picture
    axis = Axis(min(values[0][0], rule.threshold), max(values[-1][0], rule.threshold))
    at = axis.share(rule.threshold)
    anchor, shift = ("end", -6) if at > 0.6 else ("start", 6)
    label = element("text", f"threshold {number(rule.threshold)}", x=_n(at * WIDTH + shift), y=12, text_anchor=anchor,
                    class_="threshold")  # fmt: skip
    line = element("line", x1=_n(at * WIDTH), x2=_n(at * WIDTH), y1=2, y2=HEIGHT - BOTTOM, class_="threshold")
    bars = _bars(rule, rule.threshold, values, axis)
    return _picture(f"Distribution of {rule.name}", *bars, *_axis(axis), line, label)


def _bars(rule: RuleFindings, threshold: float, values: Sequence[tuple[float, int]], axis: Axis) -> list[Html]:
    at = axis.share(threshold)
    left = min(max(1, round(at * BINS)), BINS - 1)  # bins on the left of the threshold
    edges = [at * i / left for i in range(left)] + [at + (1 - at) * i / (BINS - left) for i in range(BINS - left + 1)]
    counts = [0] * BINS
    for value, count in values:
        # What equals the threshold is kept: it is on the right side where the numbers below are dropped.
        is_left = value < threshold or value == threshold and rule.takes_below is False
        first, last = (0, left - 1) if is_left else (left, BINS - 1)
        counts[min(max(bisect(edges, axis.share(value)) - 1, first), last)] += count
    return [_bar(axis, edges[i], edges[i + 1], count, max(counts), _kind(rule, is_left=i < left))
            for i, count in enumerate(counts) if count]  # fmt: skip


def _kind(rule: RuleFindings, *, is_left: bool) -> str:
    if rule.documents == rule.reached:  # near duplicates: each that was measured was dropped
        return "dropped"
    return "dropped" if rule.takes_below is is_left else "kept"


def _bar(axis: Axis, begin: float, end: float, count: int, most: int, kind: str) -> Html:
    # The square root: a bin of one document can be seen beside one of a thousand.
    height = max(2.0, math.sqrt(count / most) * (HEIGHT - BOTTOM - TOP))
    title = element("title", f"{number(axis.value(begin))} to {number(axis.value(end))}: {count:,} documents")
    return element("rect", title, x=_n(begin * WIDTH), y=_n(HEIGHT - BOTTOM - height), height=_n(height),
                   width=_n(max(1.0, (end - begin) * WIDTH - 1)), class_=kind)  # fmt: skip


def _axis(axis: Axis) -> list[Html]:
    parts = [element("line", x1=0, x2=WIDTH, y1=HEIGHT - BOTTOM, y2=HEIGHT - BOTTOM, class_="axis")]
    for value in axis.ticks():
        x = axis.share(value) * WIDTH
        anchor = "start" if x < 20 else "end" if x > WIDTH - 20 else "middle"
        parts.append(element("text", number(value), x=_n(x), y=HEIGHT - 5, text_anchor=anchor))
    return parts


def lengths(before: Sequence[int], after: Sequence[int], labels: Sequence[str]) -> Html:
    """Two bars for each length: documents before, and those of them that were kept."""
    width, most = WIDE / max(1, len(before)), max([*before, 1])
    parts = [element("line", x1=0, x2=WIDE, y1=HEIGHT - BOTTOM, y2=HEIGHT - BOTTOM, class_="axis")]
    for i, (total, kept, label) in enumerate(zip(before, after, labels, strict=True)):
        for count, kind in ((total, "dropped"), (kept, "kept")):
            height = math.sqrt(count / most) * (HEIGHT - BOTTOM - TOP)
            title = element("title", f"{label}: {total:,} before, {kept:,} after")
            parts.append(element("rect", title, x=_n(i * width), y=_n(HEIGHT - BOTTOM - height), width=_n(width - 2),
                                 height=_n(height), class_=kind))  # fmt: skip
        if i % max(1, len(before) // 8) == 0:
            parts.append(element("text", label, x=_n(i * width), y=HEIGHT - 5))
    return _picture("Lengths of documents before and after", *parts, width=WIDE)


def detection(points: Sequence[tuple[float, float]]) -> Html:
    """The probability that a pair is found (upwards), by how alike it is (to the right): both from 0 to 1."""
    axis, height = Axis(0, 1), HEIGHT - BOTTOM - TOP
    line = " ".join(f"{_n(axis.share(x) * WIDTH)},{_n(HEIGHT - BOTTOM - y * height)}" for x, y in points)
    return _picture("How likely a pair is found", element("polyline", points=line), *_axis(axis))


def _picture(title: str, *parts: Html, width: int = WIDTH) -> Html:
    return element("svg", *parts, viewBox=f"0 0 {width} {HEIGHT}", role="img", aria_label=title,
                   class_="wide" if width == WIDE else None)  # fmt: skip


def _n(value: float) -> str:
    """A coordinate: one digit after the point is enough."""
    return f"{value:.1f}"
