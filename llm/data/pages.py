"""The text of HTML pages, without menus and advertisements, by trafilatura."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

from llm.data.documents import Document
from llm.data.problems import Problem, empty, too_long
from llm.data.rows import Item, Reading
from llm.data.streams import missing


def page(stream: io.BufferedReader, name: str, reading: Reading) -> Iterator[Item]:
    """One document. The page itself says how its characters are encoded."""
    content = stream.read(reading.longest + 1)
    if len(content) > reading.longest:
        yield too_long(name, reading.longest)
    elif not content.strip():
        yield empty(name)
    elif text := extract(content):
        yield Document(text, name)
    else:
        yield Problem("no_text", name, "the page has no text beside its menus")


def extract(content: bytes) -> str:
    """The text of a page; "" if it has none."""
    try:
        import trafilatura
    except ImportError as error:
        raise missing(error) from None
    logging.getLogger("trafilatura").setLevel(logging.CRITICAL)  # what it would say, a problem says
    try:
        if text := trafilatura.extract(content, include_comments=False):
            return text
        # There is no article in it. Then all of its text is taken, also of a part of a page, without <html>.
        whole = content if b"<html" in content.lower() else b"<html><body>" + content + b"</body></html>"
        return trafilatura.html2txt(whole).strip()
    except Exception:  # a page may be any bytes, and there is no list of what trafilatura and lxml may raise
        return ""
