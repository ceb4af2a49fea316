"""Documents from files of rows, read one by one: JSON lines, a JSON array, CSV and TSV.

A row that is broken is a problem, and reading goes on with the next one.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, TextIO

from llm.data.documents import Document
from llm.data.errors import DataError
from llm.data.names import is_shard
from llm.data.problems import Problem, empty, too_long
from llm.data.records import SYNONYMS, Place, array, decode, label_column, shorten

LONGEST = 16 << 20  # bytes of a document
LONGER_LINES = 4  # a line of JSON may have several characters for one of the text
FIRST_ROWS = 1000  # of a table without a header: they show which column is the text

Item = Document | Problem

# Fields of rows that are no documents, but examples for train.py --objective: llm/tuning/examples/rows.py.
EXAMPLES = {"messages", "conversations", "prompt", "instruction", "question", "chosen"}


@dataclass(frozen=True)
class Reading:
    """How documents are read."""

    field: str = "text"  # the field of a row that holds its text
    longest: int = LONGEST  # bytes; a longer document is a problem
    form: str | None = None  # a name of FORMS in reading.py. None: as the name of the file says

    @property
    def longest_line(self) -> int:
        return LONGER_LINES * self.longest + 1000


def document_of(row: Mapping[str, Any], place: str, reading: Reading, source: str | None = None) -> Item:
    """The document in a row. `source`: where it was read first, if that is not `place`."""
    if reading.field not in row:
        examples = ", which train.py reads with --objective" if EXAMPLES & row.keys() else ""
        return Problem("no_text", place, f"the row has no field {reading.field!r}, only {_names(row)}{examples}")
    text = row[reading.field]
    if not isinstance(text, str):
        return Problem("no_text", place, f"the field {reading.field!r} is {shorten(repr(text))}, not a text")
    if not text.strip():
        return empty(place)
    try:
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError:
        return Problem("not_utf8", place, "the text has half of a character of two parts (a surrogate)")
    if size > reading.longest:
        return too_long(place, reading.longest)
    return Document(text, source or place, {name: value for name, value in row.items() if name != reading.field})


def _names(row: Mapping[str, Any]) -> str:
    return shorten(", ".join(map(str, row))) or "nothing"


# --- lines ------------------------------------------------------------------------------------------------------------


def lines_of(stream: TextIO, longest: int) -> Iterator[tuple[int, str | None]]:
    """The lines with their numbers, counted from 1. None stands for a line with more than `longest` characters."""
    number = 0
    while line := stream.readline(longest + 1):
        number += 1
        if len(line) <= longest or line.endswith("\n"):
            yield number, line
        else:
            while line and not line.endswith("\n"):
                line = stream.readline(1 << 20)
            yield number, None


def is_utf8(line: str) -> bool:
    """Whether a line that was decoded with "surrogateescape" had no other bytes."""
    try:
        return line.isascii() or bool(line.encode())
    except UnicodeEncodeError:
        return False


def not_utf8(place: str) -> Problem:
    return Problem("not_utf8", place, "there are bytes in it that are not UTF-8; convert it to UTF-8, or leave it out")


def _text(stream: io.BufferedReader, newline: str) -> TextIO:
    return io.TextIOWrapper(stream, "utf-8-sig", "surrogateescape", newline)


# --- JSON -------------------------------------------------------------------------------------------------------------


def json_lines(stream: io.BufferedReader, name: str, reading: Reading) -> Iterator[Item]:
    """A document for each line that is not empty. Only "\\n" ends a line: others, such as U+2028, are text."""
    of_the_lab = is_shard(name)
    for number, line in lines_of(_text(stream, "\n"), reading.longest_line):
        place = Place(name, number)
        if line is None:
            yield too_long(str(place), reading.longest)
        elif not is_utf8(line):
            yield not_utf8(str(place))
        elif line.strip():
            yield _json_row(line.strip(), place, reading, of_the_lab)


def _json_row(line: str, place: Place, reading: Reading, of_the_lab: bool) -> Item:
    try:
        row = decode(line, 0, place)[0]
    except DataError as error:
        return Problem("broken_row", str(place), str(error).removeprefix(f"{place}: "))
    if not isinstance(row, dict):
        return Problem("broken_row", str(place), f"found {shorten(json.dumps(row))}; expected an object")
    # Another program's file may have the name of one of the lab.
    source = row.pop("source") if of_the_lab and isinstance(row.get("source"), str) else None
    return document_of(row, str(place), reading, source)


def json_array(stream: io.BufferedReader, name: str, reading: Reading) -> Iterator[Item]:
    """A document for each object. The array is read as a whole, so it may not be longer than a document."""
    text = _text(stream, "").read(reading.longest + 1)
    if len(text) > reading.longest:
        yield Problem("too_long", name, f"an array of more than {reading.longest:,} characters; write it as JSON lines")
    elif not is_utf8(text):
        yield not_utf8(name)
    elif text.strip():
        try:
            for place, row in array(text, name):
                yield document_of(row, str(place), reading)
        except DataError as error:  # nothing shows where the next object begins
            yield Problem("broken_row", name, str(error))


# --- tables -----------------------------------------------------------------------------------------------------------

Row = tuple[Place, list[str]]
TOO_LARGE = "field larger than field limit"  # the beginning of a message of the module csv


def csv_table(stream: io.BufferedReader, name: str, reading: Reading) -> Iterator[Item]:
    return _table(_csv_rows(_text(stream, ""), name, reading), name, reading)


def tsv_table(stream: io.BufferedReader, name: str, reading: Reading) -> Iterator[Item]:
    return _table(_tsv_rows(_text(stream, "\n"), name, reading), name, reading)


def _tsv_rows(stream: TextIO, name: str, reading: Reading) -> Iterator[Row | Problem]:
    """The fields of each line, between tabs. Quotes are ordinary characters."""
    for number, line in lines_of(stream, reading.longest_line):
        place = Place(name, number)
        if line is None:
            yield too_long(str(place), reading.longest)
        elif line.strip():
            yield (place, line.rstrip("\r\n").split("\t")) if is_utf8(line) else not_utf8(str(place))


class _Lines:
    """Lines for csv.reader, which counts those that it has read. A line that is too long is skipped, with an error."""

    def __init__(self, stream: TextIO, longest: int):
        self._lines, self.count = lines_of(stream, longest), 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        self.count, line = next(self._lines)
        if line is None:
            raise csv.Error(TOO_LARGE)
        return line


def _csv_rows(stream: TextIO, name: str, reading: Reading) -> Iterator[Row | Problem]:
    """The fields of each row. A field in quotes may contain commas, newlines, and quotes that are doubled."""
    csv.field_size_limit(reading.longest_line)
    lines = _Lines(stream, reading.longest_line)
    reader = csv.reader(lines, strict=True)
    while True:
        place = Place(name, lines.count + 1)
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:  # the reader begins anew with the next line
            problem = Problem("broken_row", str(place), f"this row is not CSV ({error})")
            yield too_long(str(place), reading.longest) if TOO_LARGE in str(error) else problem
        else:
            if fields:
                yield (place, fields) if is_utf8("".join(fields)) else not_utf8(str(place))


def _table(rows: Iterator[Row | Problem], name: str, reading: Reading) -> Iterator[Item]:
    """A document for each row. The first row names the columns."""
    first = next(rows, None)
    while isinstance(first, Problem):
        yield first
        first = next(rows, None)
    if first is None:
        return
    columns = _header(first[1], reading.field)
    if columns is None:  # perhaps two columns, a text and its label, and no header
        some = [first, *islice(rows, FIRST_ROWS)]
        columns, rows = _unnamed([row for row in some if not isinstance(row, Problem)]), chain(some, rows)
    if columns is None:
        found = shorten(", ".join(first[1]))
        yield Problem("no_text", name, f"no column is called {reading.field!r}; the first row is {found}")
        return
    for row in rows:
        yield row if isinstance(row, Problem) else _table_row(row, columns, reading)


def _table_row(row: Row, columns: list[str], reading: Reading) -> Item:
    place, fields = row
    if len(fields) != len(columns):
        return Problem("broken_row", str(place), f"found {len(fields)} columns; expected {len(columns)}")
    return document_of(dict(zip(columns, fields)), str(place), reading)


def _header(names: list[str], field: str) -> list[str] | None:
    """The names of the columns, of which one is `field`; None if this is no header."""
    names = distinct([name.strip() for name in names])
    if field not in names:
        known = [SYNONYMS.get(name.lower(), name.lower()) for name in names]
        if field not in known:
            return None
        names[known.index(field)] = field
    return names


def distinct(names: list[str]) -> list[str]:
    """The names; one that was there before gets an underscore, so that no column is lost."""
    found: dict[str, None] = {}
    for name in names:
        while name in found:
            name += "_"
        found[name] = None
    return [*found]


def _unnamed(rows: list[Row]) -> list[str] | None:
    """Names for two columns without a header, if one of them can only be a label; otherwise None."""
    if any(len(fields) != 2 for _, fields in rows) or len(rows) < 4:
        return None
    try:
        label = label_column(rows)
    except DataError:
        return None
    labels = {fields[label] for _, fields in rows}
    return None if len(labels) * 2 > len(rows) else ["label", "text"] if label == 0 else ["text", "label"]
