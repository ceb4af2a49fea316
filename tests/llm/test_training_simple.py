"""The page that beginners read does what the trainer does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from llm.data import Corpus, prepare
from llm.model.config import GPTConfig
from llm.runs.options import Options, TrainOptions
from llm.training import simple
from llm.training.setup import initial_model, make_trainer
from llm.training.text import text_parts
from llm.training.trainer import Trainer
from tests.llm.trainings import WORDS
from tokenizer import CharTokenizer

# Smaller than in the page, so that a step takes a small part of the time.
SMALL = {
    "BATCH_SIZE": 8,
    "CONTEXT": 16,
    "SIZE": {"context": 16, "layers": 2, "heads": 2, "dim": 48},
    "WARMUP": 4,
    "LEARNING_RATE": 1e-2,
}
STEPS = SMALL["WARMUP"] + 6  # type: ignore[operator]
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
    return make_trainer(options, text_parts(options, dataset), "cpu", initial_model(options, restored=False))


def weights_of_real_trainer(**changes: object) -> dict[str, np.ndarray]:
    trainer = real_trainer(**changes)
    while not trainer.finished:
        trainer.update()
    trainer.workers.close()
    return trainer.model.state_dict()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINIGRAD_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def simple_weights(cache: None) -> dict[str, np.ndarray]:
    with pytest.MonkeyPatch.context() as patch:
        make_small(patch)
        return weights_of_the_page(STEPS)


def weights_of_the_page(steps: int) -> dict[str, np.ndarray]:
    length = len(prepare(Corpus("text", [TEXT]), CharTokenizer.train([TEXT])).train)  # the rest is for validation
    return simple.train(TEXT[:length], steps)[0].state_dict()


def make_small(patch: pytest.MonkeyPatch) -> None:
    for name, value in SMALL.items():
        patch.setattr(simple, name, value)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch)


def test_it_leaves_the_weights_of_the_real_trainer_to_the_last_bit(
    simple_weights: dict[str, np.ndarray], small: None
) -> None:
    expected = weights_of_real_trainer()
    assert simple_weights.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(simple_weights[name], expected[name], err_msg=name)


@pytest.mark.slow
def test_that_holds_in_the_size_of_the_page_too(cache: None) -> None:
    steps = simple.WARMUP + 6
    found, expected = weights_of_the_page(steps), weights_of_real_trainer(steps=steps)
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


@pytest.mark.control
@pytest.mark.parametrize("change", [{"clip": 0.1}, {"weight_decay": 0.0}, {"beta2": 0.98}, {"warmup": 3}, {"seed": 1}])
def test_another_update_is_noticed(
    simple_weights: dict[str, np.ndarray], small: None, change: dict[str, object]
) -> None:
    changed = weights_of_real_trainer(**change)
    assert any(not np.array_equal(simple_weights[name], changed[name]) for name in changed)


@pytest.mark.parametrize("size", ["small", pytest.param("of the page", marks=pytest.mark.slow)])
def test_it_learns_and_writes(size: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture) -> None:
    if size == "small":
        request.getfixturevalue("small")
    model, tokenizer = simple.train("the cat sat on the mat. " * 60, 100)
    losses = [float(line.split()[-1]) for line in capsys.readouterr().out.splitlines()]
    assert losses[0] == pytest.approx(np.log(tokenizer.vocab_size), abs=0.2), "it knows nothing at first"
    assert losses[-1] < 0.5
    text = simple.write(model, tokenizer, "the cat", length=36, temperature=0.1)
    assert len(text) == 43
    assert text.startswith("the cat sat on the mat. the cat sat")


def test_the_command_trains_on_a_file_and_writes(
    small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    text = "the cat sat on the mat. " * 60
    (tmp_path / "text.txt").write_text(text)
    monkeypatch.setattr("sys.argv", ["simple", str(tmp_path / "text.txt"), "--steps", str(STEPS)])
    simple.main()
    said, *_, written = capsys.readouterr().out.splitlines()
    assert said == f"{STEPS} steps on {len(text):,} characters ({tmp_path / 'text.txt'})"
    assert written.startswith("t") and set(written) <= set(text)
