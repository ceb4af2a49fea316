"""Tokenizers compared: ours, tiktoken, Hugging Face's tokenizers, rustbpe (training only), the textbook algorithm.

    python -m benchmarks.tokenizer --help

They take turns on one thread, and must first give the same ids. tokenizer_peers.py has what each library does,
tokenizer_texts.py the texts, tokenizer_table.py the table, which is made for RESULTS.md.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import tyro

from benchmarks import machine
from benchmarks import tokenizer_added as added
from benchmarks import tokenizer_peers as peers
from benchmarks import tokenizer_texts as texts
from benchmarks.comparison import Mismatch, Rounds, parse_names, progress
from benchmarks.tokenizer_measure import (
    Answers,
    as_result,
    as_speeds,
    check_ids,
    encoding_of,
    megabytes,
    rounds_of,
    timed,
)
from benchmarks.tokenizer_table import Result, in_a_line, table, to_json

WORKS = ("warm", "cold", "batch", "huge", "first", "file", "added", "decode", "train", "start")
ROOT = Path(__file__).parents[1]
PEERS = ("tiktoken", "tokenizers", "ours")
TEXTBOOK_SIZE = 20_000  # characters: the textbook algorithm gets no more
TRAININGS = [(1, 4096), (1, 32768), (10, 4096), (10, 32768), (100, 32768)]  # megabytes, merges
DOCUMENT_SIZES = (500, 5000)  # characters
FILE_SIZE = 40  # megabytes


@dataclass(frozen=True)
class Options:
    """Compare encoding, decoding and training with other tokenizers, in turns."""

    work: str = ",".join(WORKS)
    """What to measure, separated by commas."""
    encodings: str = ",".join(peers.ENCODINGS)
    """Which vocabularies, separated by commas. Their files are in the folder MINIGRAD_DATA or ../shared/data."""
    rounds: int = 5
    """How many turns each library takes."""
    quick: bool = False
    """Two rounds, texts of a tenth of the size, no training on more than 10 MB."""
    json: bool = False
    """Print a line of JSON for each measurement instead of a table."""


def main(arguments: list[str] | None = None) -> None:
    options = tyro.cli(Options, args=arguments, prog="benchmarks.tokenizer")
    works = parse_names(options.work, WORKS, "--work")
    encodings = parse_names(options.encodings, peers.ENCODINGS, "--encodings")
    if options.rounds < 1:
        raise ValueError(f"--rounds must be at least 1, got {options.rounds}")
    os.environ.update(peers.ONE_THREAD)
    if hasattr(os, "sched_setaffinity"):
        last = max(os.sched_getaffinity(0))
        os.sched_setaffinity(0, [last])  # one core, so that no library can use a second thread
    data = Path(os.environ.get("MINIGRAD_DATA") or ROOT.parent / "shared" / "data")
    with tempfile.TemporaryDirectory() as compiled:
        bench = Bench(data, 2 if options.quick else options.rounds, 10 if options.quick else 1, encodings, compiled)
        report(bench, (result for work in works for result in getattr(bench, work)()), options.json)


def report(bench: Bench, results: Iterator[Result], as_json: bool) -> None:
    """Print each result as soon as it is measured, and at the end a table of all."""
    shown: list[Result] = []
    try:
        for result in results:
            shown.append(result)
            if as_json:
                print(json.dumps(to_json(result)), flush=True)
            else:
                print(in_a_line(result), file=sys.stderr, flush=True)
    finally:  # also after an error or Ctrl-C: show what has been measured
        if not as_json:
            print("\n".join([*header(bench), "", *table(shown)]))


class Bench:
    """Everything that can be measured. Each method named in WORKS yields results as soon as they are measured."""

    def __init__(self, data: Path, rounds: int, divisor: int, encodings: list[str], compiled: str):
        """`divisor`: texts are so many times smaller. `compiled`: a folder for Python's compiled files."""
        self.data, self.rounds, self.divisor, self.encodings = data, rounds, divisor, encodings
        size = texts.MEGABYTE // divisor
        self.texts = {"English": texts.english(size), "Python": texts.python(size)}
        self.texts["multilingual"] = texts.multilingual(size)
        self.missing: dict[str, str] = {}
        self.settings = machine.compiling(os.environ, compiled)

    def coders(self, encoding: str, names: Sequence[str] = PEERS) -> dict[str, peers.Coder]:
        """The tokenizers that are installed and have the vocabulary."""
        found = {}
        for name in names:
            try:
                found[name] = peers.load(name, encoding, self.data)
            except ModuleNotFoundError as error:
                self.missing[name] = f"{error.name} is not installed"
            except FileNotFoundError as error:
                self.missing[f"{name}, {encoding}"] = str(error)
        return found

    def warm(self) -> Iterator[Result]:
        """Encoding words that have been encoded before."""
        for encoding in self.encodings:
            coders = self.coders(encoding, [*PEERS, "textbook"])
            for name, text in self.texts.items():
                works = {
                    library: encoding_of(coder, text[:TEXTBOOK_SIZE] if library == "textbook" else text)
                    for library, coder in coders.items()
                }
                check_ids(coders, text)
                yield self.speeds("encode, warm", f"{name}, {encoding}", works)

    def cold(self) -> Iterator[Result]:
        """Encoding words that have not been encoded before; all tables exist already."""
        for encoding in self.encodings:
            for name, text in self.texts.items():
                rounds: Rounds = {}
                for _ in range(min(self.rounds, 3)):
                    for library, coder in self.coders(encoding).items():
                        progress(f"encode, cold: {name}, {encoding}, {library}")
                        coder.encode(texts.unseen_words())
                        rounds.setdefault(library, []).append(timed(partial(coder.encode, text)) / megabytes(text))
                yield as_speeds("encode, cold", f"{name}, {encoding}", rounds)

    def batch(self) -> Iterator[Result]:
        """Encoding many texts to lists of ids."""
        everything = "".join(self.texts.values())
        for encoding in self.encodings:
            coders = self.coders(encoding)
            for size in DOCUMENT_SIZES:
                documents = [everything[i : i + size] for i in range(0, len(everything), size)]
                total = megabytes(everything)
                works = {name: (partial(coder.encode_batch, documents), total) for name, coder in coders.items()}
                yield self.speeds("encode many", f"texts of {size} characters, {encoding}", works)

    def huge(self) -> Iterator[Result]:
        """Encoding one word of a megabyte."""
        coders = self.coders("gpt2")
        for name, text in texts.huge_words(texts.MEGABYTE // self.divisor).items():
            check_ids(coders, text)
            works = {library: encoding_of(coder, text) for library, coder in coders.items()}
            yield self.speeds("one huge word", name, works)

    def decode(self) -> Iterator[Result]:
        for encoding in self.encodings:
            coders = self.coders(encoding)
            text = self.texts["English"]
            ids = [int(i) for i in coders["ours"].encode(text)]
            works = {library: (partial(coder.decode, ids), megabytes(text)) for library, coder in coders.items()}
            yield self.speeds("decode", encoding, works)

    def file(self) -> Iterator[Result]:
        """Encoding a file in a new process: the time of the encoding, and of everything from the import on."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "mixed.txt"
            path.write_text(texts.mixed(FILE_SIZE * texts.MEGABYTE // self.divisor, self.data), "utf-8", newline="")
            yield from self.encode_file(path, f"a file of {path.stat().st_size / texts.MEGABYTE:.0f} MB")

    def first(self) -> Iterator[Result]:
        """The same for a megabyte of English, for which tables must not take longer than they are worth."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "english.txt"
            path.write_text(self.texts["English"], "utf-8", newline="")
            yield from self.encode_file(path, "the first text, 1 MB")

    def encode_file(self, path: Path, work: str) -> Iterator[Result]:
        size = path.stat().st_size / texts.MEGABYTE
        for encoding in self.encodings:
            answers = self.processes("encode-file", PEERS, [encoding, str(self.data), str(path)], "tokens")
            for measure, what in ("seconds", "encoding"), ("whole", "import, loading and encoding"):
                rounds = {name: [x / size for x in values] for name, values in rounds_of(answers, measure).items()}
                yield as_speeds(work, f"{what}, {encoding}", rounds)

    def added(self) -> Iterator[Result]:
        """A vocabulary with thousands of added tokens."""
        with tempfile.TemporaryDirectory() as folder:
            try:
                works = added.works_of(added.write_vocabulary(self.data, Path(folder)), self.texts["English"])
            except (ModuleNotFoundError, FileNotFoundError) as error:
                self.missing["many added tokens"] = str(error)
                return
            for what, each in works.items():
                yield self.speeds(f"{added.ADDED_TOKENS:,} added tokens", what, each)

    def train(self) -> Iterator[Result]:
        """CPU time and memory of training."""
        for size, merges in [(size, merges) for size, merges in TRAININGS if self.divisor == 1 or size <= 10]:
            documents = texts.corpus(size * texts.MEGABYTE)
            megabytes_found = sum(len(text.encode()) for text in documents) / texts.MEGABYTE
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "corpus"
                path.write_text(peers.BETWEEN.join(documents), "utf-8", newline="")
                arguments = [str(path), str(256 + merges)]
                answers = self.processes("train", ["tokenizers", "rustbpe", "ours"], arguments, "tokens")
            for measure, unit in ("seconds", "s, CPU"), ("memory", "MB"):
                what = f"{megabytes_found:.0f} MB, {merges} merges"
                yield as_result("training", what, unit, rounds_of(answers, measure))
        yield from self.train_textbook()

    def train_textbook(self) -> Iterator[Result]:
        """The textbook algorithm, which counts all pairs again after each merge, on a small corpus."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "corpus"
            path.write_text(self.texts["English"][:100_000], "utf-8", newline="")
            answers = self.processes("train", ["textbook", "ours"], [str(path), str(256 + 100)], "tokens")
        yield as_result("training", "0.1 MB, 100 merges", "s, CPU", rounds_of(answers, "seconds"))

    def start(self) -> Iterator[Result]:
        """The start of a program: import, loading of a vocabulary, first encoding."""
        for encoding in self.encodings:
            answers = self.processes("start", PEERS, [encoding, str(self.data)], None)
            for measure in "import", "load", "first":
                yield as_result("start-up", f"{measure}, {encoding}", "s", rounds_of(answers, measure))

    def speeds(self, work: str, what: str, works: dict[str, tuple[Callable[[], Any], float]]) -> Result:
        """The speeds of `works`, library -> (function, megabytes), in turns.

        Each is called once before, and then so often that a round takes at least 0.1 s.
        """
        rounds: Rounds = {}
        calls = {}
        for library, (function, _) in works.items():
            function()
            calls[library] = max(1, int(0.1 / max(timed(function), 1e-6)))
        for _ in range(self.rounds):
            for library, (function, size) in works.items():
                progress(f"{work}: {what}, {library}")
                rounds.setdefault(library, []).append(min(timed(function) for _ in range(calls[library])) / size)
        return as_speeds(work, what, rounds)

    def processes(self, work: str, names: Sequence[str], arguments: list[str], same: str | None) -> Answers:
        """The measurements of each library, in new processes and in turns, without those that cannot take part.

        Raises Mismatch if the libraries differ in the measurement `same`.
        """
        answers: Answers = {}
        for _ in range(min(self.rounds, 3)):
            for library in names:
                progress(f"{work} {' '.join(arguments)[:40]}: {library}")
                command = [sys.executable, "-m", "benchmarks.tokenizer_peers", work, library, *arguments]
                done = subprocess.run(command, cwd=ROOT, env=self.settings, capture_output=True, text=True)
                if done.returncode:
                    self.missing[f"{library}, {work}"] = done.stderr.strip().splitlines()[-1]
                else:
                    answers.setdefault(library, []).append(json.loads(done.stdout))
        found = {answer[same] for each in answers.values() for answer in each} if same else set()
        if len(found) > 1:
            raise Mismatch(f"no comparison: {work} gave {' and '.join(map(str, sorted(found)))} {same}")
        return answers


def header(bench: Bench) -> list[str]:
    versions = {"Python": platform.python_version(), **peers.versions()}
    libraries = ", ".join(f"{name} {number}" for name, number in versions.items())
    lines = [
        f"{machine.processor()}, one core, one thread each; load at the end {machine.load()}; {libraries}.",
        f"Medians of {bench.rounds} rounds in turns (at most 3 in new processes), with the least and the largest value",
        "in brackets. The last columns: ours is so many times as fast, round by round (memory: they take so many times",
        "as much).",
    ]
    return lines + [f"Missing: {name}: {reason}." for name, reason in bench.missing.items()]


if __name__ == "__main__":
    machine.run(main, "benchmarks.tokenizer")
