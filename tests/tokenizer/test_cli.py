"""`python -m tokenizer`: every command, with files and pipes, and one sentence for every error."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr
from pathlib import Path

import numpy as np
import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from tokenizer import Tokenizer
from tokenizer.cli.commands import main
from tokenizer.cli.terminal import ProgressLine, printable
from tokenizer.split.chunks import chunks_of_file
from tokenizer.split.pretokenizer import Pretokenizer
from tokenizer.training.word_counts import count_words

ROOT = Path(__file__).parents[2]
TEXT = "low lower lowest slow 1.\nnewer newest, wider été\r\n" * 3
ESCAPE = "\x1b["


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_bytes(TEXT.encode())
    return path


@pytest.fixture
def trained(tmp_path: Path, corpus: Path) -> Path:
    with redirect_stderr(io.StringIO()) as said:
        assert main(["train", str(corpus), "-n", "280", "-o", str(tmp_path / "trained"), "--special", "<|x|>"]) == 0
    assert said.getvalue().endswith("280 tokens, 23 of them made by merges\n")
    return tmp_path / "trained"


def run(*arguments: object, text: bytes = b"") -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "tokenizer", *map(str, arguments)]
    return subprocess.run(command, input=text, capture_output=True, cwd=ROOT, timeout=60)


# What the commands do


def test_training_makes_the_tokenizer_that_tokenizer_train_makes(trained: Path) -> None:
    expected = Tokenizer.train([TEXT], 280, ["<|x|>"])
    assert Tokenizer.load(trained) == expected
    counts = (trained / "tokenizer.json.counts").read_text().split()
    assert len(counts) == len(expected.merges)
    assert list(map(int, counts)) == sorted(map(int, counts), reverse=True)


def test_the_options_of_training_are_used(corpus: Path, tmp_path: Path) -> None:
    options = ["--pattern", "gpt2", "--min-frequency", "4", "--max-token-length", "4", "--ties", "rustbpe"]
    out = tmp_path / "new" / "own.json"
    assert main(["train", str(corpus), "-n", "300", "-o", str(out), *options, "--processes", "2"]) == 0
    limits = {"min_frequency": 4, "max_token_length": 4, "ties": "rustbpe"}
    assert Tokenizer.load(out) == Tokenizer.train([TEXT], 300, pattern="gpt2", **limits)
    assert main(["train", str(corpus), "-n", "300", "-o", str(out), "--only-seen-bytes"]) == 0
    assert Tokenizer.load(out) == Tokenizer.train([TEXT], 300, initial_alphabet=b"")


@given(st.text("ab1 .\n'", max_size=300), st.integers(1, 40))
def test_a_corpus_in_pieces_has_the_same_words(text: str, block: int) -> None:
    for pattern in map(Pretokenizer, ["gpt2", "gpt4", "o200k"]):
        parts = chunks_of_file(io.StringIO(text), block, block // 2)
        assert count_words(parts, pattern) == count_words([text], pattern)


def test_encode_and_decode(trained: Path, corpus: Path, capfdbinary: pytest.CaptureFixture, tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(trained)
    assert main(["encode", "-t", str(trained), str(corpus)]) == 0
    ids = capfdbinary.readouterr().out
    assert list(map(int, ids.split())) == tokenizer.encode(TEXT)
    written = tmp_path / "ids"
    written.write_bytes(ids)
    assert main(["decode", "-t", str(trained), str(written)]) == 0
    assert capfdbinary.readouterr().out == TEXT.encode()
    assert main(["encode", "-t", str(trained), "--binary", "uint16", str(corpus)]) == 0
    assert np.frombuffer(capfdbinary.readouterr().out, "<u2").tolist() == tokenizer.encode(TEXT)


@pytest.mark.parametrize(("kind", "last"), [("uint16", 65534), ("uint16", 65535), ("uint16", 65536), ("uint32", 65536)])
def test_ids_that_do_not_fit_into_a_number_are_refused(
    corpus: Path, kind: str, last: int, capfdbinary: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = Tokenizer.train([TEXT], 280).record
    tokens = [*record.tokens, *[None] * (last - len(record.tokens)), b"low lower"]
    large = Tokenizer(record._replace(tokens=tokens))
    assert large.vocab_size == last + 1
    monkeypatch.setattr("tokenizer.cli.encode.load", lambda *_: large)
    fits = last <= np.iinfo(kind).max
    assert main(["encode", "-t", "large", "--binary", kind, str(corpus)]) == (0 if fits else 1)
    shown = capfdbinary.readouterr()
    assert np.frombuffer(shown.out, np.dtype(kind).newbyteorder("<")).tolist() == (large.encode(TEXT) if fits else [])
    assert fits or b"ids go up to 65536, too high for uint16: use uint32" in shown.err


def test_lines_special_tokens_and_other_bytes(trained: Path, capfd: pytest.CaptureFixture, tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(trained)

    def encoded(*arguments: str) -> str:
        assert main(["encode", "-t", str(trained), *arguments]) == 0
        return capfd.readouterr().out

    assert encoded("--text", "low\nlower", "--lines") == "".join(
        " ".join(map(str, tokenizer.encode(line))) + "\n" for line in ["low", "lower"]
    )
    assert encoded("--text", "<|x|>", "--allow-special") == "0\n"
    assert encoded("--text", "<|x|>") != "0\n"
    path = tmp_path / "bytes"
    path.write_bytes(b"\xfflow")
    assert list(map(int, encoded(str(path)).split())) == tokenizer.encode_bytes(b"\xfflow")
    path.write_text("[0, 260]\n260;0")
    assert main(["decode", "-t", str(trained), str(path), "--skip-special", "--lines"]) == 0
    assert capfd.readouterr().out.encode() == (tokenizer.tokens[260] + b"\n") * 2


def test_pipes(trained: Path) -> None:
    encoded = run("encode", "-t", trained, text="lower été\n".encode())
    assert (encoded.returncode, encoded.stderr) == (0, b"")
    assert run("decode", "-t", trained, "-", text=encoded.stdout).stdout.decode() == "lower été\n"


def test_inspect(trained: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["inspect", "-t", str(trained), "--text", "low \x1b[2J\n<|x|>", "--allow-special"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(r"[low][ ][\x1b][[][2][J][\n]" + "\n[<|x|>]\n")
    assert "8 tokens, 14 bytes: 1.75 bytes a token" in shown
    tokenizer = Tokenizer.load(trained)
    (low,) = tokenizer.encode("low")
    made = [tokenizer.tokens[left] + tokenizer.tokens[right] for left, right in tokenizer.merges]
    rank = made.index(b"low")
    assert regex.search(rf"^ +{low} +{rank}  low +6c 6f 77$", shown, regex.MULTILINE)
    assert regex.search(r"^ +0 +-  <\|x\|> ", shown, regex.MULTILINE)
    assert ESCAPE not in shown


@pytest.mark.parametrize(("color", "colours"), [("always", True), ("never", False), ("auto", False)])
def test_colours_on_request(trained: Path, capsys: pytest.CaptureFixture, color: str, colours: bool) -> None:
    for command in ["inspect", "--text"], ["replay"]:
        assert main([*command[:1], "-t", str(trained), *command[1:], "lower", "--color", color]) == 0
        assert (ESCAPE in capsys.readouterr().out) == colours


@pytest.mark.parametrize(("no_color", "colours"), [("", True), ("1", False)])
def test_colours_in_a_terminal(
    trained: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, no_color: str, colours: bool
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setenv("TERM", "xterm")
    assert main(["inspect", "-t", str(trained), "--text", "lower"]) == 0
    assert (ESCAPE in capsys.readouterr().out) == colours


def test_replay(trained: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["replay", "-t", str(trained), "low"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[:2] == ['"low"', " " * 23 + "[l o w]"]
    assert shown[-1].endswith("[low]")
    assert len(shown) == 4
    counts = (trained / "tokenizer.json.counts").read_text().split()
    for line in shown[2:]:
        rank, count = line.split()[:2]
        assert counts[int(rank)] == count
    (trained / "tokenizer.json.counts").unlink()
    assert main(["replay", "-t", str(trained), "lower"]) == 0
    assert "times" not in capsys.readouterr().out


def test_compare(trained: Path, corpus: Path, capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    Tokenizer.train([""], 256).save(tmp_path / "bytes.json")
    text = "low 東京\n12! 😀"
    assert main(["compare", str(trained), str(tmp_path / "bytes.json"), "--text", text]) == 0
    rows = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()[4:]}
    assert rows["Latin"] == ["3", "1", "3", "0.333", "1.000", "3.00"]
    assert rows["Han"][0] == rows["Han"][2] == "7"
    assert rows["numbers"][0] == "3"
    assert rows["punctuation"][0] == "1"
    assert rows["emoji"][0] == "5"
    size = len(text.encode())
    assert rows["all"][0] == rows["all"][2] == str(size)


@given(st.binary(max_size=20))
def test_nothing_printed_can_move_the_cursor(data: bytes) -> None:
    assert not regex.search(r"[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]", printable(data))


def test_progress_is_one_line_in_a_terminal_and_nothing_elsewhere() -> None:
    out = io.StringIO()
    line = ProgressLine(out)
    line("counting", 5, None)
    assert out.getvalue() == ""
    out.isatty = lambda: True  # type: ignore[method-assign]
    line("counting", 1234, None)
    line("counting", 1235, None)  # too soon to be shown
    line.clear()
    assert out.getvalue() == "\rcounting: 1,234\r" + " " * 15 + "\r"


# What goes wrong


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["encode", "-t", "{here}/nothing"], r"encode: .*nothing does not exist: give a tokenizer\.json"),
        (["encode", "-t", "{here}/text.txt"], "encode: .*text.txt is not a vocabulary in a known format"),
        (["encode", "-t", "{here}/trained", "{here}/nothing"], "encode: .*nothing: No such file or directory"),
        (["encode", "-t", "{here}/trained", "{here}"], "encode: .*: it is a folder: name the files in it"),
        (["encode", "-t", "{here}/trained", "{here}/bytes", "--allow-special"], "the input is not text in UTF-8"),
        (["decode", "-t", "{here}/trained", "{here}/text.txt"], "decode: 'low' is not an id: give numbers"),
        (["decode", "-t", "{here}/trained", "{here}/ids"], "decode: there is no token with id 9999"),
        (["inspect", "-t", "{here}/damaged.json", "--text", "a"], "inspect: .*damaged.json .*JSON"),
        (["train", "{here}/bytes", "-n", "300", "-o", "{here}/o"], "train: .*bytes is not text in UTF-8, .* 0xff"),
        (["train", "{here}/text.txt", "-n", "99", "-o", "{here}/o"], "train: --vocab-size 99 is too small"),
        (["train", "{here}/text.txt", "-n", "300", "-o", "{here}/o", "--pattern", "("], "is not a regular expression"),
        (["train", "{here}/text.txt", "-n", "300", "-o", "{here}/text.txt/o"], "train: .*(exists|directory)"),
        (["compare", "{here}/trained", "{here}/trained", "{here}/bytes"], "compare: .*bytes is not text in UTF-8"),
        (
            ["replay", "-t", "{here}/trained", "a" * 1001],
            "replay: the word has 1001 bytes, which would fill many screens",
        ),
    ],
)
def test_an_error_is_a_sentence(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture, arguments: list[str], message: str
) -> None:
    (tmp_path / "bytes").write_bytes(b"low\xff")
    (tmp_path / "ids").write_bytes(b"1 9999")
    (tmp_path / "damaged.json").write_text('{"model": ')
    assert main([argument.format(here=tmp_path) for argument in arguments]) == 1
    complaint = capsys.readouterr().err
    assert regex.search("tokenizer " + message if ":" in message[:10] else message, complaint)
    assert complaint.count("\n") == 1
    assert not (tmp_path / "o").exists()


def test_counts_of_another_tokenizer_are_refused(trained: Path, capsys: pytest.CaptureFixture) -> None:
    (trained / "tokenizer.json.counts").write_text("3\n2\n")
    assert main(["replay", "-t", str(trained), "low"]) == 1
    assert "does not belong to this tokenizer, which has 23 merges" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["fly"], ["encode"], ["encode", "-t", "x", "--binary", "int8"]])
def test_a_command_line_that_makes_no_sense(arguments: list[str], capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert "usage: python -m tokenizer" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["train", "encode", "decode", "inspect", "compare", "replay"])
def test_help(command: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    assert f"usage: python -m tokenizer {command}" in capsys.readouterr().out


def test_a_reader_that_closes_the_pipe(trained: Path, corpus: Path) -> None:
    corpus.write_text(TEXT * 20_000)
    command = [sys.executable, "-m", "tokenizer", "encode", "-t", trained, corpus]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert (process.stderr.read(), process.wait(60)) == (b"", 0)


def test_ctrl_c_ends_a_command_quietly(trained: Path) -> None:
    command = [sys.executable, "-m", "tokenizer", "decode", "-t", str(trained)]
    pipes = dict.fromkeys(["stdin", "stdout", "stderr"], subprocess.PIPE)
    with subprocess.Popen(command, cwd=ROOT, **pipes) as process:  # type: ignore[call-overload]
        process.stdin.write(b"0\n")
        process.stdin.flush()
        assert process.stdout.read(5) == b"<|x|>"  # it is at work
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert (process.wait(60), process.stderr.read()) == (130, b"")
