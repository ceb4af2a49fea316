"""What the programs do with standard streams: closed ones, encodings that lack characters, disks that are full."""

from __future__ import annotations

import ast
import io
import os
import shlex
import struct
import subprocess
import sys
import unicodedata
import warnings
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.console import CLONE, command_line, escaped, explain, open_streams, show_warnings
from tests.llm.runs import make_run
from tests.llm.trainings import SHAPE, write_text
from tokenizer import CharTokenizer

ROOT = Path(__file__).parents[2]
ENCODINGS = ["utf-8", "cp1252", "ascii", "latin-1", "cp437", "utf-16", "gbk"]
# Any text: the name of a file may hold surrogates, which stand for bytes that are not UTF-8.
texts = st.text(st.characters())


@given(text=texts, encoding=st.sampled_from(ENCODINGS), unprintable=st.sampled_from(["replace", "backslashreplace"]))
def test_any_text_can_be_printed_in_any_encoding(text: str, encoding: str, unprintable: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("stdout", "stderr"):
            patch.setattr(sys, name, io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="\n"))
        open_streams(unprintable)
        for stream in (sys.stdout, sys.stderr):
            print(text, file=stream, flush=True)
        written = sys.stdout.buffer.getvalue().decode(encoding)
    if text.isascii():
        assert written == text + "\n"
    assert len(written) > len(text)


@pytest.mark.control
def test_without_it_a_text_that_cannot_be_encoded_is_an_error() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    with pytest.raises(UnicodeEncodeError):
        print("漢", file=stream)


def test_closed_streams_become_empty_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    open_streams("replace")
    print("nobody reads this")
    print("nor this", file=sys.stderr)
    assert (sys.stdin.read(), sys.stdin.buffer.read(), sys.stderr.isatty()) == ("", b"", False)


