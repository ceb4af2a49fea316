"""A run that was killed or stopped and resumed is the run that was not, bit for bit.

Kills of this process are played (an exception that nothing catches) and real: `kill -9` of train.py at instants that
are drawn. As many as you like: MINIGRAD_KILLS=20 python -m pytest tests/llm/test_training_resume.py -k kill_9
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.model.gpt import GPT
from llm.runs.errors import RunError
from llm.runs.run import Run
from llm.training.trainer import Trainer
from tests.llm.trainings import (
    Killed,
    arguments,
    assert_same_run,
    interrupt_at,
    kill,
    metrics,
    resume,
    train,
    weights,
    without_pictures,
    write_task,
)

SCRIPT = Path(__file__).parents[2] / "train.py"
KILLS = int(os.environ.get("MINIGRAD_KILLS", "2"))
STEPS = 7


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINIGRAD_CACHE", str(tmp_path_factory.mktemp("cache")))
        without_pictures(patch)
        yield


def options(**changes: Any) -> list[str]:
    chosen = {
        "steps": STEPS,
        "threads": 2,
        "dropout": 0.2,
        "checkpoint-every": 3,
        "eval-every": 2,
        "sample-every": 0,
    } | changes
    return [word for name, value in chosen.items() for word in (f"--{name}", str(value))]


def killed_at(step: int, out: Path, *more: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, step, kill)
        with pytest.raises(Killed):
            train(out, *more)


# --- in this process --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("examples", [3, pytest.param(settings().max_examples, marks=pytest.mark.slow)])
def test_a_run_that_was_killed_and_resumed_equals_one_that_was_not(
    tmp_path_factory: pytest.TempPathFactory, examples: int
) -> None:
    @settings(max_examples=examples)
    @given(
        stops=st.lists(st.integers(0, STEPS - 1), min_size=1, max_size=3),
        threads=st.integers(1, 3),
        parts=st.integers(1, 3),
        checkpoint_every=st.integers(1, 4),
        eval_every=st.integers(1, 4),
        optimizer=st.sampled_from(["adamw", "muon", "schedule-free", "averaged"]),
    )
    def check(
        stops: list[int], threads: int, parts: int, checkpoint_every: int, eval_every: int, optimizer: str
    ) -> None:
        folder = tmp_path_factory.mktemp("runs")
        task = write_task(folder / "words.jsonl")
        periods = {"checkpoint-every": checkpoint_every, "eval-every": eval_every, "eval-task": f"choice={task}"}
        chosen = options(**{"threads": threads, "micro-batches": parts}, **periods)
        chosen += ["--ema-decay", "0.5"] if optimizer == "averaged" else ["--optimizer", optimizer]
        train(folder / "expected", *chosen)
        for stop in sorted(stops):
            killed_at(stop, folder / "run", *chosen, *(["--resume"] if Run(folder / "run").exists else []))
        resume(folder / "run")
        assert_same_run(folder / "run", folder / "expected")
        assert [line["step"] for line in metrics(folder / "run")] == list(range(1, STEPS + 1))

    check()


@pytest.mark.control
@pytest.mark.parametrize("forgotten", ["step", "optimizer", "weights"])
def test_a_state_that_forgets_something_is_noticed(
    forgotten: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tmp_path / "expected", *options())
    killed_at(4, tmp_path / "run", *options())
    restore = Trainer.restore

    def forget(trainer: Trainer, checkpoint: Any) -> None:
        before = trainer.state.step, trainer.optimizer.state_dict()
        restore(trainer, checkpoint)
        if forgotten == "step":
            trainer.state.step = before[0]
        elif forgotten == "optimizer":
            trainer.optimizer.load_state_dict(before[1])
        else:
            trainer.model.load_state_dict(GPT(trainer.model.config, trainer.options.seed).state_dict())

    monkeypatch.setattr(Trainer, "restore", forget)
    resume(tmp_path / "run")
    assert weights(tmp_path / "run") != weights(tmp_path / "expected")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_a_checkpoint_and_prints_how_to_continue(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    train(tmp_path / "expected", *options())
    handler = signal.getsignal(number)
    out = tmp_path / "a run"
    with monkeypatch.context() as patch:
        interrupt_at(patch, 4, lambda: signal.raise_signal(number))
        assert train(out, *options(**{"checkpoint-every": 100, "eval-every": 100})) == 128 + number
    assert signal.getsignal(number) is handler
    stopped = Run(out).checkpoints.load()
    assert stopped is not None
    assert stopped.step == 5, "the step that was under way is finished"
    assert capsys.readouterr().out.splitlines()[-1] == (
        f"stopped at step 5 of {STEPS}; go on with: python train.py --resume --out '{out}'"
    )
    assert train(out, *options(), "--resume") == 0
    assert weights(out) == weights(tmp_path / "expected")


def test_a_second_ctrl_c_interrupts_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        interrupt_at(patch, 4, twice)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "run", *options())
    train(tmp_path / "expected", *options())
    resume(tmp_path / "run")
    assert_same_run(tmp_path / "run", tmp_path / "expected")


def test_a_signal_in_the_last_step_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_at(monkeypatch, STEPS - 1, lambda: signal.raise_signal(signal.SIGINT))
    assert train(tmp_path / "run", *options()) == 0


def test_resuming_a_finished_run_only_repairs_what_a_kill_has_left(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """The kill came after the last checkpoint, before its files had their second names."""
    out = tmp_path / "run"
    train(out, *options())
    expected = weights(out)
    for name in ("model.safetensors", "optimizer.safetensors", "state.json"):
        older = (out / "checkpoints/step-00000006" / name).read_bytes()
        (out / name).unlink()
        (out / name).write_bytes(older)
    assert weights(out) != expected
    resume(out)
    assert weights(out) == expected
    assert len(metrics(out)) == STEPS
    assert f"done: {STEPS} steps" in capsys.readouterr().out


def test_a_finished_run_continues_with_more_steps(tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(out, *options())
    resume(out, "--steps", str(STEPS + 2))
    assert [line["step"] for line in metrics(out)] == list(range(1, STEPS + 3))
    assert Run(out).options().training.steps == STEPS + 2


# --- leftovers and damage ---------------------------------------------------------------------------------------------


def test_a_kill_during_setup_does_not_prevent_a_new_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before config.json there is no run: --resume begins one, and so does the same command without it."""
    train(tmp_path / "expected", *options())
    for name, more in (("one", ["--resume"]), ("two", [])):
        with monkeypatch.context() as patch:
            patch.setattr(Run, "write_options", lambda *_: kill())
            with pytest.raises(Killed):
                train(tmp_path / name, *options())
        assert (tmp_path / name / "tokenizer.json").exists()
        assert not Run(tmp_path / name).exists
        train(tmp_path / name, *options(), *more)
        assert_same_run(tmp_path / name, tmp_path / "expected")


