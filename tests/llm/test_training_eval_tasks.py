"""--eval-task: scores of the model as it is at each evaluation, and nothing else changes."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from llm.evaluation.task_arguments import open_tasks
from llm.evaluation.tasks.predictors import LanguageModel
from llm.evaluation.tasks.results import evaluate_task
from llm.hub.load import load_any
from llm.runs.loss_picture import draw_losses
from llm.runs.metrics import FIELDS
from llm.runs.options import Options
from llm.training.command import parse, start
from llm.training.eval_tasks import score
from tests.llm.trainings import arguments, metrics, resume, train, weights, without_pictures, write_sample, write_task

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIGRAD_CACHE", str(tmp_path / "cache"))
    without_pictures(monkeypatch)


def with_dropout(*more: str) -> list[str]:
    return ["--steps", "5", "--eval-every", "2", "--dropout", "0.2", *more]


def test_scores_are_those_of_the_model_and_training_stays_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    asked = f"choice={write_task(tmp_path / 'words.jsonl')}"
    train(tmp_path / "plain", *with_dropout())
    capsys.readouterr()
    train(tmp_path / "run", *with_dropout("--eval-task", asked, "--eval-task-items", "5"))
    lines, plain = metrics(tmp_path / "run"), metrics(tmp_path / "plain")
    assert [line["step"] for line in lines if "task_choice" in line] == [2, 4, 5]
    assert [{name: x for name, x in line.items() if name != "task_choice"} for line in lines] == plain
    assert weights(tmp_path / "run") == weights(tmp_path / "plain")
    model = LanguageModel(*load_any(tmp_path / "run"))
    expected = evaluate_task(open_tasks([asked], limit=5)[0], model).measures["acc"].value
    assert lines[-1]["task_choice"] == expected
    assert f", choice {expected:.3f}" in next(
        s for s in capsys.readouterr().out.split("\n") if s.startswith("step 5: v")
    )


def test_built_in_tasks_need_no_file(tmp_path: Path) -> None:
    characters = "".join(map(chr, range(32, 127)))  # those of the items
    (tmp_path / "text.txt").write_text((characters + "\n") * 20)
    more = ["--context", "90", "--eval-task", "builtin", "--eval-task-items", "4", "--steps", "1"]
    train(tmp_path / "run", *more)
    scores = {name: value for name, value in metrics(tmp_path / "run")[0].items() if name.startswith("task_")}
    assert list(scores) == [
        f"task_{name}" for name in ["copying", "induction", "brackets", "agreement", "arithmetic", "spelling"]
    ]
    assert all(value * 4 % 1 == 0 for value in scores.values())


def test_tasks_are_added_and_dropped_when_a_run_is_resumed(tmp_path: Path) -> None:
    first = f"choice={write_task(tmp_path / 'choice.jsonl')}"
    description = {"score": "choice", "shapes": [{"context": "{query}", "choices": "choices"}], "metrics": ["acc_norm"]}
    (tmp_path / "other.json").write_text(json.dumps(description))
    second = f"{tmp_path / 'other.json'}={tmp_path / 'choice.jsonl'}"
    run = tmp_path / "run"
    train(run, "--steps", "1", "--eval-every", "1", "--eval-task", first)
    resume(run, "--steps", "2", "--eval-task", second, "--eval-task", first)
    resume(run, "--steps", "3")
    resume(run, "--steps", "4", "--eval-task", "none")
    resume(run, "--steps", "5", "--eval-task", first)
    found = [sorted(name for name in line if name.startswith("task_")) for line in metrics(run)]
    assert found == [["task_choice"], ["task_choice", "task_other"], ["task_choice", "task_other"], [], ["task_choice"]]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--eval-task", "inductions"], "'inductions' is no task; give KIND=FILE"),
        (["--eval-task", "choice=nowhere.jsonl"], "nowhere.jsonl"),
        (["--eval-task", "copying"], "--eval-task copying: copying, line 1: .* is not among the"),
        (["--eval-task", "lambada=rows.jsonl"], "line 1: .* has 9 tokens and the model reads 8"),
        (["--eval-task", "classify=rows.jsonl"], "--eval-task classify is for a classifier"),
    ],
)
def test_a_task_that_cannot_be_solved_is_refused_before_there_is_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_text('{"text": "a underthe", "label": "b"}\n')
    with pytest.raises((ValueError, OSError), match=message):
        train(tmp_path / "run", *more)
    assert not (tmp_path / "run").exists()


def test_a_dry_run_refuses_a_wrong_task_too(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no task"):
        start(*parse(arguments(tmp_path / "run", "--eval-task", "nothing", "--dry-run")), write_sample)


def test_a_model_that_has_diverged_has_no_score(tmp_path: Path) -> None:
    train(tmp_path / "run", "--steps", "1")
    model, tokenizer = load_any(tmp_path / "run")
    task = open_tasks([f"choice={write_task(tmp_path / 'words.jsonl')}"])[0]
    assert 0 <= score(task, model, tokenizer) <= 1
    model.embedding.weight.data[:] = np.nan
    assert math.isnan(score(task, model, tokenizer))


def test_the_options_are_kept_in_config_json() -> None:
    options = Options.from_json({"model": Options().model.to_json(), "training": {"eval_task": ["a", "b=c"]}})
    assert options.training.eval_task == ("a", "b=c")
    assert Options.from_json(json.loads(json.dumps(options.to_json()))) == options
    for wrong in ("a", [1], None):
        with pytest.raises(ValueError, match="eval_task cannot be"):
            Options.from_json({"model": Options().model.to_json(), "training": {"eval_task": wrong}})


@pytest.mark.slow
def test_without_tasks_nothing_of_them_is_imported(tmp_path: Path) -> None:
    command = arguments(tmp_path / "run", "--steps", "1")
    code = f"import sys, train\ntrain.main({command!r})\nprint('|', *sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    names = result.stdout.split("|")[-1].split()
    assert "llm.training.loop" in names
    assert [name for name in names if name.startswith(("llm.evaluation.tasks", "llm.evaluation.builtin"))] == []


@pytest.mark.parametrize(
    ("name", "values"), [("copying", [None, 0.25]), ("_a$b$\udcff", ["x", 0.5]), ("a", [None, None])]
)
def test_the_picture_has_a_panel_of_tasks_if_there_are_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, values: list[Any]
) -> None:
    panels: list[int] = []
    subplots = Figure.subplots

    def counted(figure: Figure, *shape: Any, **more: Any) -> Any:
        panels.append(shape[0])
        return subplots(figure, *shape, **more)

    monkeypatch.setattr(Figure, "subplots", counted)
    lines = [{**dict.fromkeys(FIELDS, 1.0), "step": i, f"task_{name}": x} for i, x in enumerate(values)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_losses(lines, tmp_path / "loss.png", "a run")
    assert panels == [3 + any(isinstance(value, float) for value in values)]
    assert imread(tmp_path / "loss.png").std() > 0.01
