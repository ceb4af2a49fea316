"""train.py --objective reinforce: it learns, it goes on after a kill with the same bytes, and it says what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llm.data.errors import DataError
from llm.hub.load import load_any
from llm.inference.text import write_sample
from llm.runs.load import load_model
from llm.runs.run import Run
from llm.training.command import parse, start
from llm.tuning.accuracy import Measure
from llm.tuning.reinforcement.rewards import load_reward
from llm.tuning.tasks import find_task
from tests.llm.trainings import Killed, interrupt_at, kill, metrics, train, weights, without_pictures

WORDS = ["cat", "dog", "mat", "the", "sat", "on", "ran", "under", "a", "dog ran", "cat sat", "the mat"]
OPTIONS = [
    "--objective", "reinforce", "--reward", "regex:a", "--max-tokens", "4", "--batch-size", "6", "--group-size", "3",
    "--steps", "6", "--lr", "1e-2", "--warmup", "1", "--eval-every", "3", "--checkpoint-every", "2",
    "--eval-batches", "1", "--sample-every", "0", "--device", "cpu", "--threads", "2",
]  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the smallest model, and questions beside it."""
    folder = tmp_path_factory.mktemp("reinforce")
    with pytest.MonkeyPatch.context() as patch:
        without_pictures(patch)
        assert train(folder / "base", "--steps", "3", "--context", "16") == 0
    rows = [json.dumps({"prompt": word, "answer": word, "kind": word[0]}) + "\n" for word in WORDS]
    (folder / "questions.jsonl").write_text("".join(rows))
    return folder


def reinforce(base: Path, out: Path, *more: str, begin: bool = True) -> int:
    first = ["--from", str(base / "base"), "--data", str(base / "questions.jsonl"), *OPTIONS] if begin else ["--resume"]
    return start(*parse([*first, "--out", str(out), *more]), write_sample, find_task)


@pytest.mark.parametrize(
    ("step", "more"),
    [
        (5, ("--algorithm", "grpo", "--beta", "0.1")),
        (3, ("--algorithm", "ppo", "--sample-epochs", "4")),
        (5, ("--algorithm", "reinforce", "--baseline", "running", "--sample-epochs", "3", "--ratio", "token")),
        pytest.param(3, ("--algorithm", "ppo", "--lora-rank", "2"), marks=pytest.mark.slow),
        pytest.param(3, ("--algorithm", "rloo", "--prefix-tokens", "2"), marks=pytest.mark.slow),
    ],
)
def test_a_run_that_was_killed_ends_with_the_same_bytes(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, more: tuple[str, ...]
) -> None:
    without_pictures(monkeypatch)
    assert reinforce(base, tmp_path / "whole", *more) == 0
    with monkeypatch.context() as patch:
        interrupt_at(patch, step, kill)
        with pytest.raises(Killed):
            reinforce(base, tmp_path / "killed", *more)
    assert reinforce(base, tmp_path / "killed", begin=False) == 0
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")
    assert metrics(tmp_path / "killed") == metrics(tmp_path / "whole")
    line = metrics(tmp_path / "whole")[-1]
    assert {
        "train_reward",
        "train_reward_std",
        "train_length",
        "train_cut_off",
        "train_clipped",
        "val_reward",
    } <= line.keys()
    assert line["val_loss"] == -line["val_reward"]


