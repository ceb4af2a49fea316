"""generate.py as a person uses it: text on standard output, everything else on standard error, and no traceback,
whatever happens.
"""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llm.inference.command import parse, start
from llm.inference.sampling import Sampling
from llm.inference.text import write_text
from tests.llm.runs import make_run, model_at
from tokenizer import END_OF_TEXT, CharTokenizer, Tokenizer

SCRIPT = Path(__file__).parents[2] / "generate.py"
BYTES = Tokenizer.train(["the rain, the sea"], vocab_size=262, special_tokens=[END_OF_TEXT])
ENDLESS = ["--max-tokens", "100000000"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with two runs; the newer one speaks bytes, the other knows four letters."""
    place = tmp_path_factory.mktemp("work")
    (place / "runs").mkdir()
    older = make_run(place / "runs/letters-1", CharTokenizer.train(["abc\n"]))
    for path in older.folder.iterdir():
        os.utime(path, (1e9, 1e9))
    make_run(place / "runs/bytes-1", BYTES)
    return place


@pytest.fixture(autouse=True)
def _there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def command(*options: str) -> list[str]:
    return [sys.executable, str(SCRIPT), "--threads", "1", *options]


def script(*options: str, stdin: bytes = b"") -> tuple[int, str, str]:
    """Exit status, standard output, standard error."""
    result = subprocess.run(command(*options), input=stdin, capture_output=True, timeout=60)
    return result.returncode, result.stdout.decode(), result.stderr.decode()


def written(prompt: str, seed: int, tokens: int, **options: Any) -> str:
    """What the script should print for one sample."""
    sampling = options.pop("sampling", Sampling())
    text = prompt + write_text(
        model_at(BYTES, 5), BYTES, prompt, max_tokens=tokens, seed=seed, sampling=sampling, **options
    )
    return text if text.endswith("\n") else text + "\n"


# --- the whole program ------------------------------------------------------------------------------------------------


def test_it_writes_with_the_newest_run() -> None:
    status, out, err = script("--prompt", "the sea é", "--max-tokens", "20", "--seed", "7")
    assert (status, out) == (0, written("the sea é", 7, 20))
    run, figures = err.splitlines()
    assert run == "writing with runs/bytes-1, the run that was changed last"
    assert re.fullmatch(r"\d+ tokens in [\d.]+ s, [\d,]+ tokens/s, seed 7", figures)


def test_the_prompt_may_be_piped_in() -> None:
    status, out, _ = script("--max-tokens", "5", "--seed", "1", stdin="été\n".encode())
    assert (status, out) == (0, written("été", 1, 5))
    status, out, _ = script("--max-tokens", "5", "--seed", "1", stdin=b"a\xff")
    assert (status, out[:2]) == (0, "a?")


def test_an_error_is_one_sentence_without_traceback() -> None:
    status, out, err = script("--run", "runs/letters-1", "--prompt", "abü")
    assert (status, out) == (1, "")
    assert err == (
        "generate.py: the character 'ü' is not among the 4 of the tokenizer of runs/letters-1; leave it out of the "
        "prompt\n"
    )
    assert err.count("\n") == 1


@pytest.fixture
def endless() -> Iterator[subprocess.Popen]:
    """The script, at work: its first line is written. Its letters know no end of text, which others would soon come
    upon.
    """
    options = ["--run", "runs/letters-1", "--prompt", "abc\n", *ENDLESS]
    process = subprocess.Popen(command(*options), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"abc\n"
    yield process
    process.kill()
    process.communicate()


@pytest.mark.skipif(not hasattr(signal, "SIGPIPE"), reason="this system has no SIGPIPE")
def test_a_reader_that_goes_away_ends_it_quietly(endless: subprocess.Popen) -> None:
    endless.stdout.close()  # type: ignore[union-attr]
    assert endless.wait(60) == -signal.SIGPIPE
    assert endless.stderr.read() == b""  # type: ignore[union-attr]


def test_ctrl_c_ends_it_cleanly(endless: subprocess.Popen) -> None:
    assert endless.stdout is not None and endless.stderr is not None
    out = endless.stdout.read(10)  # it writes, so the signal does not hit the start
    endless.send_signal(signal.SIGINT)
    out += endless.stdout.read()  # not communicate(), which would miss what read(10) has buffered
    assert endless.wait(60) == 130
    assert out.endswith(b"\n")
    assert re.fullmatch(rb"[\d,]+ tokens in [\d.]+ s, [\d,]+ tokens/s, seed \d+\n", endless.stderr.read())


# --- options ----------------------------------------------------------------------------------------------------------


def test_samples_have_seeds_of_their_own(capsys: pytest.CaptureFixture) -> None:
    assert start(parse(["--prompt", "the", "--max-tokens", "9", "--num-samples", "3", "--seed", "4"])) == 0
    assert capsys.readouterr().out == "---\n".join(written("the", seed, 9) for seed in (4, 5, 6))


def test_sampling_options_arrive(capsys: pytest.CaptureFixture) -> None:
    sampling = "--temperature 1.5 --top-k 50 --top-p 0.9 --min-p 0.01 --repetition-penalty 1.2 --stop e --stop xy"
    others = "--prompt the --max-tokens 60 --seed 2 --checkpoint best"
    options = parse([*sampling.split(), *others.split()])
    assert options.sampling == Sampling(1.5, 50, 0.9, 0.01, 1.2)
    assert start(options) == 0
    assert capsys.readouterr().out == written("the", 2, 60, sampling=options.sampling, stop=("e", "xy"))


def test_a_reported_seed_gives_the_same_text_again(capsys: pytest.CaptureFixture) -> None:
    options = ["--prompt", "a", "--max-tokens", "20"]
    start(parse(options))
    first = capsys.readouterr()
    seed = first.err.split()[-1]
    start(parse([*options, "--seed", seed]))
    assert capsys.readouterr().out == first.out
    start(parse(options))
    assert capsys.readouterr().err.split()[-1] != seed  # equal by chance: 2^-32


def test_at_a_terminal_an_empty_prompt_is_the_beginning_of_a_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    terminal = io.TextIOWrapper(io.BytesIO(b"not to be read"))
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    for stdin in (terminal, None):
        monkeypatch.setattr(sys, "stdin", stdin)
        start(parse(["--max-tokens", "5", "--seed", "3"]))
        assert capsys.readouterr().out == written("", 3, 5)


@pytest.mark.parametrize("text", ["None", "none", ""])
def test_every_text_is_meant(text: str) -> None:
    options = parse([f"--prompt={text}", f"--run={text}"])
    assert (options.prompt, options.run) == (text, text)


@pytest.mark.parametrize(
    "options",
    [
        ["--temperature", "-1"],
        ["--top-k", "0"],
        ["--top-k", "x"],
        ["--top-p", "nan"],
        ["--min-p", "2"],
        ["--repetition-penalty", "0"],
        ["--max-tokens", "-1"],
        ["--num-samples", "0"],
        ["--seed", "-1"],
        ["--checkpoint", "first"],
        ["--unknown"],
        ["--stop"],
    ],
)
def test_bad_options_are_refused_with_status_2(options: list[str], capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stop:
        parse(options)
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert options[0] in captured.err


def test_options_that_are_refused_after_parsing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for options, complaint in (
        (["--device", "tpu"], "unknown device 'tpu'"),
        (["--run", "runs/nothing"], "holds no run"),
    ):
        with pytest.raises(ValueError, match=complaint):
            start(parse(options))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="no run in runs/ yet; start one with"):
        start(parse([]))


def test_help_names_every_option(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stop:
        parse(["--help"])
    assert stop.value.code == 0
    help_text = capsys.readouterr().out
    sampling = ["temperature", "top-k", "top-p", "min-p", "repetition-penalty", "sampler"]
    others = [
        "run",
        "checkpoint",
        "model",
        "weights",
        "tokenizer",
        "prompt",
        "max-tokens",
        "stop",
        "seed",
        "num-samples",
        "threads",
        "device",
    ]
    for option in sampling + others:
        assert f"--{option} " in help_text
