"""All chapters as one page of HTML: formulas as MathML, pictures in the page, no scripts, nothing from the network."""

from __future__ import annotations

import base64
import os
import re
from html import escape
from pathlib import Path
from typing import Any

from docs.course.chapters import COURSE, Chapter, CourseError, chapters

STYLE = """
:root { color-scheme: light dark;
--text: #1d1f23; --page: #fff; --quiet: #5a606b; --code: #f3f4f6; --line: #d5d8de; --link: #1c5fb8 }
@media (prefers-color-scheme: dark) {
:root { --text: #e6e4df; --page: #16181c; --quiet: #a7acb5; --code: #22252b; --line: #3a3f48; --link: #7fb0f0 } }
body { margin: 0 auto; max-width: 60rem; padding: 1rem 1.2rem 4rem; color: var(--text); background: var(--page);
font: 17px/1.6 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; overflow-wrap: break-word }
h1, h2 { line-height: 1.25 } section { border-top: 1px solid var(--line); margin-top: 3rem; padding-top: 1rem }
a { color: var(--link) }
pre { background: var(--code); padding: .7rem .9rem; overflow-x: auto; border-radius: 6px; line-height: 1.45 }
section:first-child { border: 0 }
code { font: .76em/1.45 ui-monospace, "DejaVu Sans Mono", monospace }
:not(pre) > code { background: var(--code); padding: .1em .25em }
.source { color: var(--quiet); font-size: .82em; margin-bottom: -.9em }
.display { overflow-x: auto; overflow-y: hidden; padding: .2rem 0 }
math { font-size: 1.08em } img { max-width: 100%; height: auto; display: block; margin: 1rem auto }
table { border-collapse: collapse; display: block; overflow-x: auto }
td, th { border: 1px solid var(--line); padding: .25em .6em }
@media (max-width: 640px) { pre { padding: .6rem .5rem } pre code { font-size: .68em } }
@media print { pre { white-space: pre-wrap } section { break-before: page } }
"""


def book(out: Path) -> str:
    """The text of the page that will stand at `out`, from where its links go to the files of the checkout."""
    markdown, pages = _parser(), chapters()
    own = {f"{c.name}.md": f"#chapter-{c.number}" for c in pages} | {"README.md": "#begin"}
    parts = [("begin", (COURSE / "README.md").read_text("utf-8"))]
    parts += [(f"chapter-{c.number}", c.page.read_text("utf-8")) for c in pages]
    body = "\n".join(
        f'<section id="{name}">\n{_linked(markdown.render(_sourced(text)), own, out)}{_next(name, pages)}</section>'
        for name, text in parts
    )
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    head += f"<title>A language model from zero: the course</title><style>{STYLE}</style>"
    return f"<!doctype html>\n<html lang=en><head>{head}</head>\n<body>{body}</body></html>\n"


def _parser() -> Any:
    try:
        from latex2mathml.converter import convert
        from markdown_it import MarkdownIt
        from mdit_py_plugins.dollarmath import dollarmath_plugin
    except ImportError as error:
        raise CourseError(f"the book needs {error.name}: pip install -e '.[course]'") from None

    def math(tex: str, options: dict) -> str:
        display = options["display_mode"]
        text = convert(tex, display="block" if display else "inline")
        # A prime is a superscript already: as one more, it would be too small to be seen.
        text = re.sub(r"<msup>(<mi>\w+</mi>)<mi>(&#x0203[2-7];)</mi></msup>", r"\1<mo>\2</mo>", text)
        return f'<div class="display">{text}</div>' if display else text

    parser = MarkdownIt("commonmark").enable("table")
    return parser.use(dollarmath_plugin, renderer=math, double_inline=True)


def _sourced(text: str) -> str:
    """The comment above an excerpt becomes a line that says, with a link, where it is from."""
    return re.sub(
        r"^<!-- source: (\S+) (.+?) -->$",
        lambda m: f'<p class="source"><a href="../../{m[1]}">{m[1]}</a>: {escape(m[2])}</p>\n',
        text,
        flags=re.MULTILINE,
    )


def _linked(html: str, own: dict[str, str], out: Path) -> str:
    """Links to chapters stay in the page, pictures go into it, and all others lead from `out` to the same files."""

    def link(found: re.Match) -> str:
        attribute, target = found[1], found[2]
        if re.match(r"[a-z]+:|#", target):
            return found[0]
        if target in own:
            return f'{attribute}="{own[target]}"'
        if attribute == "src":
            data = base64.b64encode((COURSE / target).read_bytes()).decode()
            return f'src="data:image/svg+xml;base64,{data}"'
        return f'{attribute}="{Path(os.path.relpath(COURSE / target, out.parent)).as_posix()}"'

    return re.sub(r'\b(href|src)="([^"]+)"', link, html)


def _next(name: str, pages: list[Chapter]) -> str:
    following = {f"chapter-{a.number}": b for a, b in zip(pages, pages[1:])} | {"begin": pages[0]}
    if name not in following:
        return ""
    chapter = following[name]
    return f'<p><a href="#chapter-{chapter.number}">{chapter.number}. {escape(chapter.title)}</a> →</p>\n'
