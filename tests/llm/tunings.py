"""Tiny tunings for tests: a run to begin with, and for each objective of train.py a file of examples and options."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llm.training.command import parse, start
from llm.tuning.tasks import find_task
from tests.llm.trainings import WORDS, own_cache, train, write_sample, write_text

COUNT = 14  # examples
# fmt: off
BASE = ["--tokenizer", "bpe", "--vocab-size", "300", "--context", "32", "--steps", "2", "--eval-every", "2",
        "--sample-every", "0", "--dropout", "0"]
BRIEF = ["--steps", "6", "--batch-size", "4", "--lr", "0.01", "--warmup", "0", "--eval-every", "2",
         "--checkpoint-every", "3", "--eval-batches", "2", "--sample-every", "0", "--device", "cpu", "--threads", "2"]
# fmt: on


def word(number: int) -> str:
    return WORDS[number % 9]


def chat(number: int) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": f"{word(number)} {number}"},
                         {"role": "assistant", "content": f"the {word(number + 1)}"}]}  # fmt: skip


def labeled(number: int) -> dict[str, Any]:
    return {"text": f"{word(number)} sat {number}", "label": ["yes", "no", "none"][number % 3]}


def pair(number: int) -> dict[str, Any]:
    return {"prompt": f"{word(number)} {number}", "chosen": "the mat", "rejected": f"on {word(number + 2)}"}


def question(number: int) -> dict[str, Any]:
    return {"prompt": f"the {word(number)} {number}", "answer": word(number)}


# The name of a case: its objective, a function that makes an example by number, and options. "text" learns from text.
OBJECTIVES: dict[str, tuple[str, Callable[[int], dict[str, Any]] | None, list[str]]] = {
    "text": ("text", None, []),
    "chat": ("chat", chat, ["--dropout", "0.1"]),
    "packed chat": ("chat", chat, ["--packing"]),
    "classify": ("classify", labeled, ["--dropout", "0.1"]),
    "preference": ("preference", pair, []),
    "reward": ("reward", pair, []),
    "reinforce": ("reinforce", question, ["--reward", "regex:a", "--group-size", "2", "--max-tokens", "3"]),
    "ppo": ("reinforce", question, ["--algorithm", "ppo", "--reward", "length:4", "--max-tokens", "3",
                                    "--sample-epochs", "4"]),
}  # fmt: skip
ADAPTERS = {
    "all weights": [],
    "lora": ["--lora-rank", "2", "--lora-targets", "all-linear"],
    "prefix": ["--prefix-tokens", "2"],
    "prompt": ["--prompt-tokens", "2"],
    "freeze": ["--freeze", "embedding"],
}


def make_base(folder: Path) -> Path:
    """A folder with a run to begin with, and the files of examples."""
    with own_cache(folder):
        write_text(folder / "text.txt")
        assert train(folder / "base", *BASE) == 0
    for name, (_, example, _) in OBJECTIVES.items():
        if example is not None:
            path = data_of(folder, name)
            path.write_text("".join(json.dumps(example(number)) + "\n" for number in range(COUNT)))
    return folder


def data_of(folder: Path, name: str) -> Path:
    return folder / ("text.txt" if OBJECTIVES[name][1] is None else f"{name.replace(' ', '-')}.jsonl")


def arguments(folder: Path, name: str, out: Path, *more: str) -> list[str]:
    """The command line of train.py for a case of OBJECTIVES."""
    objective, _, options = OBJECTIVES[name]
    data = data_of(folder, name)
    first = ["--from", str(folder / "base"), "--objective", objective, "--data", str(data), "--out", str(out)]
    return [*first, *BRIEF, *options, *more]


def tune(folder: Path, name: str, out: Path, *more: str) -> int:
    """Run train.py for a case in this process; returns its exit status."""
    return start(*parse(arguments(folder, name, out, *more)), write_sample, find_task)


def go_on(out: Path, *more: str) -> int:
    """Let a run go on with its own options."""
    return start(*parse(["--out", str(out), "--resume", *more]), write_sample, find_task)