@pytest.mark.parametrize("closed", ["0", "1", "2", "01", "02", "12", "012"])
def test_no_file_gets_the_number_of_a_stream_that_was_closed(closed: str, tmp_path: Path) -> None:
    """Messages would be written into it."""
    code = (
        "import os, llm.console as c; c.open_streams('replace'); os.write(os.open('out', 66), b'%d' % os.open('x', 66))"
    )
    streams = " ".join(f"{number}>&-" for number in closed)
    done = shell(f"{shlex.join([sys.executable, '-c', code])} {streams}", tmp_path, PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done
    assert int((tmp_path / "out").read_text()) > 2


def shell(command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess:
    settings = {**os.environ, "MINIGRAD_CACHE": str(folder / "cache"), **environment}
    return subprocess.run(["sh", "-c", command], cwd=folder, capture_output=True, env=settings, timeout=120)


def program(script: str, *options: str) -> str:
    return shlex.join([sys.executable, str(ROOT / script), *options])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize(
    "streams",
    [
        "<&- 2>&-",
        ">/dev/full 2>/dev/full",
        *(pytest.param(each, marks=pytest.mark.slow) for each in ("<&- >&- 2>&-", "")),
    ],
)
def test_training_survives_its_streams(tmp_path: Path, streams: str) -> None:
    write_text(tmp_path / "text.txt")
    options = ["--data", "text.txt", *SHAPE, "--steps", "2", "--prompt", "the", "--out", "a漢 $^$"]
    result = shell(f"{program('train.py', *options)} {streams}", tmp_path, PYTHONIOENCODING="cp1252", LC_ALL="C.UTF-8")
    assert (result.returncode, b"Traceback" in result.stdout + result.stderr) == (0, False), result
    assert (tmp_path / "a漢 $^$/model.safetensors").exists()
    if ">" not in streams:
        assert rb"a\u6f22 $^$" in result.stdout


@pytest.mark.parametrize(
    ("streams", "status", "out", "err"),
    [
        pytest.param("2>&-", 0, b"ab", b"", marks=pytest.mark.slow),
        (">&-", 0, b"", b"tokens/s"),
        pytest.param("<&-", 0, b"ab", b"tokens/s", marks=pytest.mark.slow),
        (">/dev/full", 1, b"", b"generate.py: the text could not be written to standard output (No space left"),
        pytest.param("2>/dev/full", 0, b"ab", b"", marks=pytest.mark.slow),
    ],
)
def test_writing_survives_its_streams(tmp_path: Path, streams: str, status: int, out: bytes, err: bytes) -> None:
    make_run(tmp_path / "run", CharTokenizer.train(["abc"]))
    options = ["--run", "run", "--prompt", "ab", "--max-tokens", "3", "--threads", "1"]
    result = shell(f"{program('generate.py', *options)} {streams}", tmp_path)
    assert (result.returncode, result.stdout[:2]) == (status, out), result
    assert err in result.stderr
    assert b"Traceback" not in result.stderr
    assert b"tokens/s" not in result.stdout, "messages do not go to standard output"


def test_a_warning_for_the_user_is_a_plain_sentence_and_others_stay_with_python() -> None:
    written: list[str] = []
    with warnings.catch_warnings(record=True) as others:
        warnings.simplefilter("always")
        show_warnings(written.append)
        warnings.warn("the prompt is long", stacklevel=1)
        warnings.warn("divide by zero", RuntimeWarning, stacklevel=1)
    assert written == ["the prompt is long"]
    assert [str(each.message) for each in others] == ["divide by zero"]


LONG = "the " * 20  # longer than the contexts of the small models below


@pytest.mark.slow
def test_programs_say_in_one_line_that_a_prompt_is_too_long(tmp_path: Path) -> None:
    write_text(tmp_path / "text.txt")
    options = ["--data", "text.txt", *SHAPE, "--steps", "1", "--prompt", LONG, "--out", "run"]
    trained = shell(program("train.py", *options), tmp_path)
    written = shell(program("generate.py", "--run", "run", "--prompt", LONG, "--max-tokens", "1"), tmp_path)
    for result, stream in ((trained, trained.stdout), (written, written.stderr)):
        assert result.returncode == 0, result
        assert b"the prompt has 80 tokens and the model reads at most 8; the first " in stream
        assert b"Warning" not in result.stdout + result.stderr


@pytest.mark.slow
def test_a_command_to_copy_works_where_it_is_printed(tmp_path: Path) -> None:
    """No environment is active, and the working directory is another one."""
    write_text(tmp_path / "text.txt")
    options = ["--data", "text.txt", *SHAPE, "--steps", "1", "--out", "my run"]
    result = shell(program("train.py", *options), tmp_path)
    command = result.stdout.decode().splitlines()[-1].removeprefix("  let it write ")
    again = shell(f"{command} --max-tokens 1 --threads 1", tmp_path, PATH="/usr/bin:/bin")
    assert again.returncode == 0, again


@given(words=st.lists(texts.filter(lambda text: "\0" not in text), max_size=3))
def test_the_words_of_a_command_are_quoted(words: list[str]) -> None:
    assert shlex.split(command_line("generate.py", *words))[2:] == words


@pytest.mark.parametrize(
    ("number", "advice"), [(28, "; make room"), (27, "; make room"), (13, "; allow it"), (30, "; allow it"), (5, "")]
)
def test_an_error_of_the_system_comes_with_advice(number: int, advice: str) -> None:
    found = explain(OSError(number, os.strerror(number), "a/file"))
    assert found.startswith(f"a/file: {os.strerror(number)}{advice}")
    assert "Errno" not in found


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@given(text=st.text(st.sampled_from("a\n\t\r\x1b\x07\x08\x7f\x9b\x00é漢 \\"), max_size=30))
def test_a_terminal_gets_no_control_characters_and_a_file_gets_all(text: str) -> None:
    shown = escaped(text, Terminal())
    control = [c for c in shown.replace("\r\n", "\n") if unicodedata.category(c) == "Cc" and c not in "\n\t"]
    assert not control
    assert escaped(text, io.StringIO()) == escaped(text, None) == text
    if "\\" not in text:
        assert ast.literal_eval(f"'''{shown}'''") == text.replace("\r\n", "\n")


def at_terminal(command: str, folder: Path) -> str:
    """What a command shows at a terminal of 80 columns."""
    pty, fcntl, termios = (pytest.importorskip(name) for name in ("pty", "fcntl", "termios"))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    settings = {**os.environ, "MINIGRAD_CACHE": str(folder / "cache"), "TERM": "xterm"}
    settings.pop("CI", None)
    process = subprocess.Popen(
        ["sh", "-c", command], cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs, env=settings
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            shown += (block := os.read(ours, 1 << 16))
        except OSError:  # how Linux tells the end
            break
        if not block:
            break
    os.close(ours)
    assert process.wait(60) == 0, shown
    return shown.decode()


@pytest.mark.slow
def test_what_a_model_writes_cannot_control_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("\x1b]0;title\x07 \x9b2J\n" * 300)
    options = ["--data", "text.txt", *SHAPE, "--steps", "2", "--prompt", "\x1b]0;", "--out", "a\x1brun"]
    trained = at_terminal(program("train.py", *options), tmp_path)
    written = at_terminal(
        program("generate.py", "--run", "a\x1brun", "--prompt", "\x1b]0;", "--max-tokens", "9"), tmp_path
    )
    missing = at_terminal(program("generate.py", "--run", "b\x1brun") + "; true", tmp_path)
    for shown in (trained, written):
        assert "\\x1b]0;" in shown
        assert not {"\x1b]", "\x07", "\x9b"} & {*shown, *map("".join, pairwise(shown))}
    assert "a\\x1brun" in trained
    assert "b\\x1brun holds no run" in missing and "\x1b" not in missing


def test_a_command_names_the_script_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["-c"])
    monkeypatch.chdir(CLONE)
    assert command_line("train.py", "--resume") == "python train.py --resume"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").touch()  # another one
    assert command_line("train.py") == shlex.join(["python", str(ROOT / "train.py")])
    monkeypatch.setattr("llm.console.CLONE", tmp_path / "site-packages")
    assert command_line("train.py") == "python /path/to/minigrad/train.py"
