"""Files of examples say the same in every form, also compressed; a broken one is told in a sentence."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.data.errors import DataError
from llm.data.lab.command import main
from llm.data.records import read_records
from llm.evaluation.tasks.items import read_task
from llm.evaluation.tasks.known import find_description

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
ROWS = st.lists(
    st.fixed_dictionaries(
        {"query": TEXTS, "endings": st.lists(TEXTS, min_size=1, max_size=3), "label": st.integers(0, 2) | st.none()}
    ),
    min_size=1,
    max_size=5,
)


def in_every_form(rows: list[dict[str, Any]]) -> dict[str, bytes]:
    """The bytes of a file for each end of a name."""
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    zstandard = pytest.importorskip("zstandard")
    lines, table = "".join(json.dumps(row) + "\n" for row in rows).encode(), io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows), table)
    plain = {"jsonl": lines, "json": json.dumps(rows).encode(), "parquet": table.getvalue()}
    compress = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}
    return {name + end: do(data) for name, data in plain.items() for end, do in compress.items()}


@given(rows=ROWS)
def test_records_are_the_same_in_every_form(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    folder = tmp_path_factory.mktemp("records")
    expected = [{name: value for name, value in row.items() if value is not None} for row in rows]
    for name, data in in_every_form(rows).items():
        (folder / f"a.{name}").write_bytes(data)
        records = read_records(folder / f"a.{name}")
        assert [row for _, row in records] == expected, name


@pytest.mark.parametrize("form", ["jsonl", "jsonl.gz", "jsonl.zst", "parquet", "json.gz"])
def test_a_test_set_is_looked_for_in_whatever_form_it_comes(form: str, tmp_path: Path, capsys) -> None:
    question = "How many clips did Natalia sell altogether in April and May, if she sold some?"
    (tmp_path / f"test.{form}").write_bytes(in_every_form([{"question": question}, {"question": "w " * 9}])[form])
    (tmp_path / "train.txt").write_text(f"Well. {question} So.")
    assert main(["contamination", str(tmp_path / "train.txt"), "--test", str(tmp_path / f"test.{form}")]) == 0
    assert "1 of 2 items" in capsys.readouterr().out


def test_a_file_of_plain_text_is_one_text_to_predict(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("Ada\n{}\r\n[é]\n".encode())
    (item,) = read_task("text", find_description("text"), tmp_path / "a.txt").items
    assert item.target == "Ada\n{}\r\n[é]\n" and str(item.place).startswith(str(tmp_path / "a.txt"))


@pytest.mark.parametrize("form", ["jsonl.gz", "jsonl.zst", "parquet", "parquet.gz"])
def test_a_file_that_breaks_off_is_named(form: str, tmp_path: Path) -> None:
    data = in_every_form([{"text": "a" * 1000}])[form]
    (tmp_path / f"a.{form}").write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=rf"a\.{form}\b.* (broken|whole)"):
        read_records(tmp_path / f"a.{form}")
