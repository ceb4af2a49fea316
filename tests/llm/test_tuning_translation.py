"""train.py --objective translate and generate.py: pairs, searches, exact resume, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import llm
from llm import hub
from llm.data.errors import DataError
from llm.hub.convert import convert
from llm.inference import command as generate
from llm.inference.beam import Beginning, search
from llm.inference.logprobs import log_probabilities
from llm.inference.translation import (
    PairReader,
    beam_translation,
    cross_weights,
    gnmt_score,
    greedy_translations,
    read_sources,
    translate,
    without_end,
)  # fmt: skip
from llm.model.config import GPTConfig
from llm.model.presets import preset
from llm.model.transformer import IGNORED, Transformer
from llm.parallel.rank_checks import check
from llm.training.command import parse, start
from llm.tuning.tasks import find_task
from llm.tuning.translation.dates import FIRST, dates, forms
from llm.tuning.translation.pairs import read_pairs
from llm.tuning.translation.task import Example, make_batch
from minigrad import no_grad
from tests.llm.gpts import SEEDS
from tests.llm.trainings import Killed, assert_same_run, interrupt_at, kill, without_pictures, write_sample
from tests.llm.transformers import WORDS, configs, is_noticed, random_transformer

END = 0
BRIEF = ["--preset", "transformer-translate", "--layers", "1", "--dim", "8", "--steps", "5", "--batch-size", "4",
         "--eval-every", "2", "--checkpoint-every", "2", "--device", "cpu"]  # fmt: skip


# --- pairs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\tb\nc\n", "line 2: found 1 column; expected 2"),
        ("a\tb\tc\n", "line 1: found 3 columns; expected 2"),
        ("a\tb\n\n \tx\n", "line 3: the source is empty"),
        ("a\t \n", "line 1: the target is empty"),
        ("", "holds no pairs"),
        ("a\tb\n", "one example cannot be divided"),
    ],
)
def test_bad_files_are_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        run_training(tmp_path / "run", path)
    assert not (tmp_path / "run").exists()


def test_a_text_longer_than_the_context_is_named(tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_text(f"a\tb\n{'a' * 9}\tb\nb\t{'b' * 9}\n")
    with pytest.raises(DataError, match="line 2: the source has 10 tokens with its end, and the model reads at most 9"):
        run_training(tmp_path / "run", path, "--context", "9")
    path.write_text(f"a\tb\n{'a' * 8}\tb\nb\t{'b' * 9}\n")
    with pytest.raises(DataError, match="line 3: the target has 10 tokens with its end"):
        run_training(tmp_path / "run", path, "--context", "9")
    with pytest.raises(DataError, match="is no file"):
        read_pairs(str(tmp_path))


@given(st.integers(0, 36_524))
def test_each_form_of_a_date_says_which_it_is(number: int) -> None:
    """Read again, each in its own way: by the words and numbers in it."""
    day = date.fromordinal(FIRST.toordinal() + number)
    for form in forms(day):
        text = form.replace(",", " ").replace("/", " ").replace(".", " ").replace("'", " ")
        words = [word for word in text.split() if word not in ("the", "of")]
        numbers = [int("".join(filter(str.isdigit, word))) for word in words if word[0].isdigit()]
        year = next(n for n in numbers[-1:])
        assert year in (day.year, day.year % 100)
        assert day.day in numbers[:-1]
        assert day.month in numbers[:-1] or day.strftime("%b") in text
    assert dates(5) == dates(5) and len({target for _, target in dates(2000)}) == 2000


def test_a_batch_holds_each_pair_once_with_padding_behind_it() -> None:
    place = read_pairs("dates")[0]
    examples = [Example([3, 4, END], [END, 7, END], place), Example([5, END], [END, 8, 9, END], place)]
    source, mask, target, following = make_batch(examples)
    assert [row[real].tolist() for row, real in zip(source, mask)] == [[3, 4, END], [5, END]]
    assert target[0, :2].tolist() == [END, 7] and target[1].tolist() == [END, 8, 9]
    assert following.tolist() == [[7, END, IGNORED], [8, 9, END]]


# --- searches ---------------------------------------------------------------------------------------------------------


def log_probability(model: Transformer, source: Sequence[int], ids: Sequence[int]) -> float:
    """Of a translation, without a cache."""
    logits = model(np.array([source]), np.array([[END, *ids[:-1]]])).numpy()[0]
    return float(sum(log_probabilities(row)[id] for row, id in zip(logits, ids)))


def all_translations(size: int, longest: int) -> list[tuple[int, ...]]:
    """Every one that ends with END, or is as long as it may be."""
    found, beginnings = [], [()]
    for length in range(1, longest + 1):
        longer = [(*b, id) for b in beginnings for id in range(size)]
        found += [each for each in longer if each[-1] == END or length == longest]
        beginnings = [each for each in longer if each[-1] != END]
    return found


@settings(max_examples=max(1, settings().max_examples // 2))
@given(configs(vocab_size=3, context=3), SEEDS, st.sampled_from([0.0, 0.6, 2.0]))
def test_enough_beams_find_the_best_of_all_translations(config: GPTConfig, seed: int, alpha: float) -> None:
    model, source = random_transformer(config, seed), [1, END]
    scores = {ids: gnmt_score(log_probability(model, source, ids), len(ids), alpha) for ids in all_translations(3, 3)}
    best = max(scores, key=lambda ids: scores[ids])
    assert beam_translation(model, source, END, num_beams=3**3, alpha=alpha) == without_end(best, END)
    score = partial(gnmt_score, alpha=alpha)
    found = search(PairReader(model, source, END), score, 3**3, 3, early_stopping=True, stop_ids=[END])
    assert {beam.ids: beam.score for beam in found} == pytest.approx(scores, rel=1e-9)


@given(configs(context=9), SEEDS)
def test_one_beam_is_greedy_and_greedy_takes_the_most_likely_token(config: GPTConfig, seed: int) -> None:
    model, rng = random_transformer(config, seed), np.random.default_rng(seed)
    sources = [[*rng.integers(1, 13, length).tolist(), END] for length in rng.integers(0, 8, 3)]
    together = greedy_translations(model, sources, END)
    for source, found in zip(sources, together):
        assert beam_translation(model, source, END, num_beams=1) == found
        ids = [END]
        while len(ids) <= min(9, len(source) + 50):  # without a cache
            ids.append(int(model(np.array([source]), np.array([ids])).numpy()[0, -1].argmax()))
            if ids[-1] == END:
                break
        assert without_end(ids[1:], END) == found


def test_scores_are_those_of_the_paper() -> None:
    assert gnmt_score(-2.0, 1) == -2.0
    assert gnmt_score(-2.0, 7, 1.0) == -1.0  # (5 + 7) / 6 = 2
    assert gnmt_score(-3.0, 13, 0.6) == pytest.approx(-3 / 3**0.6)


@pytest.mark.control
def test_a_reader_that_mixes_up_its_beams_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(self: PairReader, beginnings: Sequence[Beginning]) -> np.ndarray:
        return right(self, [each._replace(parent=0) for each in beginnings])

    right = PairReader.__call__
    monkeypatch.setattr(PairReader, "__call__", wrong)
    config = replace(preset("transformer-translate"), vocab_size=3, context=3, layers=1, dim=8)
    assert is_noticed(test_enough_beams_find_the_best_of_all_translations, config, 0.6)


@given(configs(), SEEDS)
def test_the_weights_in_the_picture_are_those_of_the_attention(config: GPTConfig, seed: int) -> None:
    model, rng = random_transformer(config, seed), np.random.default_rng(seed)
    source, target = rng.integers(0, 13, 5).tolist(), rng.integers(0, 13, 4).tolist()
    weights = cross_weights(model, source, target)
    assert [each.shape for each in weights] == [(config.heads, 4, 5)] * config.layers
    np.testing.assert_allclose(np.sum(weights, axis=-1), 1, rtol=1e-12)
    with no_grad():
        (keys, values), layer = read_sources(model, [source]).keys_and_values[0], model.decoder[0]
        y = layer.before_cross(model.embed(np.array([target])))
        collected = (weights[0] @ values.numpy()[0]).swapaxes(0, 1).reshape(4, -1)
        expected = collected @ layer.cross.out.weight.numpy().T
        if config.bias:
            expected = expected + layer.cross.out.bias.numpy()
        np.testing.assert_allclose(layer.cross(y, keys, values, None).numpy()[0], expected, rtol=1e-10, atol=1e-12)


# --- the programs -----------------------------------------------------------------------------------------------------


def run_training(out: Path, data: Path, *more: str) -> int:
    return start(*parse([*BRIEF, "--data", str(data), "--out", str(out), *more]), write_sample, find_task)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learned a little."""
    folder = tmp_path_factory.mktemp("translation")
    rng = np.random.default_rng(0)
    rows = [" ".join(rng.choice(list(WORDS), rng.integers(1, 4))) for _ in range(30)]
    lines = [f"{row}\t{''.join(WORDS[word] for word in row.split())}\n" for row in rows]
    (folder / "pairs.tsv").write_text("".join(lines))
    with pytest.MonkeyPatch.context() as patch:
        without_pictures(patch)
        assert run_training(folder / "run", folder / "pairs.tsv", "--threads", "2") == 0
    return folder / "run"


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    without_pictures(monkeypatch)
    monkeypatch.setenv("MINIGRAD_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    "more", [["--recompute"], ["--tokenizer", "bpe", "--vocab-size", "270", "--optimizer", "muon"]]
)
def test_a_run_that_was_killed_and_resumed_equals_one_that_was_not(more: list[str], run: Path, tmp_path: Path) -> None:
    data, rng = run.parent / "pairs.tsv", np.random.default_rng(len(more))
    more = [*more, "--threads", str(rng.integers(1, 3)), "--micro-batches", str(rng.integers(1, 3))]
    assert run_training(tmp_path / "expected", data, *more) == 0
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, int(rng.integers(1, 5)), kill)
        with pytest.raises(Killed):
            run_training(tmp_path / "run", data, *more)
    assert start(*parse(["--out", str(tmp_path / "run"), "--resume"]), write_sample, find_task) == 0
    assert_same_run(tmp_path / "run", tmp_path / "expected")


