"""A model comes back from a run folder as it was saved, or a sentence says why not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from llm.model.gpt import GPT
from llm.runs.load import load_model
from llm.runs.run import Run
from tests.llm.runs import make_run, model_at
from tokenizer import CharTokenizer

LETTERS = CharTokenizer.train(["abc\n"])


def assert_is_step(model: GPT, step: int) -> None:
    expected = model_at(LETTERS, step).state_dict()
    assert model.state_dict().keys() == expected.keys()
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, expected[name])


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Checkpoints of steps 5 (the best), 6 and 7."""
    return make_run(tmp_path / "run", LETTERS, steps=(5, 6, 7))


def test_last_and_best(run: Run, capsys: pytest.CaptureFixture) -> None:
    for which, step in (("last", 7), ("best", 5)):
        model, tokenizer = load_model(run, which)  # type: ignore[arg-type]
        assert_is_step(model, step)
        assert tokenizer == LETTERS
        assert not any(module.training for _, module in model.named_modules())
    assert capsys.readouterr().err == ""


def test_the_optimizer_is_not_needed(run: Run, capsys: pytest.CaptureFixture) -> None:
    damage(run.folder / "checkpoints/step-00000007/optimizer.safetensors")
    assert_is_step(load_model(run)[0], 7)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("which", "step"), [("last", 6), ("best", 5)])
def test_a_damaged_checkpoint_is_reported_and_passed_over(
    run: Run, capsys: pytest.CaptureFixture, which: str, step: int
) -> None:
    damage(run.folder / "checkpoints/step-00000007/model.safetensors")
    assert_is_step(load_model(run, which)[0], step)  # type: ignore[arg-type]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "step-00000007/model.safetensors is damaged" in captured.err
    assert captured.err.endswith(f"; using the checkpoint of step {step}\n")
    assert captured.err.count("\n") == 1


def test_nothing_but_damaged_checkpoints(run: Run) -> None:
    for path in run.checkpoints.folder.glob("*/model.safetensors"):
        damage(path)
    with pytest.raises(ValueError, match="is damaged.*no checkpoint is left"):
        load_model(run)


def test_a_best_checkpoint_that_is_damaged(run: Run) -> None:
    damage(run.checkpoints.folder / "step-00000005/model.safetensors")
    with pytest.raises(ValueError, match="step-00000005/model.safetensors is damaged"):
        load_model(run, "best")


def test_no_best_checkpoint_before_the_first_evaluation(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", LETTERS, best=0)
    with pytest.raises(ValueError, match="was not evaluated before step 5"):
        load_model(run, "best")
    assert_is_step(load_model(run)[0], 5)


def test_no_run_and_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no run, there is no config.json in it"):
        load_model(Run(tmp_path / "nothing"))
    with pytest.raises(ValueError, match="has no checkpoint yet"):
        load_model(make_run(tmp_path / "run", LETTERS, steps=()))


def test_files_of_something_else(run: Run, tmp_path: Path) -> None:
    other = CharTokenizer.train(["abcdef\n"])
    other.save(run.folder / "tokenizer.json")
    with pytest.raises(ValueError, match="has 7 tokens and the model 4"):
        load_model(run)
    config = json.loads((run.folder / "config.json").read_text())
    del config["sha256"]
    config["model"]["vocab_size"] = 7
    (run.folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"tokenizer\.json is damaged"):
        load_model(run)
    LETTERS.save(run.folder / "tokenizer.json")
    config["model"] |= {"vocab_size": 4, "dim": 32}
    (run.folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"embedding\.weight"):
        load_model(run)
    (run.folder / "tokenizer.json").write_text("{")
    with pytest.raises(ValueError, match=r"tokenizer\.json"):
        load_model(run)
    (run.folder / "config.json").write_text("[]")
    with pytest.raises(ValueError, match="is not the configuration of a run"):
        load_model(run)
