"""train.py --objective classify, preference, reward: what they learn, and what they leave.

That they can be killed and resumed: test_training_objectives.py.
"""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import llm
from llm import hub
from llm.data.errors import DataError
from llm.data.records import Place
from llm.hub.adapters.files import load_adapter
from llm.hub.convert import convert
from llm.hub.errors import HubError
from llm.inference.classify import class_outputs, text_ids
from llm.inference.command import parse as parse_generate
from llm.inference.command import start as start_generate
from llm.inference.model_choice import LoadedModel, with_adapter
from llm.runs.errors import RunError
from llm.runs.run import Run
from llm.training.command import parse, start
from llm.training.setup import set_up
from llm.tuning import add_lora, add_prefix, add_prompt
from llm.tuning.accuracy import Measure
from llm.tuning.classification.task import balanced, class_counts, in_order
from llm.tuning.examples.row_batches import WINDOW, RowBatches, some_batches
from llm.tuning.examples.rows import Labeled
from llm.tuning.preferences.completions import completion_logps, ids_and_targets
from llm.tuning.preferences.reference import empty, read_reference, reference_logps, write_reference
from llm.tuning.preferences.task import PreferenceTask
from llm.tuning.tasks import find_task
from minigrad import no_grad
from tests.llm.runs import make_run
from tests.llm.trainings import metrics, without_pictures, write_sample
from tokenizer import END_OF_TEXT, Tokenizer

