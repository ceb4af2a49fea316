"""Which text of a Python installation teaches more: the language reference, the docstrings of the library, or both.

    python -m benchmarks.default_text --folder /tmp/default-text

A tenth of the topics of the language reference is held out, and all docstrings of a tenth of the library's files. The
runs differ in the text and the seed; options on the command line are for all. Each learns a tokenizer from its own
text, and is judged by its bits a byte on both held-out texts.
"""

from __future__ import annotations

import json
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from benchmarks.comparison import folder_or_temporary
from benchmarks.polluted import run
from llm.data.builtin import language_topics
from llm.data.stdlib import (
    FEWEST_CHARACTERS,
    LITTLE_PROSE,
    docstrings_of,
    documents_of_files,
    stdlib_files,
    stdlib_folder,
)

HELD_OUT = 0.1  # of the topics, and of the files
KINDS = ("topics", "docstrings")


@dataclass(frozen=True)
class Options:
    """Train on the topics, the docstrings and both, and compare the losses on held-out topics and docstrings."""

    folder: str = ""
    """Where texts and runs are written, and left. Runs that are there already are not repeated. Default: a temporary
    folder.
    """
    texts: str = "topics,both"
    """Texts to learn from: topics, docstrings, both."""
    seeds: int = 3
    """Number of runs with each text."""
    train: Annotated[str, tyro.conf.arg(metavar="OPTIONS")] = ""
    """Options for train.py, such as "--weight-decay 1 --threads 1"."""


def main(arguments: list[str] | None = None) -> None:
    options = tyro.cli(Options, args=arguments, prog="benchmarks.default_text")
    with folder_or_temporary(options.folder) as folder:
        if not (folder / "both.jsonl").exists():
            write_texts(folder, random.Random(1))
        for text in options.texts.split(","):
            scores = [judge(folder, text, seed, options.train.split()) for seed in range(options.seeds)]
            print(f"{text} {options.train}: {line(scores)}", flush=True)


def write_texts(folder: Path, rng: random.Random) -> None:
    """Texts to learn from (`both`: most of train.py's default text), and topics and docstrings to be judged by."""
    learned, held_out = divided([[topic] for topic in language_topics()], rng)
    topics = [topic for (topic,) in learned]
    write(folder / "held-out-topics.jsonl", [topic for (topic,) in held_out])
    learned, held_out = divided([docstrings_of(path) for path in stdlib_files(stdlib_folder(), LITTLE_PROSE)], rng)
    known = {text for texts in learned for text in texts}
    # Judged one by one: a docstring that is also in a file that is learned is left out.
    new = dict.fromkeys(text for texts in held_out for text in texts if text not in known)
    write(folder / "held-out-docstrings.jsonl", [text for text in new if len(text) >= FEWEST_CHARACTERS])
    docstrings = documents_of_files(learned)
    for name, texts in {"topics": topics, "docstrings": docstrings, "both": [*topics, *docstrings]}.items():
        write(folder / f"{name}.jsonl", texts)


def divided(documents: list[list[str]], rng: random.Random) -> tuple[list[list[str]], list[list[str]]]:
    """To be learned, and held out."""
    rng.shuffle(documents)
    cut = int(len(documents) * HELD_OUT)
    return documents[cut:], documents[:cut]


def write(path: Path, texts: Sequence[str]) -> None:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")


def judge(folder: Path, text: str, seed: int, options: Sequence[str]) -> list[float]:
    """Bits a byte on the held-out texts, in the order of KINDS."""
    out = folder / "-".join([text, str(seed), *(word.strip("-") for word in options)])
    if not (out / "model.safetensors").exists():
        run("train.py", "--data", folder / f"{text}.jsonl", "--out", out, "--seed", seed, *options)
    return [bits_per_byte(folder, out, kind) for kind in KINDS]


def bits_per_byte(folder: Path, out: Path, kind: str) -> float:
    result = out / f"{kind}.json"
    if not result.exists():
        run("-m", "llm.evaluation", out, "--task", f"text={folder / f'held-out-{kind}.jsonl'}", "--json", result)
    return json.loads(result.read_text())["tasks"]["text"]["bits_per_byte"]


def line(scores: Sequence[Sequence[float]]) -> str:
    columns = zip(KINDS, zip(*scores))
    return ", ".join(f"{kind} {statistics.median(x):.3f} [{min(x):.3f}, {max(x):.3f}]" for kind, x in columns)


if __name__ == "__main__":
    main()
