"""Folders as `clean` and `dedup` write them, for tests of what reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from llm.data.documents import Document
from llm.data.lab.folder import open_folder
from llm.data.lab.verdict import Verdict

HOSTILE = """</p></blockquote><script>document.title = "run"</script><img src=x onerror="document.title='run'">
<style>* { display: none }</style> --> ]]> &lt;b&gt; &amp; "quoted" 'quoted' \u202eturned\u202c \x00\x1b[31m
<svg onload="document.title='run'"></svg><a href="javascript:document.title='run'">x</a><iframe src=//example.org>"""

Row = tuple[str, Verdict | None]  # a text, and why it is dropped, if it is


def write_folder(
    folder: Path, rows: Sequence[Row], duplicates: Sequence[tuple[str, int, float]] = (), command: str = "clean"
) -> Path:
    """`duplicates`: texts that are dropped, each with the number of the row that it repeats, and how alike they are."""
    with open_folder(folder, {}, 1 << 20) as lab:
        for number, (text, verdict) in enumerate(rows):
            document = Document(text, source_of(number))
            lab.document(document, [verdict or Verdict(True, "length", len(text), 3)])
        for i, (text, number, similarity) in enumerate(duplicates):
            document, verdict = (
                Document(text, f"copies.jsonl, line {i + 1}"),
                Verdict(False, "near_duplicate", similarity, 0.72),
            )
            lab.document(document, [verdict], duplicate_of=source_of(number), similarity=similarity)
        lab.finish(command, {})
    return folder


def source_of(number: int) -> str:
    return f"raw.jsonl, line {number + 1}"
