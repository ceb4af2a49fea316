"""Elements of HTML and SVG. A text becomes HTML here alone, and is escaped here, whatever it holds.

element("p", "1 < 2 ", element("b", "yes"), class_="note")      # <p class="note">1 &lt; 2 <b>yes</b></p>
"""

from __future__ import annotations

import html
import re

# Characters that a browser does not show, or that turn what follows around: they are shown by their numbers.
HIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
EMPTY_ELEMENTS = {"meta", "wbr"}


class Html(str):
    """Text that is HTML already. Only `element` and `join` make it, and style.py."""


def escape(text: object) -> Html:
    """A text as HTML that shows it."""
    shown = HIDDEN.sub(lambda match: f"\u27e8{ord(match.group()):04X}\u27e9", str(text))
    return Html(html.escape(shown.replace("\r\n", "\n").replace("\r", "\n")))


def join(*children: object) -> Html:
    """Children one after the other. What is not Html is text."""
    return Html("".join(child if isinstance(child, Html) else escape(child) for child in children if child is not None))


def element(name: str, /, *children: object, **attributes: object) -> Html:
    """An element. An attribute may end in "_", where its name is a word of Python; others have "-" in place of "_"."""
    pairs = ((key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items() if value is not None)
    opening = "".join([name, *(f' {key}="{escape(value)}"' for key, value in pairs)])
    if name in EMPTY_ELEMENTS:
        return Html(f"<{opening}>")
    return Html(f"<{opening}>{join(*children)}</{name}>")


def document(title: str, *children: object, style: Html, policy: str) -> Html:
    """A whole page. `policy`: what the browser may load and run, even for a text that was not escaped."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", style),
    )
    body = element("body", element("main", *children))
    return join(Html("<!doctype html>\n"), element("html", head, body, lang="en"), "\n")
