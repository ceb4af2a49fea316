"""The loop around the updates: metrics, picture, messages, samples, and giving up."""

from __future__ import annotations

import io
import json
import math
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread
from tqdm import tqdm

from llm.inference.text import SAMPLE_TOKENS
from llm.model.gpt import GPT
from llm.runs.errors import RunError
from llm.runs.files import digest
from llm.runs.metrics import FIELDS, Metrics, draw_losses, read_metrics
from llm.runs.run import Run
from llm.training import display
from llm.training.loop import MAX_SKIPPED, TrainingStopped
from llm.training.trainer import Trainer
from tests.llm.trainings import interrupt_at, metrics, resume, train, without_pictures


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.setenv("MINIGRAD_CACHE", str(tmp_path / "cache"))
    if "picture" not in request.node.name:
        without_pictures(monkeypatch)


def spoil_losses(patch: pytest.MonkeyPatch, steps: set[int]) -> None:
    """Make the losses of the updates after so many steps NaN; evaluations stay as they are."""
    loss, spoiled = GPT.loss, {"now": False}
    update = Trainer.update

    def spoiling(trainer: Trainer) -> Any:
        spoiled["now"] = trainer.state.step in steps
        try:
            return update(trainer)
        finally:
            spoiled["now"] = False

    patch.setattr(Trainer, "update", spoiling)
    patch.setattr(GPT, "loss", lambda *args, **more: loss(*args, **more) * (math.nan if spoiled["now"] else 1.0))


# --- metrics ----------------------------------------------------------------------------------------------------------


def test_metrics_have_one_line_for_each_step(tmp_path: Path) -> None:
    train(tmp_path / "run", "--steps", "5", "--eval-every", "2", "--warmup", "2", "--lr", "0.5", "--min-lr", "0.1")
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [list(line) for line in lines] == 5 * [list(FIELDS)]
    assert FIELDS == ("step", "train_loss", "val_loss", "lr", "grad_norm", "tokens_per_second", "elapsed")
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5]
    assert [line["val_loss"] is not None for line in lines] == [False, True, False, True, True]
    assert [line["lr"] for line in lines[:3]] == pytest.approx([0.5 / 3, 1.0 / 3, 0.5])
    assert all(line["train_loss"] > 0 and line["grad_norm"] > 0 and line["tokens_per_second"] > 0 for line in lines)
    elapsed = [line["elapsed"] for line in lines]
    assert elapsed == sorted(elapsed)
    best = min(line["val_loss"] for line in lines if line["val_loss"] is not None)
    assert best == Run(tmp_path / "run").checkpoints.load().state["best_loss"]  # type: ignore[union-attr]


def line(step: int, **values: Any) -> dict[str, Any]:
    return {**dict.fromkeys(FIELDS, 1.5), "step": step, "val_loss": None, **values}


@pytest.mark.parametrize(
    "cut", ["", '{"step": 3, "train_lo', '{"step": 3}\n', "[3]\n", "\x00\x00\n", json.dumps(line("3")) + "\n"]
)  # type: ignore[arg-type]
def test_lines_after_the_checkpoint_and_incomplete_lines_are_dropped(tmp_path: Path, cut: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(line(step)) + "\n" for step in (1, 2, 3)) + cut)
    file = Metrics(path, 2)
    file.add(**line(3, train_loss=9.0))
    file.close()
    assert read_metrics(path) == [line(1), line(2), line(3, train_loss=9.0)]
    assert len(path.read_text().splitlines()) == 3


def test_json_has_no_nan(tmp_path: Path) -> None:
    file = Metrics(tmp_path / "metrics.jsonl", 0)
    file.add(**line(1, train_loss=math.nan, grad_norm=math.inf, val_loss=-math.inf))
    file.close()
    text = (tmp_path / "metrics.jsonl").read_text()
    found = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert (found["train_loss"], found["grad_norm"], found["val_loss"]) == (None, None, None)


def test_lines_reach_the_file_with_a_checkpoint(tmp_path: Path) -> None:
    file = Metrics(tmp_path / "metrics.jsonl", 0)
    file.add(**line(1))
    file.flush()
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 1
    file.close()


