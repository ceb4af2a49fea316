"""A path at which nothing can be written is refused before the work, which may take hours, and in a sentence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

import llm.evaluation.command
from llm.data.lab.command import main as lab
from llm.runs.files import prepare_file

MAKE_A_FILE: dict[str, tuple[Callable[[list[str]], int], Sequence[str]]] = {
    # The other files of these commands do not exist: if these were opened first, they would be named.
    "contamination": (lab, ["contamination", "none.txt", "--test", "none.jsonl", "--json"]),
    "train-filter": (lab, ["train-filter", "--good", "none.txt", "--bad", "none.txt", "--out"]),
    "show": (lab, ["show", "none", "--out"]),
    "evaluation": (llm.evaluation.command.main, ["none", "--task", "agreement", "--limit", "1", "--json"]),
}
MAKE_A_FOLDER = {
    "clean": ["clean", "a.txt", "--out"],
    "dedup": ["dedup", "a.txt", "--out"],
    "mix": ["mix", "a.txt=1", "--out"],
    "contamination": ["contamination", "a.txt", "--test", "a.txt", "--out"],
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("one two three four five six seven eight nine ten")
    (tmp_path / "b.txt").write_text("precious")
    return tmp_path


@pytest.mark.parametrize("name", MAKE_A_FILE)
@pytest.mark.parametrize("path", ["b.txt/c", "."])
def test_a_file_that_cannot_be_written_is_told_before_all_else(
    name: str, path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main, arguments = MAKE_A_FILE[name]
    with suppress(SystemExit):  # as an option that is refused
        assert main([*arguments, path]) == 1
    said = capsys.readouterr()
    assert said.out == "" and "none" not in said.err
    assert ("b.txt: it is a file, where a folder is wanted" if path != "." else "folder") in said.err


@pytest.mark.parametrize("name", MAKE_A_FOLDER)
@pytest.mark.parametrize("path", ["b.txt", "b.txt/c"])
def test_a_folder_cannot_be_where_a_file_is(name: str, path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert lab([*MAKE_A_FOLDER[name], path]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "b.txt" in line and ("a file, where a folder is wanted" in line or "is there already" in line)
    assert Path("b.txt").read_text() == "precious"


def test_a_path_is_asked_for_and_nothing_is_written(folder: Path) -> None:
    prepare_file(folder / "new.json")
    prepare_file(folder / "b.txt")
    with pytest.raises(OSError, match="there is no such folder"):
        prepare_file(folder / "no" / "where.json")
    assert sorted(path.name for path in folder.iterdir()) == ["a.txt", "b.txt"]
    assert (folder / "b.txt").read_text() == "precious"