BYTES = Tokenizer.train(["good day, bad night"], vocab_size=262, special_tokens=[END_OF_TEXT])
SMALL = ["--steps", "4", "--batch-size", "4", "--eval-every", "2", "--checkpoint-every", "1", "--threads", "2"]
SMALL += ["--device", "cpu", "--lr", "0.01", "--seed", "3", "--val-fraction", "0.25"]
HOW = {"all weights": [], "LoRA": ["--lora-rank", "2"], "last layers": ["--freeze", "embedding"]}
OBJECTIVES = ("classify", "preference", "reward")
GOOD, BAD = ("sun", "joy", "good"), ("rain", "bad", "cold")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small model, texts with labels, and pairs."""
    folder = tmp_path_factory.mktemp("tuning")
    make_run(folder / "base", BYTES)
    rng, labels, pairs = np.random.default_rng(0), [], []
    for number in range(24):
        good, bad = (" ".join(rng.choice(words, 2)) for words in (GOOD, BAD))
        labels.append({"text": good if number % 3 else bad, "label": "fine" if number % 3 else "bad"})
        pairs.append({"prompt": f"{number}?", "chosen": good, "rejected": bad, "margin": number % 2})
    for name, rows in (("classify", labels), ("preference", pairs), ("reward", pairs)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    without_pictures(monkeypatch)


def arguments(place: Path, out: Path, objective: str, *more: str) -> list[str]:
    data = ["--from", str(place / "base"), "--objective", objective, "--data", str(place / f"{objective}.jsonl")]
    return [*data, "--out", str(out), *SMALL, *more]


def train(place: Path, out: Path, objective: str, *more: str) -> int:
    return start(*parse(arguments(place, out, objective, *more)), write_sample, find_task)


def resume(out: Path, *more: str) -> int:
    return start(*parse(["--resume", "--out", str(out), *more]), write_sample, find_task)


# --- all of them ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_metrics_beside_the_loss_are_logged(place: Path, tmp_path: Path, objective: str) -> None:
    train(place, tmp_path / "run", objective, "--steps", "2")
    names = {"accuracy"}
    if objective != "classify":
        names |= {"reward_chosen", "reward_rejected", "reward_margin"}
    if objective == "preference":
        names |= {"drift"}
    last = metrics(tmp_path / "run")[-1]
    assert {f"{part}_{name}" for part in ("train", "val") for name in names} <= last.keys()


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_model_learns(place: Path, tmp_path: Path, objective: str) -> None:
    train(place, tmp_path / "run", objective, "--steps", "30", "--eval-every", "30")
    assert metrics(tmp_path / "run")[-1]["val_accuracy"] >= 0.8


# --- classify ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def classified(place: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        without_pictures(patch)
        train(place, place / "classified", "classify", "--steps", "20", "--eval-every", "20")
    return place / "classified"


def test_a_run_is_opened_as_a_classifier_and_can_be_saved_for_others(classified: Path, tmp_path: Path) -> None:
    classifier, tokenizer = hub.load(classified)
    assert classifier.labels == ("bad", "fine") and tokenizer is not None
    hub.save(classifier, tokenizer, tmp_path / "saved")
    again, _ = hub.load(tmp_path / "saved")
    ids = np.array([[1, 2, 3]])
    with no_grad():
        assert (again(ids).data == classifier(ids).data).all() and again.labels == classifier.labels


@pytest.mark.parametrize("how", HOW)
def test_a_classifier_can_be_converted_with_its_adapter_merged(place: Path, tmp_path: Path, how: str) -> None:
    train(place, tmp_path / "run", "classify", *HOW[how])
    convert(str(tmp_path / "run"), str(tmp_path / "folder"))
    ids = np.array([[1, 2, 3], [4, 5, 6]])
    with no_grad():
        before, after = (hub.load(tmp_path / name)[0](ids).data for name in ("run", "folder"))
    np.testing.assert_allclose(before, after, rtol=1e-4, atol=1e-5)  # float32, in another order with LoRA


def test_the_report_is_about_all_held_out_texts(classified: Path) -> None:
    report = json.loads((classified / "report.json").read_text())
    assert report["labels"] == ["bad", "fine"] and report["texts"] == sum(map(sum, report["confusion"])) > 3


def test_generate_prints_a_line_for_each_text(classified: Path, capsys: pytest.CaptureFixture) -> None:
    assert start_generate(parse_generate(["--classify", "--run", str(classified), "--prompt", "sun joy"])) == 0
    classifier, tokenizer = hub.load(classified)
    bad, fine = class_outputs(classifier, [text_ids(tokenizer, "sun joy", 32)])[0]
    label = "fine" if fine > bad else "bad"
    assert capsys.readouterr().out == f"{label}\tbad {bad:.4f}\tfine {fine:.4f}\n"


def test_a_classifier_writes_no_text_and_a_model_has_no_classes(classified: Path, place: Path) -> None:
    with pytest.raises(ValueError, match="add --classify"):
        start_generate(parse_generate(["--run", str(classified)]))
    with pytest.raises(ValueError, match="is a classifier, which writes no text"):
        Measure(str(classified), data="questions.jsonl").start()
    with pytest.raises(HubError, match="or give the model that it was trained from"):
        train(place, place / "not begun", "preference", "--from", str(classified))
    for function in (llm.generate, llm.evaluate):
        with pytest.raises(TypeError, match="the model is a classifier, which predicts no tokens"):
            function(*hub.load(classified), "sun joy")
    with pytest.raises(ValueError, match="no classifier"):
        start_generate(parse_generate(["--classify", "--run", str(place / "base")]))


@pytest.mark.parametrize("add", [add_lora, add_prefix, add_prompt])
def test_a_classifier_can_have_an_adapter(classified: Path, place: Path, tmp_path: Path, add: Any) -> None:
    model, tokenizer = hub.load(place / "base")
    add(model)
    for _, p in model.named_trainable():
        p.data += 0.1
    hub.save_adapter(model, tmp_path / "adapter")
    plain, _ = hub.load(classified)
    expected, _ = hub.load(classified, adapter=tmp_path / "adapter")
    ids = [text_ids(tokenizer, "sun joy", 20)]
    assert np.abs(class_outputs(expected, ids) - class_outputs(plain, ids)).max() > 1e-4
    loaded = with_adapter(LoadedModel("classified", plain, tokenizer), str(tmp_path / "adapter"))
    np.testing.assert_array_equal(class_outputs(loaded.model, ids), class_outputs(expected, ids))
    hub.save_adapter(expected, tmp_path / "again")
    body, _ = hub.load(place / "base")
    body.load_state_dict({**body.state_dict(), **hub.load(classified)[0].model.state_dict()})
    for base in (body, hub.load(classified)[0]):  # the head is in the folder, so the base may be a GPT
        again = load_adapter(base, tmp_path / "again")
        np.testing.assert_array_equal(class_outputs(again, ids), class_outputs(expected, ids))


def test_one_class_is_refused(place: Path, tmp_path: Path) -> None:
    rows = [{"text": f"text {i}", "label": "same"} for i in range(8)]
    (tmp_path / "same.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match="two or more"):
        train(place, tmp_path / "run", "classify", "--data", str(tmp_path / "same.jsonl"))
    assert not (tmp_path / "run").exists()


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=40), st.integers(0, 5))
def test_balanced_rows_have_as_many_of_each_class(labels: list[str], seed: int) -> None:
    rows = [Labeled(str(i), label, place=Place("f", i), fields={}) for i, label in enumerate(labels)]
    found = balanced(rows, seed)
    counts = [sum(row.label == label for row in found) for label in set(labels)]
    assert set(counts) == {min(labels.count(label) for label in set(labels))}
    assert [int(row.text) for row in found] == sorted({int(row.text) for row in found})
    assert found == balanced(rows, seed)


def test_a_label_that_is_spelled_wrong_shows_in_the_counts() -> None:
    assert class_counts(["ham", "spam", "spma"], [*["ham", "spam"] * 3, "spma"]) == "spma 1, ham 3, spam 3"
    assert class_counts(["ham", "new"], ["ham"]) == "new 0, ham 1"  # `new` is only in the validation data
    assert class_counts([str(i) for i in range(20)], []).endswith("11 0 ... and 8 more classes")


def test_labels_that_are_numbers_are_in_the_order_of_numbers() -> None:
    assert in_order({"10", "9", "-1"}) == ["-1", "9", "10"]
    assert in_order({"b", "10", "9"}) == ["10", "9", "b"]
    assert in_order({"--1", "2"}) == ["--1", "2"]  # the first is no number
    # Two names of one number have an order, which does not depend on that of the set.
    assert in_order({"1", "01", "001"}) == in_order({"001", "01", "1"}) == ["001", "01", "1"]


# --- preference -------------------------------------------------------------------------------------------------------


def prepared(place: Path, out: Path, *more: str) -> tuple[Any, PreferenceTask]:
    options, run = parse(arguments(place, out, "preference", *more))
    trainer, task = set_up(options, run, find_task("preference"))
    assert isinstance(task, PreferenceTask)
    return trainer, task


@pytest.mark.parametrize(("kind", "value"), [("sigmoid", math.log(2)), ("nca_pair", 2 * math.log(2)), ("hinge", 1.0)])
@pytest.mark.parametrize("how", HOW)
def test_the_first_loss_is_that_of_a_policy_equal_to_the_reference(
    place: Path, tmp_path: Path, kind: str, value: float, how: str
) -> None:
    trainer, _ = prepared(place, tmp_path / "run", "--preference", kind, *HOW[how])
    # float32 sums of log-probabilities near -50, whose order differs with the length of the batch
    assert trainer.evaluate()[0].loss == pytest.approx(value, abs=1e-5)
    trainer.workers.close()


def test_what_counts_is_the_answer_with_its_end(place: Path, tmp_path: Path) -> None:
    trainer, task = prepared(place, tmp_path / "run")
    for pair in task.examples.train:
        for text, words in zip(pair, (GOOD, BAD)):
            answer = task.tokenizer.decode(text.ids[text.learned].tolist())
            assert set(answer.removesuffix("<|im_end|>").split()) <= set(words)
            assert text.ids[text.learned][-1] == task.tokenizer.token_to_id("<|im_end|>")
    trainer.workers.close()


def test_the_reference_is_the_model_before_training(place: Path, tmp_path: Path) -> None:
    trainer, task = prepared(place, tmp_path / "run", "--lora-rank", "2")
    for p in trainer.model.parameters():
        if p.requires_grad:
            p.data += 0.3
    expected = reference_logps(trainer.model, task.examples.val)  # with adapters off
    np.testing.assert_allclose(task.reference["val"], expected, atol=1e-4)
    with no_grad():
        ids, targets = ids_and_targets([text for pair in task.examples.val for text in pair])
        moved = completion_logps(trainer.model, ids, targets).data.reshape(-1, 2)
    assert np.abs(moved - expected).max() > 1e-2
    trainer.workers.close()


def test_with_all_weights_a_resumed_run_needs_no_model_at_from(place: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    make_run(base, BYTES)
    assert train(place, tmp_path / "run", "preference", "--from", str(base), "--steps", "8") == 0
    base.rename(tmp_path / "elsewhere")
    assert resume(tmp_path / "run", "--steps", "10") == 0  # eight steps are more than an epoch


def test_a_reference_that_is_damaged_is_refused(place: Path, tmp_path: Path) -> None:
    train(place, tmp_path / "run", "preference", "--steps", "2")
    path = tmp_path / "run" / "reference.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(RunError, match="damaged"):
        resume(tmp_path / "run", "--steps", "4")


def test_a_reference_of_other_pairs_is_refused(tmp_path: Path) -> None:
    write_reference(tmp_path / "file", empty(2, 1), {"train": "a"})
    assert read_reference(tmp_path / "file", {"train": "a"})["train"].shape == (2, 2)
    with pytest.raises(RunError, match="other examples"):
        read_reference(tmp_path / "file", {"train": "b"})


def test_losses_without_a_reference_compute_none(place: Path, tmp_path: Path) -> None:
    train(place, tmp_path / "run", "preference", "--preference", "simpo", "--steps", "2")
    assert not (tmp_path / "run" / "reference.safetensors").exists()
    assert "val_drift" not in metrics(tmp_path / "run")[-1]


def test_options_that_do_not_fit_the_loss_are_refused(place: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="hinge has no --label-smoothing"):
        train(place, tmp_path / "run", "preference", "--preference", "hinge", "--label-smoothing", "0.1")
    with pytest.raises(ValueError, match="sigmoid has no --gamma; it belongs to simpo"):
        train(place, tmp_path / "run", "preference", "--gamma", "1")
    with pytest.raises(ValueError, match="lora-dropout"):
        train(place, tmp_path / "run", "preference", "--lora-rank", "2", "--lora-dropout", "0.1")


def test_pairs_beyond_the_context_are_left_out_and_counted(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    rows = (place / "preference.jsonl").read_text() + json.dumps(
        {"prompt": "long " * 50, "chosen": "a", "rejected": "b"}
    )
    (tmp_path / "long.jsonl").write_text(rows)
    train(place, tmp_path / "run", "preference", "--data", str(tmp_path / "long.jsonl"), "--steps", "1")
    assert "1 of 25 examples are left out" in capsys.readouterr().out


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_virtual_tokens_take_room_from_the_texts(place: Path, tmp_path: Path, objective: str) -> None:
    def row(length: int) -> str:
        text = "x" * length
        pair, labeled = {"prompt": "?", "chosen": text, "rejected": "y"}, {"text": text, "label": str(length % 4)}
        return json.dumps(labeled if objective == "classify" else pair) + "\n"

    (tmp_path / "long.jsonl").write_text("".join(map(row, range(2, 60, 2))))
    more = ["--data", str(tmp_path / "long.jsonl"), "--prefix-tokens", "9"]
    trainer, _ = set_up(*parse(arguments(place, tmp_path / "run", objective, *more)), find_task(objective))
    widths = [trainer.batches.batch(step)[0].shape[-1] for step in range(16)]
    assert max(widths) <= trainer.model.context == trainer.model.config.context - 9
    trainer.workers.close()


# --- reward -----------------------------------------------------------------------------------------------------------


def test_a_reward_model_has_one_number_for_each_text(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    train(place, tmp_path / "run", "reward", "--steps", "2")
    classifier, _ = hub.load(tmp_path / "run")
    assert classifier.labels == ("reward",)
    capsys.readouterr()
    start_generate(parse_generate(["--classify", "--run", str(tmp_path / "run"), "--prompt", "sun"]))
    name, number = capsys.readouterr().out.split()
    assert name == "reward" and math.isfinite(float(number))


def test_a_margin_that_is_no_number_is_refused(place: Path, tmp_path: Path) -> None:
    row = {"prompt": "p", "chosen": "a", "rejected": "b", "margin": "much"}
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row | {"prompt": f"p{i}"}) + "\n" for i in range(5)))
    with pytest.raises(DataError, match=r"rows\.jsonl, line \d: margin is 'much'"):
        train(place, tmp_path / "run", "reward", "--data", str(tmp_path / "rows.jsonl"))


# --- batches ----------------------------------------------------------------------------------------------------------


@given(st.integers(1, 30), st.integers(1, 12), st.integers(0, 9))
def test_each_example_is_used_once_in_an_epoch(count: int, batch_size: int, seed: int) -> None:
    batches = RowBatches(range(count), batch_size, seed, lambda some: (np.array(some),))
    steps = -(-3 * count // batch_size)
    order = np.concatenate([batches.batch(step)[0] for step in range(steps)])
    for epoch in range(3):
        assert sorted(order[epoch * count : (epoch + 1) * count]) == list(range(count))


@given(st.lists(st.integers(1, 50), min_size=1, max_size=90), st.integers(1, 5), st.integers(0, 9))
def test_batches_by_length_have_the_same_examples_and_no_lengths_between_them(
    lengths: list[int], batch_size: int, seed: int
) -> None:
    usual = RowBatches(range(len(lengths)), batch_size, seed, lambda some: (np.array(some),))
    sorted_ones = RowBatches(range(len(lengths)), batch_size, seed, usual.make_batch, lengths.__getitem__)
    size = sorted_ones.window
    for window in range(9):
        steps = range(window * size, (window + 1) * size)
        before, after = ([batches.indices(step) for step in steps] for batches in (usual, sorted_ones))
        assert sorted(sum(before, [])) == sorted(sum(after, []))
        first, last = steps.start * batch_size // len(lengths), (steps.stop * batch_size - 1) // len(lengths)
        if first == last:  # all of one epoch
            ends = sorted((min(lengths[i] for i in batch), max(lengths[i] for i in batch)) for batch in after)
            assert all(end <= begin for (_, end), (begin, _) in pairwise(ends))


@pytest.mark.parametrize(("count", "batch_size"), [(8, 4), (24, 3), (24, 8), (50, 2), (600, 8)])
def test_batches_by_length_do_not_repeat_an_example_and_differ_in_each_epoch(count: int, batch_size: int) -> None:
    def length(number: int) -> int:
        return number

    batches = RowBatches(range(count), batch_size, 1, lambda some: (np.array(some),), length)
    steps = 4 * batches.steps_per_epoch
    found = [batches.indices(step) for step in range(steps)]
    # Only where one epoch ends and the next begins, an example may come twice in a batch, as without lengths.
    assert sum(len({*batch}) < batch_size for batch in found) <= 4
    assert len({tuple(sorted(batch)) for batch in found}) > steps / 2
    assert batches.window == min(WINDOW, max(1, count // (4 * batch_size)))


@given(st.integers(1, 30), st.integers(1, 12), st.integers(1, 5))
def test_validation_batches_have_different_examples(count: int, batch_size: int, batches: int) -> None:
    found = some_batches(range(count), batch_size, batches, lambda some: (np.array(some),))
    rows = np.concatenate([batch[0] for batch in found])
    assert len({*rows}) == len(rows) == min(count, batch_size * batches)
    assert all(len(batch[0]) <= batch_size for batch in found)


def test_a_run_remembers_its_classes(classified: Path) -> None:
    assert Run(classified).task["classes"] == ["bad", "fine"]
