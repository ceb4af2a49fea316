"""What happens between the command and the first step: text, tokenizer, tokens, memory."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from llm.data import dataset, learned
from llm.parallel import job
from llm.training import display, setup
from tests.llm.trainings import train, without_pictures
from tokenizer.fast.processes import processes_for

BRIEF = ["--steps", "1", "--eval-batches", "1", "--sample-every", "0", "--threads", "1"]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIGRAD_CACHE", str(tmp_path / "cache"))
    without_pictures(monkeypatch)


def record_calls(patch: pytest.MonkeyPatch, *places: tuple[Any, str]) -> list[str]:
    """A list that the names of these functions will be added to when they are called."""
    called: list[str] = []

    def recorded(name: str, original: Any) -> Any:
        def call(*arguments: Any, **more: Any) -> Any:
            called.append(name)
            return original(*arguments, **more)

        return call

    for module, name in places:
        patch.setattr(module, name, recorded(name, getattr(module, name)))
    return called


@pytest.mark.parametrize("kind", ["bpe", "char"])
def test_memory_of_learning_and_tokenizing_is_returned_before_workers_copy_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Also in the second run, in which neither tokenizer nor tokens are made again."""
    called = record_calls(
        monkeypatch, (learned, "_learn"), (dataset, "_tokenize"), (setup, "return_freed_memory"), (job, "make_workers")
    )
    train(tmp_path / "one", *BRIEF, "--tokenizer", kind, "--vocab-size", "300")
    assert called == ["_learn", "_tokenize", "return_freed_memory", "make_workers"]
    called.clear()
    train(tmp_path / "two", *BRIEF, "--tokenizer", kind, "--vocab-size", "300")
    assert called == ["return_freed_memory", "make_workers"]
    assert (tmp_path / "one/tokenizer.json").read_bytes() == (tmp_path / "two/tokenizer.json").read_bytes()


def test_files_that_are_left_out_are_told(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "a.txt").write_text("some words " * 200)
    (texts / "b.bin").write_bytes(bytes(10))
    train(tmp_path / "run", *BRIEF, "--data", str(texts))
    assert f"left out of {texts}, because they hold zero bytes (binary files, or UTF-16): {texts / 'b.bin'}\n" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize("terminal", [True, False])
def test_a_progress_bar_does_not_keep_the_tokenizer_from_starting_processes(
    terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside a thread, a fork would not be safe, and one process tokenizes alone."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1}, raising=False)
    monkeypatch.setattr(display, "at_terminal", lambda: terminal)
    before = threading.active_count()
    with display.stages() as report:
        report("reading", 1, 10)
        assert threading.active_count() == before
        if before == 1:  # no thread was left by another test
            assert processes_for(40_000_000) == 2
