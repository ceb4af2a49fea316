"""Rows written in every form that llm/data reads, for tests."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

Rows = Sequence[Mapping[str, Any]]


def jsonl(rows: Rows) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def csv_table(rows: Rows) -> bytes:
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue().encode()


def parquet(rows: Rows) -> bytes:
    import pyarrow
    import pyarrow.parquet

    stream = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), stream, row_group_size=3)
    return stream.getvalue()


def zstandard(content: bytes) -> bytes:
    """In two frames."""
    import zstandard

    half = len(content) // 2
    return b"".join(zstandard.ZstdCompressor().compress(part) for part in (content[:half], content[half:]))


FORMS: dict[str, Callable[[Rows], bytes]] = {".jsonl": jsonl, ".csv": csv_table, ".parquet": parquet}
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".zst": zstandard}

# Texts of one document, with what forms must escape. No zero bytes: files with them are binary.
texts = (st.text("ab \r\n\t,\"'\\é漢🙂\u2028") | st.text(st.characters(codec="utf-8", exclude_characters="\0"))).filter(
    str.strip
)