# --- the picture ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [line(1)],
        [line(1, val_loss=2.0)],
        [line(step) for step in range(1, 40)],
        [line(1, train_loss=None, grad_norm=None), line(2, train_loss=None, grad_norm=None)],
        [line(1, grad_norm=0.0, lr=0.0)],
    ],
)
def test_a_picture_is_a_png_for_any_metrics(tmp_path: Path, lines: list[dict[str, Any]]) -> None:
    path = tmp_path / "loss.png"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_losses(lines, path, "a run")
    pixels = imread(path)
    assert pixels.shape[0] > 300
    assert pixels.shape[1] > 500
    assert pixels.std() > 0.01, "something is drawn"
    assert [each.name for each in tmp_path.iterdir()] == ["loss.png"]


def test_a_picture_is_drawn_at_the_end_and_when_training_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(tmp_path / "run", "--steps", "1")
    assert imread(tmp_path / "run/loss.png").ndim == 3
    spoil_losses(monkeypatch, set(range(1, 100)))
    with pytest.raises(TrainingStopped):
        resume(tmp_path / "run", "--steps", "9")
    assert len(metrics(tmp_path / "run")) == 1 + MAX_SKIPPED


# --- losses that are not finite ---------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_skips_the_update_and_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    spoil_losses(monkeypatch, {2, 3})
    train(tmp_path / "run", "--steps", "7", "--checkpoint-every", "1")
    out = capsys.readouterr().out
    assert out.count("update skipped") == 2
    assert "step 3: loss nan and gradient norm nan are not both finite; update skipped" in out
    lines = metrics(tmp_path / "run")
    assert [each["train_loss"] is None for each in lines] == [False, False, True, True, False, False, False]


def test_after_several_skipped_updates_training_stops_with_advice_and_keeps_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    options = ["--steps", "20", "--checkpoint-every", "2", "--eval-every", "100"]
    with monkeypatch.context() as patch:
        spoil_losses(patch, set(range(5, 20)))
        with pytest.raises(
            TrainingStopped,
            match=rf"{MAX_SKIPPED} updates in a row .* stops at step 10; try a smaller --lr, .* "
            rf"python train.py --resume --out {out} --lr \.\.\.",
        ):
            train(out, *options)
    assert Run(out).checkpoints.load().step == 8  # type: ignore[union-attr]  # not 10: it could not go on from there
    assert [each["train_loss"] is None for each in metrics(out)] == [False] * 5 + [True] * 5
    resume(out, "--lr", "1e-5")
    assert len(metrics(out)) == 20
    assert all(each["train_loss"] is not None for each in metrics(out)[8:])


# --- what is said -----------------------------------------------------------------------------------------------------


