"""A large corpus through `python -m llm.data clean` and `dedup`: seconds, and peak memory.

    python -m benchmarks.lab --gigabytes 1

The corpus is made of Python's own prose and source, in pieces of a few hundred words. A part of the documents are
copies of others, with none or some of their words replaced; the words of all others are in a random order.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmarks import machine, tokenizer_texts
from benchmarks.comparison import folder_or_temporary, progress

ROOT = Path(__file__).parents[1]
COPIES = {0.0: 0.1, 0.005: 0.1, 0.02: 0.1, 0.1: 0.1}  # share of words replaced -> share of such copies among documents
RECENT = 5000  # copies are of one of so many documents before


@dataclass(frozen=True)
class Options:
    """Measure `clean` and `dedup` on a corpus that is made for it."""

    gigabytes: float = 0.05
    """Size of the corpus, in 10^9 bytes of text."""
    commands: str = "clean,dedup"
    """Which commands run, separated by commas, each on the result of the one before."""
    preset: str = "gopher"
    """Of clean."""
    processes: int = 1
    """Of each command. The peak is that of the largest process."""
    folder: str = ""
    """Where the corpus and the results are written, and left. Default: a temporary folder."""
    json: bool = False
    """Print lines of JSON."""


def main(arguments: list[str] | None = None) -> None:
    options = tyro.cli(Options, args=arguments, prog="benchmarks.lab")
    with folder_or_temporary(options.folder) as folder:
        report(folder, options)


def report(folder: Path, options: Options) -> None:
    corpus = folder / "corpus.jsonl"
    if not corpus.exists():
        write_corpus(corpus, int(options.gigabytes * 1e9))
    source, results = corpus, []
    for command in options.commands.split(","):
        results.append(measure(command, source, folder / command, options))
        source = folder / command
    print("\n".join(map(json.dumps, results)) if options.json else table(results, options.processes))


def measure(command: str, source: Path, out: Path, options: Options) -> dict[str, Any]:
    """Run a command of the lab in a process of its own."""
    words = [command, str(source), "--out", str(out), "--processes", str(options.processes)]
    words += ["--preset", options.preset] if command == "clean" else []
    progress(f"{command} ...")
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "llm.data", *words], cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    if status:
        raise RuntimeError(f"{command} ended with status {os.waitstatus_to_exitcode(status)}")
    account = json.loads((out / "report.json").read_text())
    return {
        "command": command,
        "seconds": seconds,
        "cpu": usage.ru_utime + usage.ru_stime,
        "peak": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        "bytes": account["bytes"]["in"],
        "documents": account["documents"],
    }


def table(results: list[dict[str, Any]], processes: int) -> str:
    lines = machine.describe([], os.environ, processes)[:3]
    lines.append("command     seconds   of CPU    MB/s   peak MB   documents kept")
    for each in results:
        documents, speed = each["documents"], each["bytes"] / 1e6 / each["seconds"]
        lines.append(
            f"{each['command']:<10} {each['seconds']:8.1f} {each['cpu']:8.1f} {speed:7.1f} "
            f"{each['peak'] / 1e6:9,.0f}   {documents['kept']:,} of {documents['in']:,}"
        )
    return "\n".join(lines)


# --- the corpus -------------------------------------------------------------------------------------------------------


def write_corpus(path: Path, size: int) -> None:
    """JSON lines with so many bytes of text."""
    written = 0
    with open(path, "w", encoding="utf-8") as file:
        for number, text in enumerate(documents(np.random.default_rng(1))):
            if number % 1000 == 0:
                progress(f"corpus: {written / 1e6:,.0f} of {size / 1e6:,.0f} MB")
            file.write(json.dumps({"text": text, "number": number}) + "\n")
            written += len(text)
            if written >= size:
                return


def documents(rng: np.random.Generator) -> Iterator[str]:
    """Documents of ASCII without end."""
    text = tokenizer_texts.english() + tokenizer_texts.python(8_000_000)
    known = np.array([word for word in text.split() if word.isascii()], dtype=object)
    recent: deque[np.ndarray] = deque(maxlen=RECENT)
    kinds, shares = list(COPIES), [*COPIES.values(), 1 - sum(COPIES.values())]
    while True:
        kind = int(rng.choice(len(shares), p=shares))
        if kind == len(kinds) or not recent:  # a new one, in sentences of twelve words
            begin, length = rng.integers(0, len(known) - 1000), rng.integers(50, 800)
            words = rng.permutation(known[begin : begin + length])
            words[11::12] += "."
            recent.append(words)
        else:
            words = recent[rng.integers(len(recent))].copy()
            replaced = rng.random(len(words)) < kinds[kind]
            words[replaced] = known[rng.integers(0, len(known), replaced.sum())]
        yield " ".join(words)


if __name__ == "__main__":
    machine.run(main, "benchmarks.lab")
