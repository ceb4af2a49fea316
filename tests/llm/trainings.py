"""Tiny trainings for tests: a text, the command line, and what must be equal between two runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llm.inference import text
from llm.model.gpt import GPT
from llm.runs import run
from llm.training.command import SampleWriter, parse, start
from llm.training.trainer import Trainer
from tokenizer import BaseTokenizer

# fmt: off
SHAPE = ["--tokenizer", "char", "--layers", "1", "--heads", "2", "--dim", "8", "--context", "8", "--batch-size", "5",
         "--eval-batches", "2", "--device", "cpu", "--threads", "1", "--seed", "3",
         "--optimizer", "adamw", "--lr", "4e-3"]
# fmt: on
WORDS = ["the", "a", "cat", "dog", "mat", "sat", "ran", "on", "under", "?\n"]


def write_text(path: Path) -> Path:
    path.write_text(" ".join(np.random.default_rng(0).choice(WORDS, 600)))
    return path


def write_task(path: Path) -> Path:
    """Questions about the text: which word comes next?"""
    random = np.random.default_rng(1)
    drawn = [random.choice(WORDS[:-1], 4, replace=False).tolist() for _ in range(6)]
    rows = [{"query": words[0], "choices": words[1:], "label": i % 3} for i, words in enumerate(drawn)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def arguments(out: Path, *more: str) -> list[str]:
    """A command line of train.py for `text.txt`, which stands beside the folder `out`; options given twice count the
    last time.
    """
    data = out.parent / "text.txt"
    return ["--data", str(data if data.exists() else write_text(data)), "--out", str(out), *SHAPE, *more]


def write_sample(model: GPT, tokenizer: BaseTokenizer, prompt: str, seed: int) -> str:
    """That of train.py with 8 tokens: 120 would take longer than a tiny training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "SAMPLE_TOKENS", 8)
        return text.write_sample(model, tokenizer, prompt, seed)


def train(out: Path, *more: str, sample: SampleWriter = write_sample) -> int:
    """Run train.py in this process; returns its exit status."""
    return start(*parse(arguments(out, *more)), sample)


def resume(out: Path, *more: str) -> int:
    """Let a run go on with its own options."""
    return start(*parse(["--out", str(out), "--resume", *more]), write_sample)


class Killed(BaseException):
    """Stands for a kill: nothing may catch it."""


def interrupt_at(patch: pytest.MonkeyPatch, step: int, action: Any) -> None:
    """Have `action()` called before the update that follows `step` updates."""
    update = Trainer.update

    def interrupted(trainer: Trainer) -> Any:
        if trainer.state.step == step:
            action()
        return update(trainer)

    patch.setattr(Trainer, "update", interrupted)


def kill() -> None:
    raise Killed


def without_pictures(patch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than a tiny training."""
    patch.setattr(run, "draw_losses", lambda *_: None)


@contextmanager
def own_cache(folder: Path) -> Iterator[pytest.MonkeyPatch]:
    """Inside, trainings keep their cache in this folder, and draw no pictures: for fixtures of a whole module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINIGRAD_CACHE", str(folder / "cache"))
        without_pictures(patch)
        yield patch


def weights(out: Path) -> tuple[bytes, bytes]:
    return (out / "model.safetensors").read_bytes(), (out / "optimizer.safetensors").read_bytes()


def metrics(out: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl without the times, which no two runs share."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [
        {name: value for name, value in line.items() if name not in ("tokens_per_second", "elapsed")} for line in lines
    ]


def assert_same_run(out: Path, expected: Path) -> None:
    assert weights(out) == weights(expected)
    assert metrics(out) == metrics(expected)
