"""Documents from Parquet files, a few rows at a time."""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

from llm.data.problems import Problem
from llm.data.rows import Item, Reading, document_of, not_utf8
from llm.data.streams import missing

BATCH_BYTES, MOST_ROWS = 4 << 20, 1024  # of the rows that are read together


def parquet_rows(stream: io.BufferedReader, name: str, reading: Reading) -> Iterator[Item]:
    """A document for each row. Other columns become its fields."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise missing(error) from None
    with tempfile.TemporaryFile() as copy:
        file = _plain(stream, copy)
        try:
            yield from _items(pyarrow.parquet.ParquetFile(file, pre_buffer=False), name, reading)
        except (pyarrow.ArrowException, OSError) as error:
            yield Problem("damaged", name, f"it is not a whole Parquet file ({str(error).splitlines()[0]})")


def _items(parquet: Any, name: str, reading: Reading) -> Iterator[Item]:
    if reading.field not in parquet.schema_arrow.names:
        names = ", ".join(parquet.schema_arrow.names)
        yield Problem("no_text", name, f"no column is called {reading.field!r}, only {names}")
        return
    rows = (row for batch in parquet.iter_batches(batch_size=_batch_rows(parquet)) for row in _rows(batch))
    for number, row in enumerate(rows, 1):
        yield _item(row, f"{name}, row {number:,}", reading)


def _plain(stream: io.BufferedReader, copy: Any) -> Any:
    """The stream, if it is a file that can be read at any place; else the copy."""
    # Parquet is read from its end: what comes through a pipe, or is compressed, is copied first.
    if isinstance(stream.raw, io.FileIO) and stream.seekable():
        return stream
    shutil.copyfileobj(stream, copy)
    return copy


def _batch_rows(parquet: Any) -> int:
    """How many rows have about BATCH_BYTES."""
    facts = parquet.metadata
    size = sum(facts.row_group(group).total_byte_size for group in range(facts.num_row_groups))
    return max(1, min(MOST_ROWS, BATCH_BYTES * facts.num_rows // max(1, size)))


def _rows(batch: Any) -> Iterator[dict[str, Any] | ValueError]:
    try:
        yield from batch.to_pylist()
    except ValueError:  # bytes that are not UTF-8, or a date that Python does not have: which row has it?
        for number in range(batch.num_rows):
            try:
                yield batch.slice(number, 1).to_pylist()[0]
            except ValueError as error:
                yield error


def _item(row: dict[str, Any] | ValueError, place: str, reading: Reading) -> Item:
    if isinstance(row, UnicodeDecodeError):
        return not_utf8(place)
    if isinstance(row, ValueError):
        return Problem("broken_row", place, f"a value of this row cannot be read ({row})")
    text = row[reading.field]
    if isinstance(text, bytes):  # a column of bytes, as some programs write texts
        try:
            row[reading.field] = text.decode()
        except UnicodeDecodeError:
            return not_utf8(place)
    return document_of(row, place, reading)
