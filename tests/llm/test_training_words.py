"""The command of a run: read again, it gives the options of the run."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from llm.model.config import GPTConfig
from llm.runs.options import Options, TrainOptions
from llm.runs.presets import presets
from llm.runs.tuning_options import TuningOptions
from llm.training.command import parse
from llm.training.words import OTHERS, words
from tests.llm.trainings import train, without_pictures

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)
SWITCHES = [f.name for f in fields(TrainOptions) if f.type == "bool"]
CHANGES: dict[str, dict[str, st.SearchStrategy]] = {
    "training": {
        "data": TEXTS, "prompt": TEXTS, "steps": st.integers(1, 10**6), "lr": st.floats(1e-9, 1),
        "batch_size": st.integers(1, 99), "recompute": st.booleans(),
        "threads": st.none() | st.integers(1, 9), "warmup": st.integers(0, 999),
        "schedule": st.sampled_from(["cosine", "wsd", "constant"]), "eval_task": st.just(("copying", "words=my file")),
        "seed": st.integers(0, 2**70), "optimizer": st.sampled_from(["adamw", "muon"]),
        "ema_decay": st.sampled_from([0.0, 0.9]),
    },
    "model": {"dropout": st.floats(0, 0.9), "window": st.none() | st.integers(1, 99), "tied_head": st.booleans(),
              "bias": st.booleans(), "layers": st.integers(1, 9)},
    "tuning": {"label_smoothing": st.floats(0, 0.5), "freeze": TEXTS, "mask_truncated": st.none() | st.booleans()},
}  # fmt: skip


@st.composite
def changed_options(draw: st.DrawFn) -> Options:
    options = draw(st.sampled_from(list(presets().values())))
    for part, changes in CHANGES.items():
        names = draw(st.sets(st.sampled_from(sorted(changes))))
        try:
            new: Any = replace(getattr(options, part), **{name: draw(changes[name]) for name in sorted(names)})
        except ValueError:  # two options contradict each other
            assume(False)
        options = replace(options, **{part: new})
    return options


@given(options=changed_options())
def test_the_command_gives_the_options_again(options: Options) -> None:
    try:
        found, _ = parse(words(options))
    except (ValueError, SystemExit):  # such as an option that belongs to another --objective
        assume(False)
    assert found == options


@pytest.mark.control
def test_a_command_without_what_was_changed_gives_other_options() -> None:
    options = presets()["default"]
    changed = replace(options, training=replace(options.training, batch_size=options.training.batch_size + 1))
    assert words(options) == ["--preset=default"]
    assert parse(words(options))[0] != changed == parse(words(changed))[0]


def test_a_preset_of_another_version_is_told_as_it_was() -> None:
    options = presets()["default"]
    gone = replace(options, training=replace(options.training, preset="gone"))
    assert words(gone)[0] == "--preset=gone" and "--steps=250" in words(gone)


def test_every_option_of_a_run_can_be_told() -> None:
    known = {field.name for kind in (TrainOptions, TuningOptions, GPTConfig) for field in fields(kind)}
    assert set(OTHERS) <= known


def test_the_command_of_a_run_that_was_tuned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIGRAD_CACHE", str(tmp_path / "cache"))
    without_pictures(monkeypatch)
    (tmp_path / "text.txt").write_text("the cat sat on the mat " * 60)
    base = tmp_path / "a base"
    assert train(base, "--steps", "2", "--eval-every", "2", "--sample-every", "0") == 0
    given_words = ["--from", str(base), "--lora-rank", "2", "--steps", "3", "--data", str(tmp_path / "text.txt")]
    options, _ = parse(given_words)
    assert parse(words(options))[0] == options
    assert "--lora-rank=2" in words(options) and "--layers" not in " ".join(words(options))
