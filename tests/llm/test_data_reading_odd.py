"""What other programs leave: links that lead nowhere, columns of one name, frames without text. None of it is lost."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from llm.data.errors import DataError
from llm.data.lab.command import main
from llm.data.lab.folder import encode_row
from llm.data.problems import Problem
from llm.data.reading import read_documents, read_file
from llm.data.records import read_records
from llm.data.rows import Reading
from tests.llm.test_data_reading import names_of, read, written


@pytest.mark.skipif(os.name == "nt", reason="links as POSIX has them")
def test_a_link_that_leads_nowhere_is_a_problem_and_its_folder_is_read(tmp_path: Path) -> None:
    written(tmp_path, "a.txt", b"text")
    (tmp_path / "gone.txt").symlink_to("nothing")
    (tmp_path / "loop.txt").symlink_to("loop.txt")
    (tmp_path / "linked.txt").symlink_to("a.txt")
    documents, problems = read(tmp_path)
    assert [document.text for document in documents] == ["text", "text"]
    assert [(Path(p.place).name, p.name) for p in problems] == [("gone.txt", "unreadable"), ("loop.txt", "unreadable")]


@pytest.mark.parametrize(("name", "comma"), [("a.csv", ","), ("a.tsv", "\t")])
def test_columns_of_one_name_are_all_kept(tmp_path: Path, name: str, comma: str) -> None:
    rows = [["id", "text", "text", "id", "id_"], ["1", "one", "two", "3", "4"]]
    path = written(tmp_path, name, "".join(comma.join(row) + "\n" for row in rows).encode())
    ((document,), problems) = read(path)
    assert (document.text, problems) == ("one", [])
    assert document.fields == {"id": "1", "text_": "two", "id_": "3", "id__": "4"}


@pytest.mark.parametrize("frame", [b"\x50", b"\x5e", b"\x5f"])
def test_frames_without_text_are_skipped_wherever_they_are(tmp_path: Path, frame: bytes) -> None:
    zstandard = pytest.importorskip("zstandard")
    skippable = frame + b"\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"index"  # pzstd writes one before each frame
    half = zstandard.ZstdCompressor().compress
    path = written(tmp_path, "a.jsonl.zst", skippable + half(b'{"text": "o') + skippable + half(b'ne"}\n') + skippable)
    documents, problems = read(path)
    assert ([document.text for document in documents], problems) == (["one"], [])


@pytest.mark.parametrize("source", [5, None, {"url": "x"}, ["x"]])
def test_a_source_that_is_no_text_stays_a_field(tmp_path: Path, source: object) -> None:
    """Of another program's file that has the name of one of the lab. A row of ours has its source as text."""
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    path = written(folder, "kept-00000.jsonl", b"".join(encode_row({"text": "a b", "source": source}) for _ in "12"))
    documents, problems = read(folder)
    assert [(each.source, each.fields) for each in documents] == [
        (f"{path}, line {number}", {"source": source}) for number in (1, 2)
    ]
    assert names_of(problems) == []
    assert main(["dedup", str(folder), "--out", str(out)]) == 0 == main(["show", str(out)])
    assert json.loads((out / "dropped-00000.jsonl").read_text())["duplicate_of"] == f"{path}, line 1"
    assert next(read_documents([str(out)])).source == f"{path}, line 1"


@pytest.mark.parametrize("rest", ['[{"text": "b"}]', ', {"text": "b"}', "]", '{"text": "b"}', "x"])
def test_what_follows_an_array_is_a_problem(tmp_path: Path, rest: str) -> None:
    path = written(tmp_path, "a.json", f'[{{"text": "a"}}]\n \n{rest}\n'.encode())
    documents, problems = read(path)
    assert [document.text for document in documents] == ["a"]
    assert [(p.name, p.message.startswith(f"{path}, line 3: after the end")) for p in problems] == [
        ("broken_row", True)
    ]
    with pytest.raises(DataError, match="line 3: after the end of the array"):
        read_records(path)
    written(tmp_path, "b.json", b'\n[{"text": "a"}]\r\n\t')
    assert (names_of(read(tmp_path / "b.json")[1]), len(read_records(tmp_path / "b.json"))) == ([], 1)


@pytest.mark.parametrize(
    ("content", "name"), [(b"plain text", "broken_row"), (b'[text] {"a": [1]}', "broken_row"), (b" ", "empty")]
)
def test_what_was_said_to_be_an_array_and_is_none_is_a_problem(tmp_path: Path, content: bytes, name: str) -> None:
    written(tmp_path, "a.txt", content)
    (problem,) = read_file(str(tmp_path / "a.txt"), Reading(form="json"))
    assert isinstance(problem, Problem) and problem.name == name
