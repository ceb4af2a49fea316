"""Classifiers: the last real token decides, and folders of transformers give what they give there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

import llm
from llm import hub
from llm.hub.errors import HubError
from llm.hub.source import open_model
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.tuning import Classifier
from minigrad import no_grad
from minigrad.tensor import Tensor
from tests.llm.gpts import CONTEXT, FLOAT64_SUMS, SEEDS, VOCAB, configs, random_gpt, token_ids

BASES = ["llama_gqa_llama3", "gpt2"]


def logits(classifier: Classifier, ids: np.ndarray, mask: Any = None) -> np.ndarray:
    with no_grad():
        return classifier(ids, mask=mask).data


@st.composite
def padded(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Ids and mask (B, T) with padding on the left, on the right, or both, and the texts without it."""
    rng, T = np.random.default_rng(draw(SEEDS)), draw(st.integers(1, 10))
    ids, mask, texts = token_ids(rng, 3, T), np.zeros((3, T), bool), []
    for row in range(3):
        first = draw(st.integers(0, T - 1))
        mask[row, first : draw(st.integers(first + 1, T))] = True
        texts.append(ids[row][mask[row]])
    return ids, mask, texts


@given(configs(), SEEDS, padded(), st.integers(1, 4))
def test_padding_on_either_side_changes_nothing(config: GPTConfig, seed: int, batch: Any, classes: int) -> None:
    classifier = Classifier(random_gpt(config, seed), classes, rng=seed)
    ids, mask, texts = batch
    found = logits(classifier, ids, mask)
    assert found.shape == (3, classes)
    for row, text in zip(found, texts):
        np.testing.assert_allclose(row, logits(classifier, text[None])[0], **FLOAT64_SUMS)


@pytest.mark.control
def test_a_mask_that_is_shifted_by_one_is_noticed() -> None:
    classifier = Classifier(random_gpt(GPTConfig(VOCAB, CONTEXT, layers=1, heads=2, dim=8), 0), 2)
    ids, mask = token_ids(np.random.default_rng(0), 2, 6), np.array([[1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 0, 0]])
    right, shifted = logits(classifier, ids, mask), logits(classifier, ids, np.roll(mask, 1, axis=1))
    assert np.abs(right - shifted).max() > 1e-3


@given(configs(), SEEDS)
def test_the_logits_are_those_of_the_score_times_the_last_vector(config: GPTConfig, seed: int) -> None:
    model = random_gpt(config, seed)
    classifier, ids = Classifier(model, ["good", "bad"], rng=seed), token_ids(np.random.default_rng(seed), 2, 5)
    with no_grad():
        expected = model.hidden(ids).data[:, -1] @ classifier.score.weight.data.T
    np.testing.assert_allclose(logits(classifier, ids), expected, **FLOAT64_SUMS)


def test_the_head_of_the_vocabulary_is_not_a_parameter_and_the_rest_is_shared() -> None:
    model = random_gpt(GPTConfig(VOCAB, CONTEXT, layers=1, heads=2, dim=8, tied_head=False, head_bias=True), 0)
    names = {name for name, _ in Classifier(model, 2).named_parameters()}
    ours = {f"model.{name}" for name, _ in model.named_parameters() if not name.startswith("head")}
    assert names == ours | {"score.weight"}
    assert {id(p) for p in Classifier(model, 2).parameters()} >= {id(p) for p in model.blocks.parameters()}
    assert model(np.array([[1]])).shape == (1, 1, VOCAB)  # it has kept its head


@given(SEEDS)
def test_gradients_agree_with_finite_differences(seed: int) -> None:
    classifier = Classifier(random_gpt(GPTConfig(VOCAB, CONTEXT, layers=1, heads=2, dim=4), seed), 3, rng=seed)
    ids, mask = token_ids(np.random.default_rng(seed), 2, 4), np.array([[1, 1, 0, 0], [1, 1, 1, 1]])
    parameters = [classifier.score.weight, classifier.model.embedding.weight, classifier.model.norm.weight]

    def loss(*arrays: Tensor) -> Tensor:
        for p, array in zip(parameters, arrays):
            p.data = array.data
        return classifier.loss(ids, np.array([2, 0]), mask=mask)

    numeric = [p.data.copy() for p in parameters]
    loss(*map(Tensor, numeric)).backward()
    for i, p in enumerate(parameters):
        direction = np.random.default_rng(seed).standard_normal(p.shape)
        moved = [[a + sign * 1e-6 * direction if j == i else a for j, a in enumerate(numeric)] for sign in (1, -1)]
        with no_grad():
            plus, minus = (float(loss(*map(Tensor, arrays)).data) for arrays in moved)
        # The difference of two losses near 1 has an error of about 2e-16 / 1e-6 by rounding.
        assert (p.grad.data * direction).sum() == pytest.approx((plus - minus) / 2e-6, rel=1e-4, abs=1e-8)


def test_classes_and_masks_that_are_not_possible_are_refused() -> None:
    model = GPT(GPTConfig(VOCAB, CONTEXT, layers=1, heads=2, dim=8))
    for classes in (0, [], ["a", "a"], "ab", True):
        with pytest.raises(ValueError, match="a name for each of them"):
            Classifier(model, classes)
    with pytest.raises(ValueError, match="needs a real token"):
        Classifier(model, 2)(np.zeros((2, 3), int), mask=[[1, 1, 0], [0, 0, 0]])


# --- folders ----------------------------------------------------------------------------------------------------------