def test_a_run_of_ppo_writes_and_can_be_continued_from(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_pictures(monkeypatch)
    assert reinforce(base, tmp_path / "ppo", "--algorithm", "ppo") == 0
    model, tokenizer = load_model(tmp_path / "ppo")
    assert tokenizer.vocab_size == model.config.vocab_size
    assert not hasattr(load_any(tmp_path / "ppo")[0], "value_head")
    again = base / "again"
    arguments = ["--from", str(tmp_path / "ppo"), "--data", str(base / "questions.jsonl"), *OPTIONS, "--steps", "1"]
    assert start(*parse([*arguments, "--out", str(again)]), write_sample, find_task) == 0


def test_the_policy_has_no_dropout_so_the_first_update_with_a_sample_clips_nothing(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_pictures(monkeypatch)
    more = ("--algorithm", "ppo", "--sample-epochs", "2", "--dropout", "0.5", "--steps", "1")
    assert reinforce(base, tmp_path / "run", *more) == 0
    (line,) = (each for each in metrics(tmp_path / "run") if "train_clipped" in each)
    assert line["train_clipped"] == 0
    assert Run(tmp_path / "run").options().model.dropout == 0


def test_it_learns(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_pictures(monkeypatch)
    more = ("--steps", "30", "--batch-size", "24", "--group-size", "8", "--lr", "3e-2")
    assert reinforce(base, tmp_path / "run", *more) == 0
    rewards = [line["train_reward"] for line in metrics(tmp_path / "run")]
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + 0.2


def test_accuracy_counts_right_answers_by_kind(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common: dict[str, Any] = {"data": str(base / "questions.jsonl"), "max_tokens": 3, "show": 1}
    Measure(str(base / "base"), reward="regex:^", **common).start()
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("all  12 of 12 right, 100.0% (95% interval 75.8% to 100.0%)")
    Measure(str(base / "base"), reward="exact", **common).start()
    assert "wrong: 'cat' -> " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--group-size", "4"), "--batch-size 6 is no multiple of --group-size 4"),
        (("--reward", "nice"), "--reward nice is not possible; give exact"),
        (("--max-tokens", "16"), "questions.jsonl, line"),
        (("--algorithm", "ppo", "--baseline", "group"), "--algorithm ppo has a value head as baseline"),
        (("--algorithm", "grpo", "--group-size", "1"), "with --group-size 1, .* nothing would be learned"),
        (("--algorithm", "rloo", "--group-size", "1"), "with --group-size 1, .* nothing would be learned"),
        (("--algorithm", "reinforce", "--group-size", "1", "--batch-size", "1"), "with --batch-size 1, a completion"),
        (("--lora-rank", "2", "--lora-dropout", "0.1"), "--lora-dropout does not go with --objective reinforce"),
        (("--kl", "k1", "--beta", "0.1"), "the estimator k1 has a gradient of mean 0"),
    ],
)
def test_what_is_not_possible_is_refused(base: Path, tmp_path: Path, more: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reinforce(base, tmp_path / "run", *more)
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_row_without_the_right_answer_is_named_before_a_run_begins(base: Path, tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text('{"prompt": "a", "answer": "a"}\n{"prompt": "b", "completion": "b"}\n')
    with pytest.raises(
        DataError, match="line 2: the reward exact needs .* the fields prompt, completion; add the answer"
    ):
        reinforce(base, tmp_path / "run", "--reward", "exact", "--data", str(tmp_path / "data.jsonl"))
    assert not (tmp_path / "run").exists()


def test_a_run_is_not_resumed_with_another_reward(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_pictures(monkeypatch)
    path = tmp_path / "mine.py"
    path.write_text("def reward(prompts, completions, rows):\n    return [len(c) for c in completions]\n")
    assert reinforce(base, tmp_path / "run", "--reward", f"{path}:reward", "--steps", "2") == 0
    path.write_text(path.read_text() + "# changed\n")
    with pytest.raises(ValueError, match="not the one this run was trained on"):
        reinforce(base, tmp_path / "run", "--steps", "3", begin=False)


def test_a_reward_model_can_be_the_reward(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_pictures(monkeypatch)
    pairs = [json.dumps({"prompt": word, "chosen": " a", "rejected": " d"}) + "\n" for word in WORDS]
    (tmp_path / "pairs.jsonl").write_text("".join(pairs))
    arguments = ["--from", str(base / "base"), "--objective", "reward", "--data", str(tmp_path / "pairs.jsonl"),
                 "--steps", "2", "--batch-size", "4", "--device", "cpu", "--threads", "1"]  # fmt: skip
    assert start(*parse([*arguments, "--out", str(tmp_path / "judge")]), write_sample, find_task) == 0
    name = f"reward-model:{tmp_path / 'judge'}"
    assert reinforce(base, tmp_path / "run", "--reward", name, "--steps", "2") == 0
    found = load_reward(name)(["cat"] * 2, [" a", " d" * 40], [{"prompt": "cat"}] * 2)
    assert isinstance(found[0], float)
    assert found[1] is None  # longer than the context
    with pytest.raises(ValueError, match="is no reward model"):
        load_reward(f"reward-model:{base / 'base'}")
