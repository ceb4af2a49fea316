"""`python -m tokenizer`: what is never overwritten, what is never ignored, and what is said about it."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenizer import FormatError, Tokenizer, load
from tokenizer.cli.commands import EXAMPLES, main
from tokenizer.formats.files import destination

ROOT = Path(__file__).parents[2]
TEXT = "low lower lowest slow newer newest " * 5
BYTES = Tokenizer.train([TEXT], 256)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with texts and vocabularies, which is the current one."""
    monkeypatch.chdir(tmp_path)
    Path("book.txt").write_text(TEXT)
    Path("empty.txt").write_text("")
    Tokenizer.train([TEXT], 270, ["<|x|>"]).save("own.json")
    Tokenizer.train([TEXT], 270).save("own.tiktoken")
    shutil.copy("own.tiktoken", "cl100k_base.tiktoken")
    return tmp_path


def train(*arguments: str) -> int:
    return main(["train", *arguments, "-n", "270"])


# What training writes


@pytest.mark.parametrize("name", ["book.txt", "book.json", "book.tiktoken", "book", "book.v2"])
@pytest.mark.parametrize("link", [None, os.symlink, os.link])
@pytest.mark.parametrize("as_input", ["named", "piped"])
def test_training_never_overwrites_a_text(
    here: Path, name: str, link: object, as_input: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = Path("book.txt").rename("another.txt" if link else name)
    if link:
        link(text, name)  # type: ignore[operator]
    with open(text) as file:
        monkeypatch.setattr(sys, "stdin", file)
        assert train(str(text) if as_input == "named" else "-", "-o", name) == 1
    assert text.read_text() == TEXT
    assert name in capsys.readouterr().err


def test_the_counts_do_not_overwrite_a_text_either(here: Path) -> None:
    Path("book.txt").rename("w.json.counts")
    assert train("w.json.counts", "-o", "w.json") == 1
    assert Path("w.json.counts").read_text() == TEXT


@given(st.text("ab.", min_size=1, max_size=6).filter(lambda name: name.strip(".")), st.sampled_from(["", ".json"]))
def test_a_path_is_a_file_only_if_it_ends_like_one(
    tmp_path_factory: pytest.TempPathFactory, name: str, suffix: str
) -> None:
    path = tmp_path_factory.mktemp("saved") / f"{name}{suffix}"
    BYTES.save(path)
    assert path.is_dir() != bool(suffix)
    assert destination(path).is_file()
    assert load(path) == BYTES


@pytest.mark.parametrize("name", ["dir.v2", "my-tokenizer", "a.b/c", "x.json", "x.tiktoken"])
def test_training_and_saving_write_to_the_same_place(here: Path, name: str) -> None:
    assert train("book.txt", "-o", name) == 0
    trained = destination(name).read_bytes()
    shutil.rmtree(name) if Path(name).is_dir() else Path(name).unlink()
    Tokenizer.train([TEXT], 270).save(name)
    assert destination(name).read_bytes() == trained


def test_two_tokenizers_of_one_name_have_counts_of_their_own(here: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["train", "book.txt", "-n", "262", "-o", "w.json"]) == 0
    assert main(["train", "book.txt", "-n", "264", "-o", "w.tiktoken"]) == 0
    for options in ["w.json"], ["w.tiktoken", "--pattern", "gpt4"]:
        assert main(["replay", "low", "-t", *options]) == 0
        assert "times" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--special", "<|y|>", "-o", "s.tiktoken"], "no place for special tokens: leave out --special"),
        (["--only-seen-bytes", "-o", "s.tiktoken"], "no place for fewer than 256 bytes"),
        (["-o", "book.txt/x/s"], "book.txt is a file, not a directory"),
    ],
)
def test_what_cannot_be_written_is_refused_before_training(
    here: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture
) -> None:
    assert train("not_even_read.txt", *arguments) == 1
    assert message in capsys.readouterr().err


def test_what_is_less_than_asked_for_is_said(here: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["train", "empty.txt", "empty.txt", "-n", "300", "-o", "e"]) == 1
    assert "the texts are empty: there is nothing to learn from" in capsys.readouterr().err
    assert not Path("e").exists()
    assert main(["train", "empty.txt", "book.txt", "-n", "3000", "-o", "e"]) == 0
    assert "fewer than 3,000 tokens: no pair is left that may be merged" in capsys.readouterr().err
    assert train("book.txt", "-o", "t.tiktoken") == 0
    assert "load it with --pattern gpt4" in capsys.readouterr().err


# Options that contradict each other, or the files


