"""What a run writes down for its report: right norms, the same training, and the lines of a run that was resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.runs.run import LAYERS, SAMPLES
from llm.runs.step_lines import StepLines, iterate_lines
from llm.training import records
from llm.training.trainer import Trainer
from minigrad.nn.module import Parameter
from minigrad.tensor import Tensor
from tests.llm.trainings import metrics, resume, train, weights, without_pictures

SOME = ["--steps", "6", "--eval-every", "2", "--sample-every", "3", "--checkpoint-every", "2", "--dropout", "0.2"]


@pytest.fixture(autouse=True)
def _there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIGRAD_CACHE", str(tmp_path / "cache"))
    without_pictures(monkeypatch)


def lines(path: Path) -> list[dict[str, Any]]:
    return list(iterate_lines(path))


@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 2 * records.MOST_ROWS + 3), clip=st.floats(0.1, 1))
def test_norms_are_those_of_all_parameters_of_a_layer(seed: int, rows: int, clip: float) -> None:
    rng = np.random.default_rng(seed)
    shapes = {"blocks.0.mlp.up.weight": (rows, 3), "blocks.0.norm.weight": (3,), "embedding.weight": (2, 3)}
    before = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    # The same update in each row: then the rows that are measured say what all rows say.
    updates = {name: np.broadcast_to(rng.standard_normal(shape[-1]), shape) for name, shape in shapes.items()}
    gradients = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    parameters = {name: Parameter(before[name] + updates[name]) for name in shapes}
    for name, p in parameters.items():
        p.grad = Tensor(clip * gradients[name])
    whole = float(np.sqrt(sum((g**2).sum() for g in gradients.values())))
    some = {name: records.some_rows(x).copy() for name, x in before.items()}
    found = records.measure(parameters, some, whole)
    assert list(found) == ["blocks.0", "embedding"]
    for layer, names in {"blocks.0": list(shapes)[:2], "embedding": list(shapes)[2:]}.items():
        for kind, arrays in {"weight": {n: p.data for n, p in parameters.items()}, "gradient": gradients,
                             "update": updates}.items():  # fmt: skip
            expected = np.linalg.norm(np.concatenate([arrays[name].ravel() for name in names]))
            assert found[layer][kind] == pytest.approx(expected, rel=1e-5)  # six digits are kept
    assert all(len(x) <= records.MOST_ROWS for x in some.values())


def test_a_norm_that_is_not_finite_is_null() -> None:
    assert records.measure({"a": Parameter(np.array([np.inf]))}, {"a": np.zeros(1)}, 1.0)["a"]["weight"] is None


def test_training_is_the_same_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(tmp_path / "with", *SOME)
    monkeypatch.setattr(records.Records, "update", lambda self: Trainer.update(self.trainer))
    train(tmp_path / "without", *SOME)
    assert weights(tmp_path / "with") == weights(tmp_path / "without")
    assert [line["step"] for line in lines(tmp_path / "with" / LAYERS)] == [2, 4, 6]
    assert not (tmp_path / "without" / LAYERS).exists()


def test_the_norms_of_layers_make_up_that_of_the_whole_gradient(tmp_path: Path) -> None:
    train(tmp_path / "run", *SOME)
    norms = {line["step"]: line["grad_norm"] for line in metrics(tmp_path / "run")}
    for line in lines(tmp_path / "run" / LAYERS):
        squares = sum(of["gradient"] ** 2 for of in line["norms"].values())
        assert squares**0.5 == pytest.approx(norms[line["step"]], rel=1e-4)  # six digits are kept
        assert line["peak_memory"] is None or line["peak_memory"] > 1e6


def test_a_resumed_run_has_each_line_once(tmp_path: Path) -> None:
    train(tmp_path / "whole", *SOME)
    train(tmp_path / "parts", *SOME, "--steps", "4")
    for name in (SAMPLES, LAYERS):  # as if it had been killed after step 5, and its newest checkpoint was of step 4
        with open(tmp_path / "parts" / name, "a") as file:
            file.write(json.dumps({"step": 5, "text": "lost", "norms": {}}) + "\n" + '{"step": 6, "te')
    resume(tmp_path / "parts", "--steps", "6")
    steps = lambda folder, name: [line["step"] for line in lines(tmp_path / folder / name)]
    assert steps("parts", LAYERS) == steps("whole", LAYERS) == [2, 4, 6]
    assert steps("whole", SAMPLES) == [3, 6] and steps("parts", SAMPLES) == [3, 4, 6]  # 4: at the end of the first part


@given(
    steps=st.lists(st.integers(0, 9), max_size=8),
    last=st.integers(0, 9),
    rubbish=st.sampled_from(["", "{", "[]", "{}\n", '{"step": "1"}\n', "\xff\n"]),
)
def test_lines_of_later_steps_and_what_is_no_line_are_dropped(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int], last: int, rubbish: str
) -> None:
    path = tmp_path_factory.mktemp("lines") / "x.jsonl"
    first = StepLines(path, 0)
    for step in steps:
        first.write({"step": step})
    first.close()
    assert path.exists() == bool(steps)
    with open(path, "a") as file:
        file.write(rubbish)
    again = StepLines(path, last)
    again.write({"step": last})
    again.flush()
    again.close()
    assert [line["step"] for line in lines(path)] == [step for step in steps if step <= last] + [last]