def test_a_run_translates_and_leaves_pictures(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert (run / "attention.png").read_bytes().startswith(b"\x89PNG")
    model, tokenizer = llm.load(run)
    assert isinstance(model, Transformer)
    options = ["--run", str(run), "--prompt", "one two", "--attention", str(tmp_path / "a.svg"), "--num-beams", "2"]
    assert generate.start(generate.parse(options)) == 0
    assert capsys.readouterr().out == translate(model, tokenizer, "one two", num_beams=2) + "\n"
    assert "<svg" in (tmp_path / "a.svg").read_text()
    again, _ = hub.load(run, np.float64)
    assert again.dtype == np.float64


REFUSED = ["--chat"], ["--classify"], ["--regex", "a"], ["--prompt", "€"], ["--prompt", "o" * 99]


@pytest.mark.parametrize("more", [*REFUSED, ["--prompt", "one", "--num-beams", "0"]])
def test_what_a_translator_cannot_do_is_said(more: list[str], run: Path) -> None:
    with pytest.raises(ValueError, match=r"translator|not among|at most 40|at least 1"):
        generate.start(generate.parse(["--run", str(run), *more]))


def test_it_is_not_taken_for_a_gpt(run: Path, tmp_path: Path) -> None:
    model, tokenizer = llm.load(run)
    with pytest.raises(TypeError, match="translator"):
        llm.generate(model, tokenizer, "one")
    with pytest.raises(ValueError, match="translator"):
        convert(run, tmp_path / "folder")
    for more in (["--freeze", "encoder"], ["--lora-rank", "2"], ["--positions", "rope"], ["--eval-task", "copying"]):
        with pytest.raises(ValueError, match="--objective translate|encoder and a decoder"):
            run_training(tmp_path / "run", run.parent / "pairs.tsv", *more)


def test_ranks_that_gather_blocks_are_refused() -> None:
    options, _ = parse([*BRIEF, "--zero", "3"])
    with pytest.raises(ValueError, match="use --zero 2"):
        check(options, 2)


def test_a_dry_run_counts_both_halves(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert run_training(tmp_path / "run", run.parent / "pairs.tsv", "--dry-run") == 0
    model, _ = llm.load(run)
    assert f" {model.num_parameters():,} " in capsys.readouterr().out
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_dates_are_learned(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """A fifth of the steps of the preset already gives more than half of the dates; chance would give none."""
    out = ["--out", str(tmp_path / "run"), "--sample-every", "0"]
    assert start(*parse(["--preset", "transformer-translate", "--steps", "600", *out]), write_sample, find_task) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("  greedy", "  beam search"))]
    right = [float(line.split(", ")[1].split("%")[0]) for line in lines]
    assert len(right) == 2 and min(right) > 20
