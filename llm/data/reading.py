"""Documents from every form of text: plain text, JSON lines, tables, pages, compressed or not, in files and folders.

    for document in read_documents(["web/", "books/*.parquet", "-"], on_problem=print): ...

A plain text and a page are one document, other files have one in each row. They are read one by one, so that files may
be larger than memory. What cannot be read is a problem, which has a name, a place and a sentence.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from llm.data.documents import Document
from llm.data.names import files_of, is_shard
from llm.data.pages import page
from llm.data.parquet import parquet_rows
from llm.data.problems import OnProblem, Problem, empty, refuse, too_long
from llm.data.records import Place
from llm.data.rows import LONGEST, Item, Reading, csv_table, json_array, json_lines, not_utf8, tsv_table
from llm.data.streams import PARQUET, STANDARD_INPUT, damages, open_stream, suffix_of
from llm.data.text import HEAD_BYTES


def read_documents(
    names: Sequence[str], on_problem: OnProblem = refuse, *, field: str = "text", longest: int = LONGEST
) -> Iterator[Document]:
    """The documents of files, folders, patterns, or "-" for standard input, one after the other.

    `on_problem` is called for what cannot be read, in order. `field`: where a row has its text.
    Raises DataError for a name that does not exist, or if a package is missing.
    """
    for path in files_of(names):
        for item in read_file(path, Reading(field, longest)):
            if isinstance(item, Problem):
                on_problem(item)
            else:
                yield item


def read_file(path: str, reading: Reading) -> Iterator[Item]:
    """The documents and problems of one file, in order; at least one of them, if it is no file of the lab."""
    name, item = "standard input" if path == STANDARD_INPUT else path, None
    try:
        with open_stream(path) as stream:
            form = reading.form or form_of(path if os.path.isfile(path) else None, stream, reading.field)
            for item in FORMS.get(form, _binary)(stream, name, reading):
                yield item
        if item is None and not is_shard(path):
            yield empty(name)
    except damages() as error:
        yield Problem("damaged", name, f"what is compressed in it is broken ({error}); get it again")
    except OSError as error:
        yield Problem("unreadable", name, f"it cannot be read ({error.strerror or error})")


def plain_text(stream: io.BufferedReader, name: str, reading: Reading) -> Iterator[Item]:
    """One document."""
    content = stream.read(reading.longest + 1)
    if len(content) > reading.longest:
        yield too_long(name, reading.longest)
    elif not content.removeprefix(b"\xef\xbb\xbf").strip():
        yield empty(name)
    else:
        try:
            yield Document(content.decode("utf-8-sig"), name)
        except UnicodeDecodeError as error:
            yield not_utf8(str(Place(name, content.count(b"\n", 0, error.start) + 1)))


Form = Callable[[io.BufferedReader, str, Reading], Iterator[Item]]


def _binary(stream: io.BufferedReader, name: str, reading: Reading) -> Iterator[Item]:
    yield Problem("binary", name, "there are zero bytes in it, so it is a binary file or UTF-16; convert it to UTF-8")


FORMS: dict[str, Form] = {
    "text": plain_text,
    "jsonl": json_lines,
    "json": json_array,
    "csv": csv_table,
    "tsv": tsv_table,
    "parquet": parquet_rows,
    "html": page,
}
BY_SUFFIX = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".parquet": "parquet"}
BY_SUFFIX |= dict.fromkeys((".html", ".htm", ".xhtml"), "html")


def form_of(path: str | Path | None, stream: io.BufferedReader, field: str = "text") -> str:
    """The name of a form, by the name of a file and by how it begins; "binary" for none.

    `path`: None for a stream, which has no name.
    """
    head = stream.peek(HEAD_BYTES)[:HEAD_BYTES]
    suffix = "" if path is None else suffix_of(path)
    form = BY_SUFFIX.get(suffix)
    if form in ("parquet", "html") or head.startswith(PARQUET):
        return form or "parquet"
    if b"\0" in head:
        return "binary"
    if path is None or suffix == ".json":  # which may be JSON lines, an array of objects, or anything
        return _form_within(head.removeprefix(b"\xef\xbb\xbf").lstrip(), field)
    return form or "text"


def _form_within(head: bytes, field: str) -> str:
    """The form of a text that begins with `head`."""
    first, _, rest = head.partition(b"\n")
    if head[:15].lower().startswith((b"<!doctype html", b"<html")):
        return "html"
    if head.startswith(b"[") and head[1:].lstrip().startswith(b"{"):
        return "json"
    if first.startswith(b"{") and json.dumps(field).encode() in first and (not rest or _is_json(first)):
        return "jsonl"
    return "text"


def _is_json(line: bytes) -> bool:
    try:
        return bool(json.loads(line))
    except ValueError:
        return False