def test_the_last_lines_tell_what_was_made_and_what_to_type_next(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "run"
    train(out, "--steps", "4", "--eval-every", "2", "--sample-every", "0", "--prompt", "the")
    said = capsys.readouterr().out
    last = metrics(out)[-1]["val_loss"]
    assert said.endswith(
        f"---\ndone: 4 steps; best validation loss {last:.4f}\n"
        f"  model and metrics   {out}/\n"
        f"  picture of losses   {out / 'loss.png'}\n"
        f"  let it write        python generate.py --run {out}\n"
    )
    assert re.search(
        r"^[\d,]+ parameters, vocabulary \d+, context 8, [\d,]+ training tokens \(.*text\.txt\)\n"
        r"4 steps of 5 sequences, \d+ steps an epoch, on 2 processes; run folder ",
        said,
    )
    assert said.count("writes:") == 1, "the last sample comes also with --sample-every 0"
    sample = said.split("writes:\n")[1].split("\n---")[0]
    assert sample.startswith("the")
    assert len(sample) == 3 + SAMPLE_TOKENS


def test_samples_along_the_way_and_at_the_end(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    train(tmp_path / "run", "--steps", "5", "--sample-every", "2")
    assert re.findall(r"--- step (\d) writes:", capsys.readouterr().out) == ["2", "4", "5"]


@pytest.mark.filterwarnings("error")
def test_the_best_checkpoint_is_named_when_it_is_not_the_last(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "run"
    given = "--steps 9 --eval-every 3 --lr 30 --warmup 0 --schedule constant --clip 0"
    train(out, *given.split())
    best = min(metrics(out), key=lambda each: each["val_loss"] or math.inf)
    assert best["step"] < 9, "a learning rate of 30 does no good"
    said = capsys.readouterr().out
    assert f"best validation loss {best['val_loss']:.4f}, at step {best['step']}\n" in said
    assert said.endswith(f"python generate.py --run {out} --checkpoint best\n")
    assert Run(out).checkpoints.load("best").step == best["step"]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("operation", "complaint"),
    [
        (
            "llm.runs.checkpoints.save_file",
            "the checkpoint of step 6 could not be written to .*No space left on device.*make room there",
        ),
        (
            "llm.training.loop.draw_losses",
            "metrics or picture could not be written to .*No space left on device.*make room there, and go on with: "
            "python",
        ),
    ],
)
def test_a_full_disk_gives_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str, complaint: str
) -> None:
    out = tmp_path / "run"
    train(out, "--steps", "3")
    before = digest(out / "model.safetensors")

    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(operation, full)
        with pytest.raises(RunError, match=complaint):
            resume(out, "--steps", "6")
    assert (digest(out / "model.safetensors") == before) is (operation == "llm.runs.checkpoints.save_file")
    resume(out, "--steps", "6")
    assert len(metrics(out)) == 6


# --- the bar ----------------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar_with_loss_rate_speed_and_time_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    without_monitor(monkeypatch)
    train(tmp_path / "run", "--steps", "3")
    last = terminal.getvalue().split("\r")[-1]
    assert re.search(r"3/3 \[00:\d\d<00:00.*loss=\d\.\d{3}, lr=\d\.\de-\d\d, [\d,]+ tokens/s", last)


def without_monitor(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that an earlier bar has left would refresh this one, by a clock of its own."""
    monkeypatch.setattr("tqdm.std.tqdm.monitor_interval", 0)
    # tqdm stores the thread in the class of the bar that started it, so each of the two classes may have one.
    for cls in (tqdm, display.LogBar):
        if cls.monitor is not None:
            cls.monitor.exit()
        monkeypatch.setattr(cls, "monitor", None)


@pytest.mark.parametrize("ci", [True, False])
def test_a_log_file_gets_a_whole_line_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ci: bool) -> None:
    """Every 30 seconds; here, steps take 10."""
    monkeypatch.setenv("CI", "true" if ci else "")
    monkeypatch.setattr("sys.stderr", log := Terminal() if ci else io.StringIO())
    without_monitor(monkeypatch)
    clock = {"now": 0.0}
    monkeypatch.setattr("tqdm.std.time", lambda: clock["now"])
    for step in range(12):
        interrupt_at(monkeypatch, step, lambda: clock.update(now=clock["now"] + 10.0))
    train(tmp_path / "run", "--steps", "12", "--eval-every", "4")
    lines = log.getvalue().splitlines()
    assert [re.search(r"(\d+)/12 \[", each).group(1) for each in lines] == ["3", "6", "9", "12"]  # type: ignore[union-attr]
    assert "\r" not in log.getvalue()
    assert re.search(r"loss=\d\.\d{3}, lr=.* tokens/s", lines[0])


def test_each_stage_has_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    without_monitor(monkeypatch)
    with display.stages() as report:
        report("counting", 1, 10)
        report("counting", 10, 10)
        report("merging", 5, None)
    assert "counting" in terminal.getvalue()
    assert "merging" in terminal.getvalue()


def test_a_tiny_model_learns(tmp_path: Path) -> None:
    """A text of one phrase. (At rates of 0.01 the last bits of rounding decide how well it generalises.)"""
    (tmp_path / "text.txt").write_text("the cat sat on the mat. " * 60)
    training = "--steps 200 --eval-every 200 --lr 0.003 --min-lr 0.0003 --warmup 10 --schedule cosine --beta2 0.99"
    model = "--weight-decay 0 --dropout 0 --layers 2 --dim 32 --positions rope --norm rmsnorm --mlp swiglu"
    train(tmp_path / "run", *training.split(), *model.split())
    assert metrics(tmp_path / "run")[0]["train_loss"] == pytest.approx(np.log(11), abs=0.2), (
        "11 characters, of which it knows nothing"
    )
    assert metrics(tmp_path / "run")[-1]["val_loss"] < 1.2, "knowing only how frequent each character is would give 2.1"
