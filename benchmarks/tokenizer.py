"""Tokenizers side by side: python -m benchmarks.tokenizer --help.

Ours, tiktoken, Hugging Face's tokenizers, rustbpe (training only) and what a textbook would do. All take turns on one
thread, so that what disturbs the machine disturbs them alike, and first have to give the same ids. Who does what:
tokenizer_peers.py; on which texts: tokenizer_texts.py; how it is shown: tokenizer_table.py. The table is for
RESULTS.md.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import tyro

from benchmarks import machine
from benchmarks import tokenizer_peers as peers
from benchmarks import tokenizer_texts as texts
from benchmarks.tokenizer_table import Result, in_a_line, table, to_json
from benchmarks.turns import Rounds, Spread, Void, chosen, progress, ratios

WORKS = ("warm", "cold", "batch", "huge", "file", "decode", "train", "start")
ROOT = Path(__file__).parents[1]
TEXTBOOK_SIZE = 20_000  # characters: all that it is given
TRAININGS = [(1, 4096), (1, 32768), (10, 4096), (10, 32768), (100, 32768)]  # megabytes, merges
DOCUMENT_SIZES = (500, 5000)  # characters
FILE_SIZE = 40  # megabytes


@dataclass(frozen=True)
class Options:
    """Compare encoding, decoding and training with other tokenizers, in turns."""

    work: str = ",".join(WORKS)
    """What they do, with commas between."""
    encodings: str = ",".join(peers.ENCODINGS)
    """Whose vocabularies, with commas between. Their files are looked for in the folder MINIGRAD_DATA, or
    ../shared/data.
    """
    rounds: int = 5
    """How often everybody takes a turn."""
    quick: bool = False
    """Two rounds, texts a tenth of the size, no training on more than 10 MB."""
    json: bool = False
    """Print a line of JSON for each measurement instead of a table."""


def main(arguments: list[str] | None = None) -> None:
    options = tyro.cli(Options, args=arguments, prog="benchmarks.tokenizer")
    works, encodings = chosen(options.work, WORKS, "--work"), chosen(options.encodings, peers.ENCODINGS, "--encodings")
    if options.rounds < 1:
        raise ValueError(f"--rounds must be at least 1, got {options.rounds}")
    os.environ.update(peers.ONE_THREAD)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-1:])  # one core: nobody has a second thread in secret
    data = Path(os.environ.get("MINIGRAD_DATA") or ROOT.parent / "shared" / "data")
    with tempfile.TemporaryDirectory() as compiled:
        bench = Bench(data, 2 if options.quick else options.rounds, 10 if options.quick else 1, encodings, compiled)
        report(bench, (result for work in works for result in getattr(bench, work)()), options.json)


def report(bench: Bench, results: Iterator[Result], as_json: bool) -> None:
    """Each as it comes, and in the end a table of all."""
    shown: list[Result] = []
    try:
        for result in results:
            shown.append(result)
            if as_json:
                print(json.dumps(to_json(result)), flush=True)
            else:
                print(in_a_line(result), file=sys.stderr, flush=True)
    finally:  # whatever happens, what has been measured is not lost
        if not as_json:
            print("\n".join([*header(bench), "", *table(shown)]))


class Bench:
    """Everything that can be measured; each method gives results as they come."""

    def __init__(self, data: Path, rounds: int, part: int, encodings: list[str], compiled: str):
        """Texts have one `part`-th of their size. `compiled` is a folder for Python's compiled files."""
        self.data, self.rounds, self.part, self.encodings = data, rounds, part, encodings
        size = texts.MEGABYTE // part
        self.texts = {
            "English": texts.english(size),
            "Python": texts.python(size),
            "multilingual": texts.multilingual(size),
        }
        self.missing: dict[str, str] = {}
        self.settings = machine.compiling(os.environ, compiled)

    def coders(
        self, encoding: str, names: tuple[str, ...] = ("tiktoken", "tokenizers", "ours")
    ) -> dict[str, peers.Coder]:
        """Those that are installed and have the vocabulary."""
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
        """Words that have been seen before."""
        for encoding in self.encodings:
            coders = self.coders(encoding, ("tiktoken", "tokenizers", "textbook", "ours"))
            for name, text in self.texts.items():
                works = {
                    who: encoding_of(coder, text[:TEXTBOOK_SIZE] if who == "textbook" else text)
                    for who, coder in coders.items()
                }
                check_ids(coders, text)
                yield self.speeds("encode, warm", f"{name}, {encoding}", works)

    def cold(self) -> Iterator[Result]:
        """Words that have not been seen before; but all tables have been made."""
        for encoding in self.encodings:
            for name, text in self.texts.items():
                rounds: Rounds = {}
                for _ in range(min(self.rounds, 3)):
                    for who, coder in self.coders(encoding).items():
                        progress(f"encode, cold: {name}, {encoding}, {who}")
                        coder.encode(texts.unlike_all())
                        rounds.setdefault(who, []).append(timed(partial(coder.encode, text)) / megabytes(text))
                yield as_speeds("encode, cold", f"{name}, {encoding}", rounds)

    def batch(self) -> Iterator[Result]:
        """Many texts, as lists of ids."""
        everything = "".join(self.texts.values())
        for encoding in self.encodings:
            coders = self.coders(encoding)
            for size in DOCUMENT_SIZES:
                documents = [everything[i : i + size] for i in range(0, len(everything), size)]
                works = {
                    who: (partial(coder.encode_batch, documents), megabytes(everything))
                    for who, coder in coders.items()
                }
                yield self.speeds("encode many", f"texts of {size} characters, {encoding}", works)

    def huge(self) -> Iterator[Result]:
        """One word of a megabyte."""
        coders = self.coders("gpt2")
        for name, text in texts.huge_words(texts.MEGABYTE // self.part).items():
            check_ids(coders, text)
            yield self.speeds("one huge word", name, {who: encoding_of(coder, text) for who, coder in coders.items()})

    def decode(self) -> Iterator[Result]:
        for encoding in self.encodings:
            coders = self.coders(encoding)
            text = self.texts["English"]
            ids = [int(i) for i in coders["ours"].encode(text)]
            works = {who: (partial(coder.decode, ids), megabytes(text)) for who, coder in coders.items()}
            yield self.speeds("decode", encoding, works)

    def file(self) -> Iterator[Result]:
        """From nothing, each in a process of its own: the encoding, and all from the import on."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "mixed.txt"
            path.write_text(texts.mixed(FILE_SIZE * texts.MEGABYTE // self.part, self.data), "utf-8", newline="")
            size = path.stat().st_size / texts.MEGABYTE
            for encoding in self.encodings:
                rounds = self.processes(
                    "encode-file", ["tiktoken", "tokenizers", "ours"], [encoding, str(self.data), str(path)], "tokens"
                )
                for measure, what in ("seconds", "first encoding"), ("whole", "whole process"):
                    each = {who: [answer[measure] / size for answer in answers] for who, answers in rounds.items()}
                    yield as_speeds(f"a file of {size:.0f} MB", f"{what}, {encoding}", each)

    def train(self) -> Iterator[Result]:
        """CPU time, and memory on top of the corpus."""
        for size, merges in [(size, merges) for size, merges in TRAININGS if self.part == 1 or size <= 10]:
            documents = texts.corpus(size * texts.MEGABYTE)
            got = sum(len(text.encode()) for text in documents) / texts.MEGABYTE
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "corpus"
                path.write_text(peers.BETWEEN.join(documents), "utf-8", newline="")
                rounds = self.processes(
                    "train", ["tokenizers", "rustbpe", "ours"], [str(path), str(256 + merges)], "tokens"
                )
            for measure, unit in ("seconds", "s, CPU"), ("memory", "MB"):
                each = {who: [answer[measure] for answer in answers] for who, answers in rounds.items()}
                yield Result("training", f"{got:.0f} MB, {merges} merges", unit, spreads(each), ratios(each, "ours"))
        yield from self.train_textbook()

    def train_textbook(self) -> Iterator[Result]:
        """What counting all pairs anew costs, on a corpus that it can bear."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "corpus"
            path.write_text(self.texts["English"][:100_000], "utf-8", newline="")
            rounds = self.processes("train", ["textbook", "ours"], [str(path), str(256 + 100)], "tokens")
        each = {who: [answer["seconds"] for answer in answers] for who, answers in rounds.items()}
        yield Result("training", "0.1 MB, 100 merges", "s, CPU", spreads(each), ratios(each, "ours"))

    def start(self) -> Iterator[Result]:
        for encoding in self.encodings:
            rounds = self.processes("start", ["tiktoken", "tokenizers", "ours"], [encoding, str(self.data)], None)
            for measure in "import", "load", "first":
                each = {who: [answer[measure] for answer in answers] for who, answers in rounds.items()}
                yield Result("start-up", f"{measure}, {encoding}", "s", spreads(each), ratios(each, "ours"))

    def speeds(self, work: str, what: str, works: dict[str, tuple[Callable[[], Any], float]]) -> Result:
        """Everybody's `works`, (function, megabytes), in turns. Each is called once before, and then often enough to be
        measured.
        """
        rounds: Rounds = {}
        calls = {}
        for who, (function, _) in works.items():
            function()
            calls[who] = max(1, int(0.1 / max(timed(function), 1e-6)))
        for _ in range(self.rounds):
            for who, (function, size) in works.items():
                progress(f"{work}: {what}, {who}")
                rounds.setdefault(who, []).append(min(timed(function) for _ in range(calls[who])) / size)
        return as_speeds(work, what, rounds)

    def processes(
        self, work: str, names: list[str], arguments: list[str], same: str | None
    ) -> dict[str, list[dict[str, float]]]:
        """What each answers, in turns; those that cannot take part are left out. Raises Void if what should be the
        `same` is not.
        """
        answers: dict[str, list[dict[str, float]]] = {}
        for _ in range(min(self.rounds, 3)):
            for who in names:
                progress(f"{work} {' '.join(arguments)[:40]}: {who}")
                command = [sys.executable, "-m", "benchmarks.tokenizer_peers", work, who, *arguments]
                done = subprocess.run(command, cwd=ROOT, env=self.settings, capture_output=True, text=True)
                if done.returncode:
                    self.missing[f"{who}, {work}"] = done.stderr.strip().splitlines()[-1]
                else:
                    answers.setdefault(who, []).append(json.loads(done.stdout))
        found = {answer[same] for each in answers.values() for answer in each} if same else set()
        if len(found) > 1:
            raise Void(f"the comparison is void: {work} gave {' and '.join(map(str, sorted(found)))} {same}")
        return answers


def encoding_of(coder: peers.Coder, text: str) -> tuple[Callable[[], Any], float]:
    return partial(coder.encode, text), megabytes(text)


def check_ids(coders: dict[str, peers.Coder], text: str) -> None:
    """Raises Void unless all give the same ids."""
    ids = {who: [int(i) for i in coder.encode(text)] for who, coder in coders.items() if who != "textbook"}
    if any(each != ids["ours"] for each in ids.values()):
        raise Void(f"the comparison is void: {', '.join(ids)} do not give the same ids for {text[:20]!r}...")


def timed(function: Callable[[], Any]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def megabytes(text: str) -> float:
    return len(text.encode()) / texts.MEGABYTE


def spreads(rounds: Rounds) -> dict[str, Spread]:
    return {who: Spread.of(values) for who, values in rounds.items()}


def as_speeds(work: str, what: str, rounds: Rounds) -> Result:
    """`rounds` are seconds a megabyte."""
    return Result(
        work,
        what,
        "MB/s",
        {who: Spread.of(1 / x for x in values) for who, values in rounds.items()},
        ratios(rounds, "ours"),
    )


def header(bench: Bench) -> list[str]:
    libraries = ", ".join(
        f"{name} {number}" for name, number in {"Python": platform.python_version(), **peers.versions()}.items()
    )
    lines = [
        f"{machine.processor()}, one core, one thread each; load at the end {machine.load()}; {libraries}.",
        f"Medians of {bench.rounds} rounds in turns (at most 3 where each begins from nothing), least and most in "
        "brackets. In",
        "the last columns: how many times as fast as the others ours is, round by round (for memory: how many times "
        "as much they take).",
    ]
    return lines + [f"Not there: {name}: {reason}." for name, reason in bench.missing.items()]


if __name__ == "__main__":
    machine.run(main, "benchmarks.tokenizer")