def test_half_made_files_are_removed(tmp_path: Path) -> None:
    out = tmp_path / "run"
    killed_at(4, out, *options())
    for place in (out, out / "checkpoints"):
        (place / ".partial-folder").mkdir()
        (place / ".partial-folder/model.safetensors").write_bytes(b"half")
        (place / ".partial-file").write_bytes(b"half")
    resume(out)
    assert not list(out.rglob(".partial-*"))


def test_a_damaged_checkpoint_is_reported_skipped_and_made_again(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    train(tmp_path / "expected", *options())
    out = tmp_path / "run"
    killed_at(5, out, *options())  # checkpoints of steps 3 and 4
    damaged = out / "checkpoints/step-00000004/optimizer.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    resume(out)
    message = f"{damaged} is damaged: its SHA-256 is not the one in state.json; going back to the checkpoint of step 3"
    assert message in capsys.readouterr().out
    assert_same_run(out, tmp_path / "expected")


def test_a_run_without_a_good_checkpoint_is_refused_and_not_changed(tmp_path: Path) -> None:
    out = tmp_path / "run"
    killed_at(5, out, *options())
    for path in out.rglob("model.safetensors"):
        path.write_bytes(b"")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(RunError, match=r"model\.safetensors is damaged.*no checkpoint is left"):
        resume(out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


# --- kill -9 ----------------------------------------------------------------------------------------------------------


def start(out: Path, *more: str, **settings: Any) -> subprocess.Popen:
    command = [sys.executable, str(SCRIPT), *arguments(out, *more)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **settings)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_kill_9_at_any_instant(tmp_path: Path) -> None:
    """Each kill comes at an instant drawn from [0, 1.2 times the time of a whole run); then the run is resumed to its
    end.
    """
    task = write_task(tmp_path / "words.jsonl")
    more = options(**{"steps": 60, "checkpoint-every": 9, "eval-every": 7, "threads": 2, "eval-task": f"choice={task}"})
    began = time.perf_counter()
    output, _ = start(tmp_path / "expected", *more).communicate()
    duration = time.perf_counter() - began
    assert b"done: 60 steps;" in output, output.decode()
    random = np.random.default_rng(9)
    for number in range(KILLS):
        out = tmp_path / f"run-{number}"
        process = start(out, *more)
        time.sleep(random.uniform(0, 1.2 * duration))
        process.kill()
        process.communicate()
        # A kill before the folder exists has left nothing to resume.
        resumes = ["--resume"] if out.exists() else []
        output, _ = start(out, *more, *resumes).communicate()
        assert b"done: 60 steps;" in output, output.decode()
        assert_same_run(out, tmp_path / "expected")