def test_compare_gives_the_pattern_to_the_tokenizer_that_needs_it(here: Path, capsys: pytest.CaptureFixture) -> None:
    for others in ["own.tiktoken", "own.json"], ["own.json", "own.tiktoken"], ["own.tiktoken", "own.tiktoken"]:
        assert main(["compare", *others, "book.txt", "--pattern", "gpt4"]) == 0
        assert main(["compare", *others, "book.txt"]) == 1
        assert "own.tiktoken does not say how text is split: give --pattern, or" in capsys.readouterr().err
    assert main(["compare", "own.json", "own.json", "book.txt", "--pattern", "gpt4"]) == 1
    assert "leave out --pattern: how text is split is known for own.json and own.json" in capsys.readouterr().err


def test_a_pattern_that_is_known_is_not_overridden(here: Path, capsys: pytest.CaptureFixture) -> None:
    for name in "cl100k_base.tiktoken", "own.json":
        assert main(["encode", "-t", name, "--text", "a", "--pattern", "gpt2"]) == 1
        assert f"leave out --pattern: how text is split is known for {name}" in capsys.readouterr().err
    with pytest.raises(FormatError, match="has the name of an encoding with the pattern gpt4"):
        load("cl100k_base.tiktoken", pattern="gpt2")
    assert load("cl100k_base.tiktoken", pattern="gpt4") == load("cl100k_base.tiktoken")


@pytest.mark.parametrize(
    "arguments",
    [
        ["encode", "-t", "own.json", "--text", "a", "book.txt"],
        ["inspect", "-t", "own.json", "--text", "a", "book.txt"],
        ["compare", "own.json", "own.json", "--text", "a", "book.txt"],
        ["encode", "-t", "own.json", "book.txt", "--lines", "--binary", "uint16"],
        ["encode", "-t", "own.json", "book.txt", "--special", "<|x|>"],
        ["train", "book.txt", "-o", "o", "-n", "1e3"],
        ["train", "book.txt", "-o", "o", "-n", "300", "--processes", "two"],
    ],
)
def test_no_option_is_ignored(here: Path, arguments: list[str], capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    shown = capsys.readouterr().err
    assert regex_of_errors(shown)
    assert "invalid int" not in shown


def regex_of_errors(shown: str) -> bool:
    return any(words in shown for words in ("not allowed with", "unrecognized arguments", "is not a whole number"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-n", "100"], "train: --vocab-size 100 is too small: 256 bytes"),
        (["-n", "-5"], "train: --vocab-size -5 is too small"),
        (["-n", "300", "--max-token-length", "1"], "train: --max-token-length 1 is too small"),
        (["-n", "300", "--processes", "0"], "train: --processes 0 is too few"),
    ],
)
def test_errors_speak_of_options(here: Path, options: list[str], message: str, capsys: pytest.CaptureFixture) -> None:
    assert main(["train", "book.txt", "-o", "o", *options]) == 1
    assert message in capsys.readouterr().err


# As a new user calls it


def in_shell(command: str, folder: Path) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = command.replace("python -m", f"{shlex.quote(sys.executable)} -m")
    return subprocess.run(command, shell=True, cwd=folder, env=environment, capture_output=True, timeout=60)


def test_the_examples_of_the_help_work_one_after_another(here: Path, capfdbinary: pytest.CaptureFixture) -> None:
    shutil.copy(ROOT / "README.md", here)
    examples = [line.strip() for line in EXAMPLES.splitlines() if line.startswith("  ")]
    assert len(examples) == 6
    for example in examples:
        if "|" in shlex.split(example):
            done = in_shell(example, here)
            assert (done.returncode, done.stdout) == (0, (here / "README.md").read_bytes())
        else:
            assert main(shlex.split(example.removeprefix("python -m tokenizer "))) == 0
            shown = capfdbinary.readouterr()
            assert shown.out + shown.err != b""


@pytest.mark.parametrize(
    ("command", "code", "complaint"),
    [
        ("encode -t own.json book.txt > /dev/full", 1, b"No space left on device"),
        pytest.param("encode -t own.json book.txt >&-", 1, b"standard output is closed", marks=pytest.mark.slow),
        ("encode -t own.json <&-", 1, b"standard input is closed: name a file"),
        pytest.param("encode -t own.json nothing.txt 2>&-", 1, b"", marks=pytest.mark.slow),
        ("train book.txt -n 270 -o new 2>&-", 0, b""),
    ],
)
def test_streams_that_are_closed_or_full(here: Path, command: str, code: int, complaint: bytes) -> None:
    done = in_shell(f"python -m tokenizer {command}", here)
    assert (done.returncode, done.stdout) == (code, b"")
    assert complaint in done.stderr
    assert done.stderr.count(b"\n") == bool(complaint)
