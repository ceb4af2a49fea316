"""Curves as SVG and images as PNG, inside the page: nothing is fetched."""

from __future__ import annotations

import base64
import math
import struct
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from llm.data.lab.page.figures import Axis, number
from llm.data.lab.page.html import Html, element

WIDTH, HEIGHT = 460, 170
LEFT, RIGHT, TOP, BOTTOM = 52, 18, 10, 22  # room for the numbers of the axes
COLOURS = ("var(--kept)", "var(--dropped)", "#8a63b8", "#3f9a68")
MOST_POINTS = 400  # of a curve: more than the picture has room for

Curve = Sequence[tuple[float, float]]


def curves(title: str, lines: Mapping[str, Curve], *, log: bool = False) -> Html | None:
    """A picture with a line for each curve, all at one scale. None if there is nothing to draw.

    `log`: the values as logarithms; those that are not above 0 are left out.
    """
    shown = {
        name: thinned([(x, y) for x, y in line if math.isfinite(x + y) and (y > 0 or not log)])
        for name, line in lines.items()
    }
    shown = {name: line for name, line in shown.items() if line}
    points = [point for line in shown.values() for point in line]
    if len(points) < 2:
        return None
    steps, values = zip(*points)
    height = math.log10 if log else float
    across, up = Axis(min(0.0, *steps), max(steps)), Axis(height(min(values)), height(max(values)))
    x_of = lambda step: LEFT + across.share(step) * (WIDTH - LEFT - RIGHT)
    y_of = lambda value: TOP + (1 - up.share(value)) * (HEIGHT - TOP - BOTTOM)
    ticks = {y_of(height(value)): value for value in (round_numbers(min(values), max(values)) if log else up.ticks())}
    parts = [_tick(LEFT, y, number(value), "end") for y, value in ticks.items()]
    parts += [_tick(x_of(step), HEIGHT - 4, number(step), "middle") for step in across.ticks()]
    for index, line in enumerate(shown.values()):
        corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in ((x_of(x), y_of(height(y))) for x, y in line))
        parts.append(element("polyline", points=corners, style=f"stroke: {colour(index, len(shown))}"))
        if len(line) == 1:  # a line of one point cannot be seen
            x, y = x_of(line[0][0]), y_of(height(line[0][1]))
            parts.append(
                element("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=3, style=f"fill: {colour(index, len(shown))}")
            )
    picture = element("svg", *parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=title)
    legend = [
        element("span", element("i", style=f"background: {colour(i, len(shown))}"), f" {name} ")
        for i, name in enumerate(shown)
    ]
    return element("div", element("h4", title), picture, element("p", *legend, class_="legend"), class_="card")


def round_numbers(low: float, high: float) -> list[float]:
    """Some numbers above 0 for a logarithmic axis: 1, 2, 5, 10 ..., only powers of 10 if these are many, and numbers
    that lie evenly if there are few.
    """
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1, 2, 5), (1,)):
        found = [x for e in exponents for d in digits if low * 0.9 <= (x := d * 10.0**e) <= high * 1.1]
        if len(found) <= 6:
            break
    return found[:: -(-len(found) // 6)] if len(found) > 2 else [x for x in Axis(low, high).ticks() if x > 0]


def colour(index: int, count: int) -> str:
    """Of a line: four that are easily told apart, or as many as needed, from blue to red, for what has an order."""
    if count <= len(COLOURS):
        return COLOURS[index]
    return f"hsl({230 - 230 * index / (count - 1):.0f} 65% 48%)"


def _tick(x: float, y: float, text: str, anchor: str) -> Html:
    return element("text", text, x=f"{x - (4 if anchor == 'end' else 0):.1f}", y=f"{y:.1f}", text_anchor=anchor)


def thinned(line: Curve) -> Curve:
    """At most MOST_POINTS points: means of neighbours."""
    step = -(-len(line) // MOST_POINTS)
    groups = [line[i : i + step] for i in range(0, len(line), step)] if line else []
    return [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]


def image(gray: np.ndarray, title: str) -> Html:
    """A picture of numbers from 0 (white) to 1 (black): (rows, columns)."""
    pixels = (255 * (1 - np.clip(gray, 0, 1))).astype(np.uint8)
    source = "data:image/png;base64," + base64.b64encode(png(pixels)).decode()
    return element("img", src=source, alt=title, title=title, class_="pixels")


def png(pixels: np.ndarray) -> bytes:
    """Gray levels (rows, columns), uint8, as a PNG file (ISO 15948)."""
    rows, columns = pixels.shape

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)  # 8 bits, gray, no interlacing
    lines = np.hstack([np.zeros((rows, 1), np.uint8), pixels]).tobytes()  # each row begins with its filter: none
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines, 9)) + chunk(b"IEND", b"")
