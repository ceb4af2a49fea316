"""What train.py promises holds for all objectives: exact resume, best and last, metrics, dry run, opening of the run.

As many kills as you like: MINIGRAD_KILLS=20 python -m pytest tests/llm/test_training_objectives.py -k kill_9
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llm import hub
from llm.hub.tuned import load_run
from llm.model.adapters.attach import AdaptedGPT
from llm.model.classifier import Classifier
from llm.runs.run import Run
from tests.llm.trainings import Killed, assert_same_run, interrupt_at, kill, metrics, without_pictures
from tests.llm.tunings import ADAPTERS, BRIEF, OBJECTIVES, arguments, go_on, make_base, tune

SCRIPT = Path(__file__).parents[2] / "train.py"
KILLS = int(os.environ.get("MINIGRAD_KILLS", "1"))
STEPS = int(BRIEF[BRIEF.index("--steps") + 1])
cases = pytest.mark.parametrize("name", OBJECTIVES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("jinja2")
    return make_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(autouse=True)
def _there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIGRAD_CACHE", str(folder / "cache"))
    without_pictures(monkeypatch)


def possible(name: str, adapter: str) -> bool:
    """Several texts of a row cannot have virtual tokens before each."""
    return not (name == "packed chat" and adapter in ("prefix", "prompt"))


def killed_and_resumed(folder: Path, name: str, out: Path, stops: list[int], *more: str) -> None:
    for stop in stops:
        with pytest.MonkeyPatch.context() as patch:
            interrupt_at(patch, stop, kill)
            with pytest.raises(Killed):
                tune(folder, name, out, *more, *(["--resume"] if Run(out).exists else []))
    assert go_on(out) == 0


@pytest.mark.parametrize(
    ("name", "adapter"),
    [
        pytest.param(name, adapter, marks=() if usual == adapter else pytest.mark.slow)
        for number, name in enumerate(OBJECTIVES)
        # One adapter for each objective is enough by default.
        for usual in [list(ADAPTERS)[number % len(ADAPTERS)] if name != "packed chat" else "lora"]
        for adapter in ADAPTERS
        if possible(name, adapter)
    ],
)
def test_a_run_that_was_killed_and_resumed_equals_one_that_was_not(
    name: str, adapter: str, folder: Path, tmp_path: Path
) -> None:
    random = np.random.default_rng(len(name) + len(adapter))
    more = [*ADAPTERS[adapter], "--threads", str(random.integers(1, 3)), "--micro-batches", str(random.integers(1, 3))]
    assert tune(folder, name, tmp_path / "expected", *more) == 0
    stops = sorted(random.integers(0, STEPS, 2).tolist())
    killed_and_resumed(folder, name, tmp_path / "run", stops, *more)
    assert_same_run(tmp_path / "run", tmp_path / "expected")
    assert [line["step"] for line in metrics(tmp_path / "run")] == list(range(1, STEPS + 1))
    assert sum(line["val_loss"] is not None for line in metrics(tmp_path / "run")) == STEPS // 2


@cases
def test_a_run_with_lora_is_opened_at_its_best_and_its_last_checkpoint(name: str, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert tune(folder, name, out, *ADAPTERS["lora"]) == 0
    last, tokenizer = hub.load(out)
    assert tokenizer is not None
    best, _ = load_run(out, "best")
    is_classifier = OBJECTIVES[name][0] in ("classify", "reward")
    for model in (last, best):
        assert isinstance(model, Classifier) == is_classifier
        assert isinstance(model.model if is_classifier else model, AdaptedGPT)
    state = json.loads((out / "state.json").read_text())
    assert state["step"] == STEPS and 1 <= state["best_step"] <= STEPS


@cases
def test_a_dry_run_says_what_is_trained_and_makes_no_folder(
    name: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    found = []
    for more in ([], ["--lora-rank", "1"]):
        assert tune(folder, name, tmp_path / "run", "--dry-run", *more) == 0
        found.append(capsys.readouterr().out)
        assert not (tmp_path / "run").exists()
    assert "  trained" not in found[0] and "  trained" in found[1]
    optimizer = [next(line for line in text.splitlines() if line.startswith("  optimizer")) for text in found]
    assert optimizer[0] != optimizer[1]


@cases
@pytest.mark.parametrize("number", [signal.SIGINT])
def test_a_signal_finishes_the_step_and_saves(
    name: str, number: signal.Signals, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, 3, lambda: signal.raise_signal(number))
        assert tune(folder, name, tmp_path / "run") == 128 + number
    assert f"stopped at step 4 of {STEPS}" in capsys.readouterr().out
    stopped = Run(tmp_path / "run").checkpoints.load()
    assert stopped is not None and stopped.step == 4


def test_examples_that_are_not_there_or_of_another_kind_are_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for name in OBJECTIVES.keys() - {"text"}:
        (tmp_path / "rows.jsonl").write_text('{"nothing": 1}\n')
        for data in ("rows.jsonl", "missing.jsonl"):
            with pytest.raises((ValueError, OSError), match=data.replace(".", r"\.")):
                tune(folder, name, tmp_path / "run", "--data", str(tmp_path / data))
            assert not (tmp_path / "run").exists()


def test_one_tuning_can_follow_another_with_an_adapter_on_an_adapter(folder: Path, tmp_path: Path) -> None:
    """chat, then preference, then reinforce: each begins with the model of the one before, its adapter merged."""
    assert tune(folder, "chat", tmp_path / "chat", *ADAPTERS["lora"]) == 0
    assert tune(folder, "preference", tmp_path / "next", *ADAPTERS["lora"], "--from", str(tmp_path / "chat")) == 0
    assert tune(folder, "reinforce", tmp_path / "last", *ADAPTERS["prefix"], "--from", str(tmp_path / "next")) == 0
    first = metrics(tmp_path / "next")[0]
    # The reference is the model with the adapter of chat: before the first update, nothing differs from it.
    assert first["train_loss"] == pytest.approx(np.log(2), abs=1e-6)
    assert first["train_drift"] == pytest.approx(0, abs=1e-6)
    model, _ = load_run(tmp_path / "last")
    assert model.virtual_tokens == 2
    state = (tmp_path / "chat" / "model.safetensors").read_bytes()
    for name in ("chat", "chat/checkpoints/step-00000006"):
        (tmp_path / name / "model.safetensors").unlink()
        (tmp_path / name / "model.safetensors").write_bytes(state[:-1] + bytes([state[-1] ^ 1]))
    with pytest.raises(ValueError, match="its weights are not those that the adapter was trained with"):
        load_run(tmp_path / "last")


# --- kill -9 ----------------------------------------------------------------------------------------------------------


def begin(folder: Path, name: str, out: Path, *more: str) -> subprocess.Popen:
    command = [sys.executable, str(SCRIPT), *arguments(folder, name, out, *more)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
@cases
@pytest.mark.parametrize("adapter", ["all weights", "lora"])
def test_kill_9_at_any_instant(name: str, adapter: str, folder: Path, tmp_path: Path) -> None:
    """Each kill comes at an instant drawn from [0, 1.2 times the time of a whole run); then the run is resumed."""
    more = [*ADAPTERS[adapter], "--steps", "40", "--checkpoint-every", "9", "--eval-every", "7"]
    began = time.perf_counter()
    output, _ = begin(folder, name, tmp_path / "expected", *more).communicate()
    duration = time.perf_counter() - began
    assert b"done: 40 steps;" in output, output.decode()
    random: Any = np.random.default_rng(len(name))
    for number in range(KILLS):
        out = tmp_path / f"run-{number}"
        process = begin(folder, name, out, *more)
        time.sleep(random.uniform(0, 1.2 * duration))
        process.kill()
        process.communicate()
        resumes = ["--resume"] if out.exists() else []  # a kill before the folder exists has left nothing to resume
        output, _ = begin(folder, name, out, *more, *resumes).communicate()
        assert b"done: 40 steps;" in output, output.decode()
        assert_same_run(out, tmp_path / "expected")
