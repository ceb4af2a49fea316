"""Files of examples: JSON lines, a JSON array, CSV, TSV and Parquet. Each record remembers where it was read.

A file may be compressed with gzip or Zstandard. A record is a dict. A CSV or TSV file without a header has two
columns, a text and its label, in any order.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm.data.errors import DataError
from llm.data.streams import PARQUET, damages, missing, open_stream, suffix_of

# The names of columns by which a header is recognised, and other names for two of them.
COLUMNS = {
    "text", "label", "prompt", "completion", "instruction", "input", "output", "question", "answer", "chosen",
    "rejected", "system",
}  # fmt: skip
SYNONYMS = {"sentence": "text", "message": "text", "review": "text", "class": "label", "category": "label"}
FORMATS = "JSON lines, a JSON array, Parquet, or a table whose name ends with .csv or .tsv"
BLANK = re.compile(r"[ \t\r\n]*")
LONGEST_FIELD = 1 << 30  # characters of a field of a CSV file


@dataclass(frozen=True)
class Place:
    """Where a record begins."""

    file: str
    line: int  # counted from 1
    unit: str = "line"

    def __str__(self) -> str:
        return f"{self.file}, {self.unit} {self.line:,}"


Record = tuple[Place, dict[str, Any]]


def read_records(path: str | Path) -> list[Record]:
    """All records of a file. Raises DataError, which names the line, if it is not in one of these formats."""
    data = read_bytes(path)
    if data.startswith(PARQUET):
        return list(parquet(data, str(path)))
    text, suffix = decoded(data, path), suffix_of(path)
    if suffix in (".csv", ".tsv"):
        rows = split_csv(text, str(path)) if suffix == ".csv" else split_tsv(text, str(path))
        records = table(rows)
    elif text.lstrip().startswith("["):
        records = list(array(text, str(path)))
    else:
        records = list(lines(text, str(path)))
    if not records:
        raise DataError(f"{path} holds no examples; expected {FORMATS}")
    return records


def read_text(path: str | Path) -> str:
    return decoded(read_bytes(path), path)


def read_bytes(path: str | Path) -> bytes:
    """All bytes of a file, decompressed."""
    try:
        with open_stream(os.fspath(path)) as stream:
            return stream.read()
    except damages() as error:
        raise DataError(f"{path}: what is compressed in it is broken ({error}); get it again") from None


def decoded(data: bytes, path: str | Path) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{Place(str(path), line)}: the bytes are not UTF-8; save the file as UTF-8") from None


# --- JSON -------------------------------------------------------------------------------------------------------------


def lines(text: str, file: str) -> Iterator[Record]:
    """A record for each line that is not empty."""
    # Only "\n" ends a line. `splitlines` would also divide at characters such as U+2028, which may stand in a text.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            place = Place(file, number)
            yield place, an_object(decode(line.strip(), 0, place)[0], place)


def array(text: str, file: str) -> Iterator[Record]:
    """A record for each object in a JSON array."""
    line, done, at = 1, 0, skip_blank(text, 0)
    if text[at : at + 1] != "[":
        raise DataError(f"{file}: found {line_at(text, at)}; expected an array of objects")
    at += 1
    while True:
        at = skip_blank(text, at)
        line, done = line + text.count("\n", done, at), at
        if text[at : at + 1] == "]":
            break
        value, at = decode(text, at, Place(file, line))
        yield Place(file, line), an_object(value, Place(file, line))
        at = skip_blank(text, at)
        if text[at : at + 1] not in (",", "]"):
            raise DataError(f"{Place(file, line)}: no comma and no end of the array follows this object")
        at += text[at] == ","
    if (rest := skip_blank(text, at + 1)) < len(text):  # such as a second array, if files were joined
        place = Place(file, line + text.count("\n", at, rest))
        raise DataError(f"{place}: after the end of the array there is {line_at(text, rest)}")


def skip_blank(text: str, at: int) -> int:
    """Where the next character is that is no white space of JSON."""
    return BLANK.match(text, at).end()  # type: ignore[union-attr]  # it matches the empty text too


def decode(text: str, start: int, place: Place) -> tuple[Any, int]:
    """The JSON value that begins at `start`, and where it ends. A line must contain nothing else."""
    try:
        if start == 0:
            return json.loads(text), len(text)
        return json.JSONDecoder().raw_decode(text, start)
    except RecursionError:
        raise DataError(f"{place}: lists and objects are nested too deeply") from None
    except ValueError as error:  # JSONDecodeError, and integers of too many digits
        found = line_at(text, start)
        problem = getattr(error, "msg", str(error))
        raise DataError(f"{place}: {found} is not JSON ({problem}); expected {FORMATS}") from None


def an_object(value: Any, place: Place) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DataError(f"{place}: found {shorten(json.dumps(value))}; expected an object such as {{'text': ...}}")
    # Where tables were turned into JSON, null stands for a missing value.
    return {name: item for name, item in value.items() if item is not None}


# --- Parquet ----------------------------------------------------------------------------------------------------------


def parquet(data: bytes, file: str) -> Iterator[Record]:
    """A record for each row. As in JSON lines, null stands for a missing value."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise missing(error) from None
    try:
        rows = pyarrow.parquet.read_table(pyarrow.BufferReader(data)).to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{file} is not a whole Parquet file ({str(error).splitlines()[0]})") from None
    for number, row in enumerate(rows, 1):
        yield Place(file, number, "row"), an_object(row, Place(file, number, "row"))


