"""The page that beginners read does what the trainer does."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from llm.data import Corpus, prepare
from llm.model.config import GPTConfig
from llm.runs.options import Options, TrainOptions
from llm.training import simple
from llm.training.setup import initial_model, make_trainer
from llm.training.trainer import Trainer
from tests.llm.trainings import WORDS
from tokenizer import CharTokenizer

STEPS = simple.WARMUP + 6
TEXT = " ".join(np.random.default_rng(0).choice(WORDS, 2000))


def real_trainer(**changes: object) -> Trainer:
    """What train.py makes of the same text and numbers, with one worker."""
    tokenizer = CharTokenizer.train([TEXT])
    training = TrainOptions(
        steps=STEPS,
        batch_size=simple.BATCH_SIZE,
        lr=simple.LEARNING_RATE,
        min_lr=0.0,
        warmup=simple.WARMUP,
        beta2=0.99,
        weight_decay=0.1,
        clip=1.0,
        seed=simple.SEED,
        threads=1,
    )
    config = GPTConfig(vocab_size=tokenizer.vocab_size, **simple.SIZE, **simple.CHOICES)
    dataset = prepare(Corpus("text", [TEXT]), tokenizer, training.val_fraction)
    options = Options(TrainOptions(**asdict(training) | changes), config)
    return make_trainer(options, dataset, "cpu", initial_model(options, resumes=False))


def weights_of_real_trainer(**changes: object) -> dict[str, np.ndarray]:
    trainer = real_trainer(**changes)
    while not trainer.finished:
        trainer.update()
    trainer.workers.close()
    return trainer.model.state_dict()


@pytest.fixture
def simple_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    monkeypatch.setenv("MINIGRAD_CACHE", str(tmp_path))
    length = len(prepare(Corpus("text", [TEXT]), CharTokenizer.train([TEXT])).train)  # the rest is for validation
    model, _ = simple.train(TEXT[:length], STEPS)
    return model.state_dict()


def test_it_leaves_the_weights_of_the_real_trainer_to_the_last_bit(simple_weights: dict[str, np.ndarray]) -> None:
    expected = weights_of_real_trainer()
    assert simple_weights.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(simple_weights[name], expected[name], err_msg=name)


@pytest.mark.control
@pytest.mark.parametrize("change", [{"clip": 0.1}, {"weight_decay": 0.0}, {"beta2": 0.98}, {"warmup": 3}, {"seed": 1}])
def test_another_update_is_noticed(simple_weights: dict[str, np.ndarray], change: dict[str, object]) -> None:
    changed = weights_of_real_trainer(**change)
    assert any(not np.array_equal(simple_weights[name], changed[name]) for name in changed)


def test_it_learns_and_writes(capsys: pytest.CaptureFixture) -> None:
    model, tokenizer = simple.train("the cat sat on the mat. " * 60, 100)
    losses = [float(line.split()[-1]) for line in capsys.readouterr().out.splitlines()]
    assert losses[0] == pytest.approx(np.log(tokenizer.vocab_size), abs=0.2), "it knows nothing at first"
    assert losses[-1] < 0.5
    text = simple.write(model, tokenizer, "the cat", length=36, temperature=0.1)
    assert len(text) == 43
    assert text.startswith("the cat sat on the mat. the cat sat")


def test_the_command_trains_on_a_file_and_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    text = "the cat sat on the mat. " * 60
    (tmp_path / "text.txt").write_text(text)
    monkeypatch.setattr("sys.argv", ["simple", str(tmp_path / "text.txt"), "--steps", str(STEPS)])
    simple.main()
    said, *_, written = capsys.readouterr().out.splitlines()
    assert said == f"{STEPS} steps on {len(text):,} characters ({tmp_path / 'text.txt'})"
    assert written.startswith("t") and set(written) <= set(text)
