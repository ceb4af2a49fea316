"""`python -m llm.data` as a program: its commands are there, and what is wrong is told in a sentence."""

from __future__ import annotations

import importlib
import subprocess
import sys
from dataclasses import dataclass, is_dataclass
from pathlib import Path

import pytest

from llm.data.errors import DataError
from llm.data.lab.command import COMMANDS, main
from llm.data.reading import read_documents
from llm.runs.commands import run
from llm.runs.parsing import read_options

ROOT = Path(__file__).parents[2]


def test_help_names_every_command_and_its_purpose(capsys):
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown and command.purpose in shown for name, command in COMMANDS.items())
    assert main(["--help"]) == 0 and capsys.readouterr().out == shown


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_a_dataclass_of_options(name, capsys):
    options = getattr(importlib.import_module(COMMANDS[name].module), COMMANDS[name].options)
    assert is_dataclass(options) and callable(options.start)  # type: ignore[attr-defined]
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    shown = capsys.readouterr().out
    assert end.value.code == 0 and "usage:" in shown
    assert "(default: )" not in shown and "None" not in shown


def test_an_unknown_command_ends_with_status_2(capsys):
    assert main(["tidy"]) == 2
    assert capsys.readouterr().err.startswith("python -m llm.data: there is no command 'tidy'; choose one of clean,")


@pytest.mark.parametrize("error", [ValueError("wrong"), RuntimeError("wrong"), OSError(2, "wrong", "a"), MemoryError()])
def test_an_error_is_one_sentence_and_status_1(error, capsys):
    def fail() -> None:
        raise error

    assert run("program", fail) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("program: ") and len(line) > len("program: ")


def test_the_program_tells_an_error_in_one_line(tmp_path):
    command = [sys.executable, "-m", "llm.data", "clean", str(tmp_path / "none"), "--out", str(tmp_path / "out")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (1, "") and "neither a file" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_help_is_a_paragraph_for_each_option(capsys, monkeypatch):
    @dataclass(frozen=True)
    class Options:
        names: tuple[str, ...] = ()
        """The names that are wanted, of which
        there may be several."""
        file: Path | None = None
        """Where
        to (or not to) write.
        """

    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        read_options(Options, ["--help"], program="program")
    shown = capsys.readouterr().out
    assert "The names that are wanted, of which there may be several. " in shown and "(default: )" not in shown
    assert "--file PATH" in shown and "Where to (or not to) write." in shown
    assert read_options(Options, ["--file", "None"], program="program").file == Path("None")


@pytest.mark.parametrize("number", ["inf", "nan", "-inf", "0", "-1"])
@pytest.mark.parametrize(
    ("command", "option"),
    [("clean", "--shard"), ("clean", "--longest"), ("dedup", "--shard"), ("dedup", "--longest"), ("mix", "--shard")],
)
def test_a_size_is_a_number_above_zero(command, option, number, tmp_path, capsys):
    (tmp_path / "a.txt").write_text("a")
    source = str(tmp_path / "a.txt") + ("=1" if command == "mix" else "")
    with pytest.raises(SystemExit):
        main([command, source, "--out", str(tmp_path / "out"), option, number])
    assert option in "".join(capsys.readouterr()) and not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["clean", "dedup", "mix"])
def test_a_sentence_about_several_options_has_no_gaps(command, capsys):
    wrong = {"mix": ["a=1", "--out", "b", "--shard", "0"]}.get(command, ["a", "--out", "b", "--shard", "0"])
    with pytest.raises(SystemExit):
        main([command, *wrong])
    said = capsys.readouterr()
    words = " ".join((said.out + said.err).replace("│", " ").split())
    assert "--shard must be more" in words or "--shard and --processes must be" in words or "--shard more than" in words
    assert " ," not in words


def test_a_table_without_a_column_of_texts_is_answered_with_the_way_to_name_it(tmp_path):
    (tmp_path / "a.csv").write_text("id,body\n1,some text\n")
    with pytest.raises(DataError, match="name the field of its text with: python -m llm.data clean --field NAME"):
        list(read_documents([str(tmp_path / "a.csv")]))


@pytest.mark.parametrize("size", ["0", "-1", "nan", "inf", "1e400"])
@pytest.mark.parametrize(
    "command", [["clean", "a", "--longest"], ["clean", "a", "--shard"], ["dedup", "a", "--longest"],
                ["dedup", "a", "--shard"], ["mix", "a=1", "--shard"]],
)  # fmt: skip
def test_what_is_no_size_is_refused_in_a_sentence(command, size, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").write_text("some text")
    with pytest.raises(SystemExit) as ended:
        main([*command, size, "--out", "out"])
    assert ended.value.code == 2 and "more than 0, and finite" in " ".join(
        capsys.readouterr().err.replace("│", " ").split()
    )
    assert not (tmp_path / "out").exists()
