"""train.py --profile: a table and a picture of a few steps, of all threads, and the same weights as without."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from llm.runs.run import PROFILE, Run
from llm.training.profiling import MEASURED_STEPS, NOTE_ON_GPU_TIMES, WARM_UP_STEPS
from minigrad.modes import mode
from minigrad.profiler import Profile
from tests.llm.trainings import Killed, assert_same_run, interrupt_at, kill, resume, train, without_pictures


@pytest.fixture(autouse=True)
def _there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIGRAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    without_pictures(monkeypatch)


@pytest.mark.parametrize(("threads", "micro_batches"), [(1, 1), (2, 1), (3, 2)])
def test_a_profile_shows_steps_3_to_7_and_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture, threads: int, micro_batches: int
) -> None:
    options = ["--steps", "9", "--threads", str(threads), "--micro-batches", str(micro_batches), "--dropout", "0.1"]
    train(tmp_path / "plain", *options)
    capsys.readouterr()
    assert train(tmp_path / "run", *options, "--profile") == 0
    shown = capsys.readouterr().out
    assert_same_run(tmp_path / "run", tmp_path / "plain")
    assert "a step, as the mean of steps 3 to 7, by op and by part of the model:" in shown
    assert f"live memory during step 7: {tmp_path / 'run' / PROFILE}" in shown
    assert shown.index("by part of the model") < shown.index("validation"), "then it goes on"

    calls = {name: float(count) for name, count in re.findall(r"^([\w.*]+) +([\d.]+) +", shown, re.MULTILINE)}
    rows = [len(part) for part in np.array_split(range(5), micro_batches)]  # of the batch of 5, one after the other
    parts = sum(min(threads, n) for n in rows)  # each worked through on its own
    assert calls["linear"] == 3 * parts  # qkv, out and down of one layer
    assert calls["blocks.*.mlp.up"] == calls["linear_activation"] == calls["linear_cross_entropy"] == parts
    assert calls["AdamW"] == 2 * threads  # matrices with weight decay, and the rest without
    coverage = re.findall(
        r"^total [\d.]+ ms, (\d+)% of [\d.]+ ms"
        + (f" in each of {threads} workers" if threads > 1 else "")
        + ", mean of 5 blocks;",
        shown,
        re.MULTILINE,
    )
    assert len(coverage) == 2
    assert all(0 < int(share) <= 100 for share in coverage)
    assert NOTE_ON_GPU_TIMES not in shown

    picture = (tmp_path / "run" / PROFILE).read_text()
    assert picture.startswith("<svg")
    assert {name for name in ("MainThread", "worker_0", "worker_1", "worker_2") if name in picture} == {
        1: {"MainThread"},
        2: {"MainThread", "worker_0"},
        3: {"MainThread", "worker_0", "worker_1"},
    }[threads]


@pytest.mark.control
def test_without_the_option_nothing_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Profile, "__enter__", lambda profile: kill())
    train(tmp_path / "run", "--steps", "4")
    assert "mean of" not in capsys.readouterr().out
    assert not (tmp_path / "run" / PROFILE).exists()
    with pytest.raises(Killed):
        train(tmp_path / "profiled", "--steps", "4", "--profile")


def test_the_option_is_not_stored_with_the_run(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    train(tmp_path / "run", "--steps", "2")
    resume(tmp_path / "run", "--steps", "6", "--profile")
    assert "the mean of steps 5 to 6," in capsys.readouterr().out, "the first two of this command are left alone"
    assert "profile" not in json.loads((tmp_path / "run/config.json").read_text())["training"]
    assert not Run(tmp_path / "run").options().training.profile


def test_too_few_steps_are_reported_and_trained(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert train(tmp_path / "run", "--steps", str(WARM_UP_STEPS), "--profile") == 0
    message = "--profile: the first 2 steps are not measured, and there are no more; give a larger --steps"
    assert message in capsys.readouterr().out
    assert Run(tmp_path / "run").checkpoints.load().step == WARM_UP_STEPS  # type: ignore[union-attr]


def test_an_error_in_a_measured_step_stops_the_profiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_at(monkeypatch, WARM_UP_STEPS + MEASURED_STEPS - 1, kill)
    with pytest.raises(Killed):
        train(tmp_path / "run", "--steps", "9", "--profile")
    assert Profile.running is None
    assert mode.op_hook is None


def test_on_a_gpu_a_note_explains_the_times(tmp_path: Path, capsys: pytest.CaptureFixture, cupy: object) -> None:
    train(tmp_path / "run", "--steps", "3", "--profile", "--device", "cuda")
    assert NOTE_ON_GPU_TIMES in capsys.readouterr().out
