"""Signals to stop: they clean up before training, and let an update finish during it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llm.training.signals import Terminated, cleaning_up, stop_requests
from tests.llm.trainings import SHAPE

SCRIPT = Path(__file__).parents[2] / "train.py"
pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, *(pytest.param(each, marks=pytest.mark.slow) for each in (signal.SIGINT, signal.SIGHUP))]
)
def test_a_signal_during_setup_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    os.mkfifo(tmp_path / "text")  # a text that never comes
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), "--data", "text", *SHAPE], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "runs/default-1").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, err
    assert err.startswith("train.py: interrupted")
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_termination_raises_where_things_are_cleaned_up(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    try:
        signal.signal(number, signal.SIG_DFL)
        with pytest.raises(Terminated) as stop, cleaning_up():
            signal.raise_signal(number)
        assert stop.value.number == number
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("block", [cleaning_up, stop_requests])
def test_what_is_ignored_stays_ignored(number: signal.Signals, block: object) -> None:
    """As SIGHUP under nohup."""
    before = signal.getsignal(number)
    try:
        signal.signal(number, signal.SIG_IGN)
        with block() as received:  # type: ignore[operator]
            signal.raise_signal(number)
        assert not received
        assert signal.getsignal(number) == signal.SIG_IGN
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_is_noted_and_the_second_one_raises(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    try:
        if number != signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
        with cleaning_up(), stop_requests() as received:
            signal.raise_signal(number)
            assert received == [number]
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(number)
    finally:
        signal.signal(number, before)
