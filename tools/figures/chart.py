"""Curves in SVG, for the chapters of the course: a frame, two axes, a line for each curve, its name at the right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tools.figures import svg

LEFT, RIGHT, TOP, HEIGHT = 44.0, 300.0, 46.0, 180.0  # of the frame; to the right of it stand the names
KINDS = "abcde"
STYLE = """<style>
polyline { fill: none; stroke-width: 2; stroke-linejoin: round }
.mark { stroke: #7b8290; stroke-dasharray: 4 3; stroke-width: 1 }
.line-a { stroke: #5b8fd6 } .line-b { stroke: #e0913a } .line-c { stroke: #9a6fc4 } .line-d { stroke: #4da56a }
.line-e { stroke: #a3a9b3 }
</style>"""

Points = Sequence[tuple[float, float]]


def draw(
    title: str,
    curves: Mapping[str, Points],
    *,
    x: tuple[str, Sequence[float]],
    y: tuple[str, Sequence[float]],
    marks: Mapping[str, float] | None = None,
    dotted: Sequence[str] = (),
) -> str:
    """A whole file. `x` and `y`: the name of an axis, and its ticks, from end to end. `marks`: horizontal lines.
    `dotted`: curves that are drawn as points.
    """
    (x_name, x_ticks), (y_name, y_ticks) = x, y
    right = lambda value: round(LEFT + (value - x_ticks[0]) / (x_ticks[-1] - x_ticks[0]) * (RIGHT - LEFT), 1)
    down = lambda value: round(TOP + (y_ticks[-1] - value) / (y_ticks[-1] - y_ticks[0]) * HEIGHT, 1)
    bottom = TOP + HEIGHT
    parts = [STYLE, svg.text(8, 20, title, "title"), svg.text(8, 36, y_name, "quiet small")]
    for tick in x_ticks:
        parts += [svg.line(right(tick), TOP, right(tick), bottom)]
        parts += [svg.text(right(tick), bottom + 15, f"{tick:g}", "quiet small", "middle")]
    for tick in y_ticks:
        parts += [svg.line(LEFT, down(tick), RIGHT, down(tick))]
        parts += [svg.text(LEFT - 6, down(tick) + 4, f"{tick:g}", "quiet small", "end")]
    parts.append(svg.text(RIGHT, bottom + 32, x_name, "quiet small", "end"))
    ends = [(name, down(points[-1][1]), kind) for (name, points), kind in zip(curves.items(), KINDS)]
    for (name, points), kind in zip(curves.items(), KINDS):
        places = [(right(a), down(b)) for a, b in points]
        if name in dotted:
            parts += [svg.rect(a - 3, b - 3, 6, 6, kind, rounded=3) for a, b in places]
        else:
            corners = " ".join(f"{a:g},{b:g}" for a, b in places)
            parts.append(f'<polyline points="{corners}" class="line-{kind}"/>')
    for name, value in (marks or {}).items():
        parts.append(f'<polyline points="{LEFT:g},{down(value):g} {RIGHT:g},{down(value):g}" class="mark"/>')
        ends.append((name, down(value), "mark"))  # without a colour
    return svg.picture(bottom + 44, [*parts, *_names(ends)], title)


def _names(ends: Sequence[tuple[str, float, str]]) -> list[str]:
    """The names at the ends of their curves, from top to bottom, moved apart where they would overlap."""
    parts, free = [], TOP - 6
    for name, height, kind in sorted(ends, key=lambda end: end[1]):
        free = max(free + 15, height)
        if kind in KINDS:
            parts.append(svg.rect(RIGHT + 8, free - 4, 10, 8, kind))
        parts.append(svg.text(RIGHT + 23, free + 4, name, "small"))
    return parts