@pytest.mark.shared
@pytest.mark.parametrize("base", BASES)
def test_folders_give_the_logits_the_loss_and_the_gradients_of_transformers(shared_data: Path, base: str) -> None:
    folder = shared_data / "tuning" / base / "classifier3"
    classifier, tokenizer = hub.load(folder, np.float64)
    assert isinstance(classifier, Classifier) and tokenizer is None
    reference = np.load(folder / "ref.npz")
    ids, mask, classes = reference["input_ids"], reference["attention_mask"], reference["labels"]
    # Both compute in float64: they differ by the order of sums.
    np.testing.assert_allclose(logits(classifier, ids, mask), reference["logits_f64"], rtol=1e-9)
    loss = classifier.loss(ids, classes, mask=mask)
    assert float(loss.data) == pytest.approx(float(reference["loss_f64"]), rel=1e-9)
    loss.backward()
    np.testing.assert_allclose(classifier.score.weight.grad.data, reference["grad/score.weight"], rtol=1e-7, atol=1e-9)
    parts, compared = open_model(folder).parts, 0
    for name, parameter in classifier.named_parameters():
        for theirs, gradient in parts[name].split(parameter.grad.data).items():
            assert np.linalg.norm(gradient) == pytest.approx(float(reference[f"gradnorm/{theirs}"]), rel=1e-7)
            compared += 1
    assert compared == sum(name.startswith("gradnorm/") for name in reference)


@pytest.mark.shared
@pytest.mark.parametrize("base", BASES)
def test_a_folder_that_is_loaded_and_saved_is_the_same_classifier(shared_data: Path, tmp_path: Path, base: str) -> None:
    folder = shared_data / "tuning" / base / "classifier3"
    classifier, _ = hub.load(folder)
    hub.save(classifier, None, tmp_path / "saved")
    theirs, ours = (load_file(path / "model.safetensors") for path in (folder, tmp_path / "saved"))
    assert theirs.keys() == ours.keys() and all((theirs[name] == ours[name]).all() for name in theirs)
    before, after = (json.loads((path / "config.json").read_text()) for path in (folder, tmp_path / "saved"))
    for name in ("architectures", "id2label", "label2id", "pad_token_id", "model_type"):
        assert before[name] == after[name]


SMALL = GPTConfig(VOCAB, CONTEXT, layers=1, heads=2, dim=8, bias=False, norm="rmsnorm", mlp="swiglu", positions="rope")


@given(tied=st.booleans(), seed=SEEDS)
def test_labels_and_weights_are_kept_in_a_folder(tmp_path_factory: Any, tied: bool, seed: int) -> None:
    config = replace(SMALL, tied_head=tied)
    classifier = Classifier(random_gpt(config, seed, np.float32), ["ham", "spam"], rng=seed, pad_id=3)
    folder = tmp_path_factory.mktemp("classifier") / "saved"
    hub.save(classifier, None, folder)
    loaded, _ = hub.load(folder)
    assert (loaded.labels, loaded.pad_id) == (("ham", "spam"), 3)
    ids = token_ids(np.random.default_rng(seed), 2, 5)
    assert (logits(loaded, ids) == logits(classifier, ids)).all()


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    hub.save(Classifier(random_gpt(SMALL, 0, np.float32), 2), None, tmp_path / "saved")
    return tmp_path / "saved"


def change_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("id2label", [{"0": "a"}, {"0": "a", "1": "a"}, ["a", "b"], {"0": "a", "2": "b"}])
def test_labels_that_do_not_fit_the_head_are_refused(saved: Path, id2label: Any) -> None:
    change_config(saved, id2label=id2label)
    with pytest.raises(HubError, match="id2label"):
        hub.load(saved)


def test_without_labels_they_are_numbered(saved: Path) -> None:
    change_config(saved, id2label=None)
    assert hub.load(saved)[0].labels == ("LABEL_0", "LABEL_1")


def test_a_classifier_without_a_head_is_refused(saved: Path) -> None:
    tensors = load_file(saved / "model.safetensors")
    del tensors["score.weight"]
    save_file(tensors, saved / "model.safetensors", {"format": "pt"})
    with pytest.raises(HubError, match=r"no tensor score\.weight"):
        hub.load(saved)


def test_a_classifier_writes_no_text(saved: Path) -> None:
    with pytest.raises(HubError, match="no tokenizer|writes no text"):
        llm.load(saved)
    with pytest.raises(HubError, match="widened"):
        hub.load(saved, weights="stored")


def test_inspect_knows_classifiers(saved: Path) -> None:
    from llm.hub.inspect import describe

    source = open_model(saved)
    assert "score.weight" in describe(source, None, source.read_defaults(None))


@pytest.mark.parity
@pytest.mark.parametrize("side", ["left", "right"])
def test_transformers_loads_what_is_saved_and_gives_the_same_logits(tmp_path: Path, side: str) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification

    classifier = Classifier(random_gpt(SMALL, 5, np.float32), ["a", "b", "c"], rng=1, pad_id=0)
    hub.save(classifier, None, tmp_path / "saved")
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved").eval()
    rng = np.random.default_rng(3)
    ids, lengths = rng.integers(1, VOCAB, (4, 7)), rng.integers(1, 8, 4)
    real = np.arange(7) < lengths[:, None]
    mask = real if side == "right" else real[:, ::-1]
    ids = np.where(mask, ids, 0)
    with torch.no_grad():
        expected = theirs(torch.tensor(ids), attention_mask=torch.tensor(mask.astype(int))).logits.numpy()
    # float32 here and there, activations of some tens
    np.testing.assert_allclose(logits(classifier, ids, mask), expected, rtol=1e-4, atol=1e-4)
    assert theirs.config.id2label == {0: "a", 1: "b", 2: "c"}
