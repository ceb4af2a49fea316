"""What cleaning is worth: a model learns from a polluted text, from the same text cleaned, and from the pure one.

    python -m benchmarks.polluted --folder /tmp/polluted

The pure text is that of train.py, in sections. What is added: copies, near copies, pages of boilerplate, pages of
keywords, and a footer below each document. The commands that clean it do not know how that was done. All runs have the
same tokenizer, number of steps and options. They are judged by sections that no run has seen.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from benchmarks import machine
from benchmarks.comparison import folder_or_temporary, progress
from llm.data.builtin import python_docs

ROOT = Path(__file__).parents[1]
TEXTS = ("polluted", "gopher", "fitted", "pure")

SECTION = 2000  # characters, about
HELD_OUT = 0.1  # of the sections
# How many of each come to 100 pure sections. Half of the copies are of a few sections, as on the web.
COPIES, NEAR_COPIES, BOILERPLATE, SPAM = 80, 80, 30, 30
REPLACED = 0.03  # of the words of a near copy

FOOTER = "Home | About us | Terms of use | Privacy policy | Sign in to leave a comment"
MENU = [
    "Home",
    "Products",
    "Pricing",
    "Blog",
    "Careers",
    "Contact",
    "Log in",
    "Sign up",
    "Share",
    "Next page",
    "Read more",
]
KEYWORDS = ["cheap flights", "best hotel deals", "buy now", "free shipping", "weight loss", "casino bonus", "low rates"]

# Two ways to clean; each command gets the result of the one before. The documentation is full of code and of tables. At
# the usual threshold, 0.8 of the words must have a letter (punctuation counts as words), and nearly all of it would be
# dropped. The rules against repetition drop a fifth of it still, so "fitted" does without them.
THRESHOLD = ["--threshold", "gopher_below_alpha_threshold=0.4"]
LAST = ["dedup", "--paragraphs", "first"]
CLEANING = {
    "gopher": [["dedup"], ["clean", "--preset", "gopher", *THRESHOLD], LAST],
    "fitted": [["dedup"], ["clean", "--preset", "repair,gopher_quality", *THRESHOLD], LAST],
}


@dataclass(frozen=True)
class Options:
    """Train on polluted, cleaned and pure text, and compare the losses on held-out text."""

    folder: str = ""
    """Where texts and runs are written, and left. Runs that are there already are not repeated. Default: a temporary
    folder.
    """
    seeds: int = 3
    """Number of runs with each text."""
    train: Annotated[str, tyro.conf.arg(metavar="OPTIONS")] = ""
    """Options for train.py, such as "--steps 200 --threads 1"."""


def main(arguments: list[str] | None = None) -> None:
    options = tyro.cli(Options, args=arguments, prog="benchmarks.polluted")
    with folder_or_temporary(options.folder) as folder:
        report(folder, options)


def report(folder: Path, options: Options) -> None:
    if not (folder / "pure.jsonl").exists():
        write_texts(folder, random.Random(1))
    for name, commands in CLEANING.items():
        clean(folder, name, commands)
    losses: dict[str, list[float]] = {text: [] for text in TEXTS}
    for seed in range(options.seeds):
        for text in TEXTS:
            losses[text].append(loss(folder, text, seed, options.train.split()))
            print(f"{text:10s} seed {seed}: {losses[text][-1]:.4f} bits a byte", flush=True)
    print(table(folder, losses))


def clean(folder: Path, name: str, commands: Sequence[Sequence[str]]) -> None:
    """Commands that are done already do nothing."""
    source = folder / "polluted.jsonl"
    for number, (command, *words) in enumerate(commands, 1):
        out = folder / (name if number == len(commands) else f"{name}-step-{number}")
        run("-m", "llm.data", command, source, *words, "--out", out)
        source = out


def table(folder: Path, losses: dict[str, list[float]]) -> str:
    lines = ["text        documents   kB   bits a byte of held-out text, median [least, most]"]
    for text, each in losses.items():
        rows = [
            json.loads(line)["text"] for path in files(folder, text) for line in path.read_text("utf-8").splitlines()
        ]
        size = sum(len(row.encode()) for row in rows) / 1000
        spread = f"{statistics.median(each):.4f} [{min(each):.4f}, {max(each):.4f}]"
        lines.append(f"{text:10s} {len(rows):10,d} {size:4.0f}   {spread}")
    return "\n".join(lines)


def files(folder: Path, text: str) -> list[Path]:
    return sorted((folder / text).glob("kept-*")) if text in CLEANING else [folder / f"{text}.jsonl"]


def loss(folder: Path, text: str, seed: int, options: Sequence[str]) -> float:
    """Train on the text, and return bits a byte on the held-out text. All use the tokenizer of the first run."""
    out, tokenizer = folder / f"{text}-{seed}", folder / f"{TEXTS[0]}-0" / "tokenizer.json"
    data = folder / text if text in CLEANING else folder / f"{text}.jsonl"
    if not (out / "result.json").exists():
        known = ["--tokenizer", tokenizer] if tokenizer.exists() else []
        run("train.py", "--data", data, "--out", out, "--seed", seed, "--sample-every", 0, *known, *options)
        held_out = f"text={folder / 'held-out.jsonl'}"
        run("-m", "llm.evaluation", out, "--task", held_out, "--json", out / "result.json")
    return json.loads((out / "result.json").read_text())["tasks"]["text"]["bits_per_byte"]


def run(*words: object) -> None:
    command = [sys.executable, *map(str, words)]
    progress(" ".join(command[1:]))
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


# --- the texts --------------------------------------------------------------------------------------------------------


def write_texts(folder: Path, rng: random.Random) -> None:
    documents = sections()
    rng.shuffle(documents)
    held_out, pure = documents[: (cut := int(len(documents) * HELD_OUT))], documents[cut:]
    for name, texts in {"held-out": held_out, "pure": pure, "polluted": pollute(pure, rng)}.items():
        lines = [json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts]
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")


def sections() -> list[str]:
    """The topics of Python's documentation, cut between paragraphs."""
    found = []
    for document in python_docs().documents():
        section = ""
        for paragraph in "".join(document).split("\n\n"):
            section += paragraph + "\n\n"
            if len(section) >= SECTION:
                found.append(section)
                section = ""
        found.append(section)
    return [section.strip() for section in found if section.strip()]


def pollute(pure: Sequence[str], rng: random.Random) -> list[str]:
    def number(share: int) -> range:
        return range(len(pure) * share // 100)

    famous = rng.sample(pure, max(1, len(pure) // 50))
    copies = [rng.choice(famous if n % 2 else pure) for n in number(COPIES)]
    near = [nearly(rng.choice(pure), rng) for _ in number(NEAR_COPIES)]
    texts = [f"{text}\n\n{FOOTER}" for text in [*pure, *copies, *near]]
    texts += ["\n".join(rng.choices(MENU, k=60)) for _ in number(BOILERPLATE)]
    texts += [" ".join(rng.choices(KEYWORDS, k=150)) for _ in number(SPAM)]
    rng.shuffle(texts)
    return texts


def nearly(text: str, rng: random.Random) -> str:
    """The text with some words replaced by others of it. White space stays."""
    pieces = text.split(" ")
    for place in rng.sample(range(len(pieces)), int(REPLACED * len(pieces))):
        pieces[place] = rng.choice(pieces)
    return " ".join(pieces)


if __name__ == "__main__":
    machine.run(main, "benchmarks.polluted")
