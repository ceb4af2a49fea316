"""The loop around the updates: metrics, picture, messages, samples, and giving up."""

from __future__ import annotations

import io
import json
import math
import os
import re
import signal
import sys
import tracemalloc
import warnings
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.image import imread
from tqdm import tqdm

from llm.evaluation.loss import Evaluation
from llm.inference.text import SAMPLE_TOKENS, write_sample
from llm.model.gpt import GPT
from llm.runs.errors import RunError
from llm.runs.files import digest
from llm.runs.loss_picture import MOST_POINTS, _smoothed, _thinned, draw_losses
from llm.runs.metrics import FIELDS, Metrics, read_metrics
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


@pytest.mark.parametrize("damage", ["[" * 100_000, "nonsense", "[3]", '{"step": 3}'])
def test_lines_that_cannot_be_read_are_left_out_and_counted(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("\n".join([json.dumps(line(1)), damage, json.dumps(line(2)), json.dumps(line(3)), '{"half']))
    file = Metrics(path, 2)
    file.close()
    assert file.unreadable == 1, "the half line after a kill does not count"
    assert read_metrics(path) == [line(1), line(2)]


def test_lines_that_were_left_out_are_said(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    train(tmp_path / "run", "--steps", "3")
    path = tmp_path / "run/metrics.jsonl"
    path.write_text("[" * 100_000 + "\n" + path.read_text())
    capsys.readouterr()
    resume(tmp_path / "run", "--steps", "4")
    assert f"{path}: lines that cannot be read are left out, 1 in all" in capsys.readouterr().out
    assert len(metrics(tmp_path / "run")) == 4


def test_metrics_take_no_memory_for_each_step(tmp_path: Path) -> None:
    """5,000 lines, each kept as a dictionary, would take 2 MB."""
    file = Metrics(tmp_path / "metrics.jsonl", 0)
    tracemalloc.start()
    for step in range(5_000):
        file.add(**line(step))
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    file.close()
    assert held < 200_000


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


# What may stand in a line of metrics.jsonl that somebody has edited.
odd_values = st.one_of(
    st.none(), st.booleans(), st.text(max_size=3), st.lists(st.integers(), max_size=2), st.floats(), st.integers(),
    st.sampled_from([1e308, -1e308, 10**400, 5e-324, 1e30]),
)  # fmt: skip


@given(
    values=st.lists(st.fixed_dictionaries(dict.fromkeys(FIELDS[1:], odd_values)), min_size=1, max_size=5),
    title=st.text(max_size=10),
)
@settings(max_examples=settings().max_examples // 2)
def test_a_picture_is_drawn_of_any_values_under_any_name(
    tmp_path_factory: pytest.TempPathFactory, values: list[dict[str, Any]], title: str
) -> None:
    folder = tmp_path_factory.mktemp("picture")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_losses([line(step, **row) for step, row in enumerate(values)], folder / "loss.png", title)
    assert imread(folder / "loss.png").std() > 0.01


@pytest.mark.parametrize("name", ["a$^$", "a\udcff", "$\\frac{", "漢", "a\nb", "{}%"])
def test_a_run_may_have_any_name_in_its_picture(tmp_path: Path, name: str) -> None:
    draw_losses([line(1)], tmp_path / "loss.png", f"{name}, step 1")
    assert imread(tmp_path / "loss.png").ndim == 3


@pytest.mark.parametrize(
    "error", [RuntimeError("broken\nfont"), ValueError("x"), PermissionError(13, "Permission denied")]
)
def test_a_picture_that_cannot_be_drawn_is_said_once_and_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, error: Exception
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr("llm.runs.run.draw_losses", fail)
    monkeypatch.setattr("llm.training.loop.DRAWING_SHARE", 1e9)  # at every checkpoint
    assert train(tmp_path / "run", "--steps", "4", "--checkpoint-every", "1") == 0
    out = capsys.readouterr().out
    said = " ".join(str(error).split())
    assert out.count(f"loss.png could not be drawn ({said}); training goes on without it\n") == 1
    assert "picture of losses" not in out
    assert len(metrics(tmp_path / "run")) == 4


def test_without_matplotlib_training_says_so_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr("llm.runs.run.draw_losses", draw_losses)
    assert train(tmp_path / "run", "--steps", "2", "--eval-every", "1") == 0
    out = capsys.readouterr().out
    said = out.index("no loss.png will be drawn, because matplotlib cannot be imported (")
    assert said < out.index("step 1: validation")
    assert out.count("loss.png") == 1
    assert len(metrics(tmp_path / "run")) == 2


def test_pictures_take_a_small_part_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock of the test: a step takes 1 second, a picture 2. Each evaluation is the best so far."""
    clock, drawn = {"now": 0.0}, []

    def draw(lines: Any, path: Path, title: str) -> None:
        assert len(list(lines)) == int(title.split()[-1])
        drawn.append(clock["now"])
        clock["now"] += 2.0

    evaluate, count = Trainer.evaluate, iter(range(10_000))
    better = lambda trainer: (Evaluation(10.0 - next(count) / 1000), evaluate(trainer) is not None)  # noqa: E731
    monkeypatch.setattr(Trainer, "evaluate", better)
    monkeypatch.setattr("llm.runs.run.draw_losses", draw)

    def now() -> float:
        clock["now"] += 1e-6
        return clock["now"]

    monkeypatch.setattr("llm.training.loop.time.perf_counter", now)
    monkeypatch.setattr("llm.training.loop.DRAWING_SHARE", 0.2)
    for step in range(30):
        interrupt_at(monkeypatch, step, lambda: clock.update(now=clock["now"] + 1.0))
    train(tmp_path / "run", "--steps", "30", "--eval-every", "1", "--checkpoint-every", "1000")
    assert [round(time) for time in drawn[:3]] == [1, 13, 25], "after 10 seconds, 5 times those of the picture before"
    assert len(drawn) == 4, "and at the end"


@given(values=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300), gaps=st.data())
def test_the_smoothed_curve_lies_between_its_values_and_leaves_a_straight_line_as_it_is(
    values: list[float], gaps: st.DataObject
) -> None:
    curve = _smoothed(np.array(values))
    assert (curve[0], curve[-1]) == (values[0], values[-1])
    slack = 1e-12 * np.abs(values).max()  # sums of up to 25 values are rounded, each time by 1e-16
    assert min(values) - slack <= curve.min() and curve.max() <= max(values) + slack
    line = values[0] + 0.001 * (values[-1] - values[0]) * np.arange(len(values))
    np.testing.assert_allclose(_smoothed(line), line, rtol=0, atol=1e-12 * np.abs(line).max())
    present = np.array(gaps.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values))))
    constant = _smoothed(np.where(present, values[0], np.nan))
    np.testing.assert_allclose(constant[np.isfinite(constant)], values[0], rtol=0, atol=slack)
    assert np.isfinite(constant[present]).all()


@given(seed=st.integers(0, 2**32 - 1))
def test_the_smoothed_curve_does_not_lag_where_losses_fall_fast(seed: int) -> None:
    """Losses of 500 steps, from 8.4 to 2, with noise of 0.15. An average of the values before would be 0.7 above."""
    rng, steps = np.random.default_rng(seed), np.arange(500)
    smooth = 2 + 6.4 * np.exp(-steps / 60)
    curve = _smoothed(smooth + rng.normal(0, 0.15, 500))
    assert np.abs((curve - smooth)[1:100]).max() < 0.4
    assert abs(np.mean((curve - smooth)[1:100])) < 0.1
    assert np.std((curve - smooth)[100:-20]) < 0.06, "and noise is taken out"


@given(values=st.lists(st.floats(-9, 9) | st.just(math.nan), min_size=1, max_size=6000))
def test_a_line_of_few_points_has_the_same_extremes(values: list[float]) -> None:
    array = np.array(values)
    steps, thin = _thinned(np.arange(len(values)), array)
    assert len(steps) == len(thin) <= MOST_POINTS
    if np.isfinite(array).any():
        assert (np.nanmin(thin), np.nanmax(thin)) == (np.nanmin(array), np.nanmax(array))
    assert set(thin[np.isfinite(thin)].tolist()) <= set(values)


STEPS_AND_SPREADS = product([1, 2, 8, 30, 100, 1000], [1.0, 1.3, 5.0, 1000.0])
SOME = [(1, 1.0), (2, 1.3), (8, 1000.0), (100, 5.0), (1000, 1.3)]


@pytest.mark.parametrize(
    ("count", "spread"),
    [pytest.param(*each, marks=[] if each in SOME else pytest.mark.slow) for each in STEPS_AND_SPREADS],
)
def test_labels_of_the_picture_do_not_lie_on_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, spread: float
) -> None:
    figures = []
    savefig = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda figure, *a, **k: (figures.append(figure), savefig(figure, *a, **k))[1]
    )
    lines = [line(step, grad_norm=spread ** (step / count), lr=0.001 * step) for step in range(1, count + 1)]
    draw_losses(lines, tmp_path / "loss.png", "a run")
    for axes in figures[0].axes:
        assert_apart([label.get_window_extent() for label in visible_labels(axes.yaxis)], "y")
        assert axes.yaxis.label.get_window_extent().x0 >= 0, "the name of an axis is not cut off"
    labels = visible_labels(figures[0].axes[-1].xaxis)
    assert_apart([label.get_window_extent() for label in labels], "x")
    assert all(re.fullmatch(r"\u2212?\d+", label.get_text()) for label in labels), "steps are whole numbers"


def visible_labels(axis: Any) -> list[Any]:
    low, high = sorted(axis.get_view_interval())
    ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    return [tick.label1 for tick in ticks if low <= tick.get_loc() <= high and tick.label1.get_text()]


def assert_apart(boxes: list[Any], direction: str) -> None:
    edges = sorted((getattr(box, f"{direction}0"), getattr(box, f"{direction}1")) for box in boxes)
    assert all(one[1] <= two[0] for one, two in zip(edges, edges[1:])), edges


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


@pytest.mark.parametrize("last", range(MAX_SKIPPED))
def test_updates_that_were_skipped_up_to_the_end_are_said_there_with_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, last: int
) -> None:
    """Too few for training to stop, and the loss of the weights before them may be finite."""
    without_pictures(monkeypatch)
    spoil_losses(monkeypatch, {1, *range(7 - last, 7)})
    assert train(tmp_path / "run", "--steps", "7") == 0
    said = capsys.readouterr().out.split("\ndone: 7 steps;")[1]
    advice = "; try a smaller --lr, a longer --warmup or --clip 1\n"
    assert (f"\nthe last updates were skipped, {last} in all, because " in said) == (advice in said) == (last > 0)


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


@pytest.mark.parametrize("options", ["--steps 4", "--steps 3 --sample-every 1", "--steps 2 --eval-every 1"])
def test_a_short_run_that_diverges_ends_with_the_same_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: str
) -> None:
    """Too short for MAX_SKIPPED updates: the first update has ruined the weights."""
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        interrupt_after_first(patch)
        with pytest.raises(
            TrainingStopped, match=r"diverged, its losses are not finite, so training stops .* smaller --lr"
        ):
            train(out, *options.split(), "--checkpoint-every", "1")
    assert all(each["train_loss"] is None for each in metrics(out)[1:])
    assert Run(out).checkpoints.load() is None, "ruined weights are not saved"
    resume(out, "--lr", "1e-5", "--steps", "5")
    assert all(each["train_loss"] is not None for each in metrics(out))


def interrupt_after_first(patch: pytest.MonkeyPatch) -> None:
    """Make all weights NaN after the first update, as a learning rate of 1e30 does."""
    update = Trainer.update

    def ruin(trainer: Trainer) -> Any:
        result = update(trainer)
        for parameter in trainer.model.parameters():
            parameter.data[...] = math.nan
        return result

    patch.setattr(Trainer, "update", ruin)


# --- what is said -----------------------------------------------------------------------------------------------------


def test_the_last_lines_tell_what_was_made_and_what_to_type_next(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "run"
    given = "--steps 4 --eval-every 2 --sample-every 0 --prompt the --threads 2"
    train(out, *given.split(), sample=write_sample)
    said = capsys.readouterr().out
    last = metrics(out)[-1]["val_loss"]
    assert said.endswith(
        f"---\ndone: 4 steps; best validation loss {last:.4f}\n"
        f"  model and metrics   {out}/\n"
        f"  picture of losses   {out / 'loss.png'}\n"
        f"  let it write        python generate.py --run {out}\n"
    )
    assert re.search(
        r"^[\d,]+ parameters, vocabulary \d+, context 8, on 2 processes\n"
        r"[\d,]+ training tokens \(.*text\.txt\), \d+ steps an epoch\n"
        r"4 steps of 5 sequences; run folder ",
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
def test_a_run_without_an_evaluation_names_no_best_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, 2, lambda: signal.raise_signal(signal.SIGINT))
        assert train(out, "--steps", "9", "--eval-every", "9") == 130
    assert resume(out, "--steps", "1") == 0
    said = capsys.readouterr().out
    assert "done: 3 steps; no validation loss yet\n" in said and said.endswith(f"python generate.py --run {out}\n")


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
            "llm.runs.run.draw_losses",
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


def test_a_slow_step_gets_one_line_in_a_log_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """tqdm has a thread that draws a bar again when nothing was done for long: in a file, the same line twice."""
    monkeypatch.setenv("CI", "true")
    monkeypatch.setattr("sys.stderr", log := Terminal())
    without_monitor(monkeypatch)
    monkeypatch.setattr("tqdm.std.tqdm.monitor_interval", 10)  # its default
    clock = {"now": 0.0}
    monkeypatch.setattr("tqdm.std.time", lambda: clock["now"])
    with closing(display.bar(total=9)) as bar:
        assert bar.monitor is None  # no thread was started
        for _ in range(9):
            clock["now"] += 50.0
            bar.update()
    assert re.findall(r"(\d)/9 \[", log.getvalue()) == list("123456789")


@pytest.mark.parametrize(("steps", "tokens", "cells"), [(1, 1, 15), (1000, 123_456, 6), (100_000, 123_456, 3)])
def test_at_80_columns_there_is_room_for_the_bar(
    monkeypatch: pytest.MonkeyPatch, steps: int, tokens: int, cells: int
) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr("sys.stderr", Terminal())
    without_monitor(monkeypatch)
    with closing(display.bar(total=steps, bar_format=display.BAR_FORMAT)) as bar:
        bar.ncols, bar.dynamic_ncols, bar.ascii = 79, False, False  # tqdm leaves the last column free
        bar.set_postfix_str(f"loss=5.644, lr=4.0e-05, {tokens:,} tokens/s", refresh=False)
        bar.n = steps
        shown = str(bar)
    assert len(shown) <= 79
    assert shown.endswith(" tokens/s]")
    assert shown.count("█") >= cells


@pytest.mark.parametrize("name", ["default", "nanogpt-char"])
def test_what_a_preset_prints_fits_80_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    largest = Evaluation(math.log(4096.0), 4.5)  # of a vocabulary of 4,096, before anything is learned
    monkeypatch.setattr(Trainer, "evaluate", lambda trainer: (largest, True))
    Path("runs").mkdir()
    train(Path("runs") / f"{name}-1", "--preset", name, "--steps", "100", "--eval-every", "50", "--sample-every", "0")
    said = [each for each in capsys.readouterr().out.splitlines() if not each.startswith("  let it write")]
    assert any("perplexity 4096.00" in each for each in said)
    sample = next(number for number, each in enumerate(said) if each.startswith("--- step"))
    assert max(map(len, said[:sample])) <= 80


def test_standard_output_that_cannot_be_written_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("sys.stdout", Full())
        assert train(tmp_path / "run", "--steps", "2") == 0
    assert "standard output cannot be written (No space left on device)" in capsys.readouterr().err
    assert len(metrics(tmp_path / "run")) == 2


@pytest.mark.parametrize("every", [2, 100])
@pytest.mark.parametrize("step", [0, 1, 2, 3])
def test_a_signal_at_any_step_leaves_a_checkpoint_of_that_step(
    step: int, every: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_pictures(monkeypatch)
    interrupt_at(monkeypatch, step, lambda: os.kill(os.getpid(), signal.SIGINT))
    options = ("--steps", "9", "--checkpoint-every", str(every), "--eval-every", "100")
    assert train(tmp_path / "run", *options) == 128 + signal.SIGINT
    assert Run(tmp_path / "run").checkpoints.steps()[0] == step + 1  # the update under way is finished


def test_training_ends_when_the_program_that_reads_its_output_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(*_: Any, **__: Any) -> None:
        raise BrokenPipeError

    for terminal in (True, False):
        monkeypatch.setattr(display, "at_terminal", lambda terminal=terminal: terminal)
        monkeypatch.setattr(display.tqdm, "write", write)
        monkeypatch.setattr("builtins.print", write)
        with pytest.raises(BrokenPipeError):
            display.print_line("a line")


def test_a_finished_run_that_is_resumed_does_not_repeat_its_sample(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    train(tmp_path / "run", "--steps", "2")
    assert "writes:" in capsys.readouterr().out
    resume(tmp_path / "run")
    out = capsys.readouterr().out
    assert "writes:" not in out
    assert "done: 2 steps" in out


def test_stages_follow_each_other_on_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two bars below each other would move the cursor up and down, and leave it in the last column."""
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    without_monitor(monkeypatch)
    with display.stages() as report:
        for stage in ("counting", "merging", "tokenizing"):
            report(stage, 1, 2)
            report(stage, 2, 2)
    shown = terminal.getvalue()
    assert "\n" not in shown and "\x1b" not in shown
    assert shown.endswith("\r"), "the next message begins in the first column"
    assert [stage for stage in ("counting", "merging", "tokenizing") if stage in shown] == [
        "counting",
        "merging",
        "tokenizing",
    ]


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
