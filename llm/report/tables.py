"""Tables of the report."""

from __future__ import annotations

from collections.abc import Iterable

from llm.data.lab.page.html import Html, element


def table(head: Iterable[object], rows: Iterable[Iterable[object]], **attributes: object) -> Html:
    """`head` names the columns, and the first cell of each row names the row. A cell is a text, or Html."""
    columns = element("tr", *(element("th", name) for name in head))
    lines = [element("tr", element("th", name), *(element("td", cell) for cell in cells)) for name, *cells in rows]
    return element("table", element("thead", columns), element("tbody", *lines), **attributes)


def wide_table(head: Iterable[object], rows: Iterable[Iterable[object]]) -> Html:
    """A table that is moved sideways by itself in a window too narrow for it."""
    return element("div", table(head, rows), class_="scroll")
