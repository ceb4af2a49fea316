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

WIDTH, HEIGHT, LEFT, BOTTOM = 460, 170, 44, 22
MOST_POINTS = 400  # of a curve: more than the picture has room for

Curve = Sequence[tuple[float, float]]


def curves(title: str, lines: Mapping[str, Curve]) -> Html | None:
    """A picture with a line for each curve, all at one scale. None if there is nothing to draw."""
    shown = {name: thinned([(x, y) for x, y in line if math.isfinite(x + y)]) for name, line in lines.items()}
    points = [point for line in shown.values() for point in line]
    if len(points) < 2:
        return None
    steps, values = zip(*points)
    across, up = Axis(min(0.0, *steps), max(steps)), Axis(min(values), max(values))  # from 0 on, an axis is linear
    place = lambda x, y: (LEFT + across.share(x) * (WIDTH - LEFT), (1 - up.share(y)) * (HEIGHT - BOTTOM))
    parts = [_tick(*place(across.value(0), tick), number(tick), "end") for tick in up.ticks()]
    parts += [_tick(place(tick, 0)[0], HEIGHT - 4, number(tick), "middle") for tick in across.ticks()]
    for index, line in enumerate(shown.values()):
        corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in line))
        parts.append(element("polyline", points=corners, class_=f"run{index}"))
    picture = element("svg", *parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=title)
    legend = [element("span", element("i", class_=f"run{i}"), f" {name} ") for i, name in enumerate(shown)]
    return element("div", element("h4", title), picture, element("p", *legend, class_="legend"), class_="card")


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
