"""A few shapes in SVG. Pictures are as wide as a phone, and have their own background, for light and dark pages."""

from __future__ import annotations

from html import escape

WIDTH = 440

STYLE = """
svg { font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; font-size: 12px }
.page { fill: #fff } text { fill: #1d1f23 } .quiet { fill: #5a606b } .line { stroke: #c3c7ce }
.title { font-size: 14px; font-weight: 600 } .strong { font-weight: 600 } .small { font-size: 11px }
.forward { fill: #cfe0f7 } .backward { fill: #fbdcb8 } .update { fill: #e3d3f2 }
.idle { fill: #fff; stroke: #c3c7ce; stroke-dasharray: 3 3 }
.adds { fill: #d6efdb } .moves { fill: #e6e8ec } .edge-adds { fill: #2f8f4e } .edge-moves { fill: #7b8290 }
.a { fill: #5b8fd6 } .b { fill: #e0913a } .c { fill: #9a6fc4 } .d { fill: #4da56a } .e { fill: #a3a9b3 }
@media (prefers-color-scheme: dark) {
.page { fill: #16181c } text { fill: #e6e4df } .quiet { fill: #a7acb5 } .line { stroke: #4a505a }
.forward { fill: #23477a } .backward { fill: #7a4a16 } .update { fill: #553876 }
.idle { fill: #16181c; stroke: #4a505a; stroke-dasharray: 3 3 }
.adds { fill: #1f4a2c } .moves { fill: #31353d } .edge-adds { fill: #5cc27d } .edge-moves { fill: #9aa1ae }
.a { fill: #3f73bb } .b { fill: #b06a1c } .c { fill: #7d52a8 } .d { fill: #35844f } .e { fill: #6b717c }
}
"""


def picture(height: float, parts: list[str], description: str) -> str:
    """A whole file. `description`: for those who cannot see it."""
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:g}" viewBox="0 0 {WIDTH} '
        f'{height:g}" role="img">',
        f"<title>{escape(description)}</title>",
        f"<style>{STYLE}</style>",
        rect(0, 0, WIDTH, height, "page"),
        *parts,
        "</svg>\n",
    ])  # fmt: skip


def rect(x: float, y: float, width: float, height: float, kind: str, rounded: float = 0) -> str:
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{rounded:g}" class="{kind}"/>'


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:g}" y="{y:g}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" class="line"/>'