# --- tables -----------------------------------------------------------------------------------------------------------

Line = tuple[Place, list[str]]


def split_csv(text: str, file: str) -> list[Line]:
    """The fields of each row. A field in quotes may contain commas, newlines, and quotes that are doubled."""
    reader, rows, line = csv.reader(io.StringIO(text, newline=""), strict=True), [], 1
    usual = csv.field_size_limit(LONGEST_FIELD)
    try:
        for fields in reader:
            rows.append((Place(file, line), fields))
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{Place(file, line)}: this row is not CSV ({error})") from None
    finally:
        csv.field_size_limit(usual)
    return [row for row in rows if row[1]]


def split_tsv(text: str, file: str) -> list[Line]:
    """The fields of each line, between tabs. Quotes are ordinary characters."""
    numbered = enumerate(text.split("\n"), 1)
    return [(Place(file, n), line.rstrip("\r").split("\t")) for n, line in numbered if line.strip()]


def table(rows: list[Line]) -> list[Record]:
    """Records from rows of fields. The first row is a header if it has names of columns that are known."""
    if not rows:
        return []
    names = [SYNONYMS.get(name.strip().lower(), name.strip().lower()) for name in rows[0][1]]
    has_header = len(COLUMNS.intersection(names)) >= min(2, len(names))
    width = len(names) if has_header else 2
    for place, fields in rows:
        if len(fields) != width:
            expected = f"{width} as in the header" if has_header else "2, a text and its label, or a header in line 1"
            # A file of one column has probably another separator.
            expected += "; a .csv has commas between its columns, a .tsv tabs" if len(fields) == 1 else ""
            raise DataError(f"{place}: found {len(fields)} column{'s' * (len(fields) != 1)}; expected {expected}")
    if has_header:
        return [(place, dict(zip(names, fields))) for place, fields in rows[1:]]
    label = label_column(rows)
    return [(place, {"text": fields[1 - label], "label": fields[label]}) for place, fields in rows]


def label_column(rows: list[Line]) -> int:
    """Which of two columns is the label: the one with fewer different values, or else with shorter ones."""
    columns = [[fields[i] for _, fields in rows] for i in (0, 1)]
    label = min((1, 0), key=lambda i: (len(set(columns[i])), sum(map(len, columns[i]))))
    # A header with other names would become a class with a single example.
    first, others = columns[label][0], columns[label][1:]
    if first not in others and len(set(others)) * 2 <= len(others):
        raise DataError(
            f"{rows[0][0]}: {first!r} is the label of this row alone, so it seems to be the name of a column; "
            "call the columns text and label, or delete this line"
        )
    return label


def line_at(text: str, start: int) -> str:
    """The rest of a line, for messages."""
    return shorten(text[start : start + 100].partition("\n")[0])


def shorten(text: str) -> str:
    return text if len(text) <= 60 else text[:60] + " ..."
