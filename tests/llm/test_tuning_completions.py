"""Log-probabilities of completions: which tokens count, padding, and those that TRL has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from llm import hub
from llm.hub.source import open_model
from llm.hub.stored import Stored
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.tuning import preference_loss
from llm.tuning.chat.packing import IGNORED, Tokens
from llm.tuning.preferences.completions import completion_lengths, completion_logps, ids_and_targets, joined
from llm.tuning.preferences.losses import LOSSES
from minigrad import no_grad
from tests.llm.gpts import FLOAT64_SUMS, SEEDS, VOCAB, configs, random_gpt

completions = st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=5)
prompts = st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=5)


def logps(model: GPT, texts: list) -> np.ndarray:
    with no_grad():
        return completion_logps(model, *ids_and_targets(texts)).data


def one_by_one(model: GPT, prompt: list[int], completion: list[int]) -> float:
    """The definition: the log-probability of each token, given all before it, added up."""
    with no_grad():
        found = model(np.array([[*prompt, *completion]])).data[0]
    log_probabilities = found - np.log(np.exp(found - found.max()).sum(-1, keepdims=True)) - found.max()
    return sum(log_probabilities[len(prompt) - 1 + i, token] for i, token in enumerate(completion))


@given(configs(), SEEDS, st.lists(st.tuples(prompts, completions), min_size=1, max_size=3))
def test_the_tokens_of_completions_count_and_nothing_else(config: GPTConfig, seed: int, pairs: list) -> None:
    model = random_gpt(config, seed)
    texts = [joined(*pair) for pair in pairs]
    expected = [one_by_one(model, *pair) for pair in pairs]
    np.testing.assert_allclose(logps(model, texts), expected, **FLOAT64_SUMS)
    assert completion_lengths(ids_and_targets(texts)[1]).tolist() == [len(completion) for _, completion in pairs]


def mistakes(prompt: list[int], completion: list[int]) -> dict[str, Any]:
    text = joined(prompt, completion)
    return {
        "a mask that is shifted by one": Tokens(text.ids, np.append(text.learned[1:], False)),
        "a prompt that counts": Tokens(text.ids, text.learned | True),
        "no end of turn": Tokens(text.ids, np.append(text.learned[:-1], False)),
    }


@pytest.mark.control
@pytest.mark.parametrize("mistake", ["a mask that is shifted by one", "a prompt that counts", "no end of turn"])
def test_a_wrong_mask_is_noticed(mistake: str) -> None:
    model = random_gpt(GPTConfig(VOCAB, 16, layers=1, heads=2, dim=8), 0)
    prompt, completion = [1, 2, 3], [4, 5, 6]
    wrong = logps(model, [mistakes(prompt, completion)[mistake]])
    assert abs(wrong - one_by_one(model, prompt, completion)) > 1e-2


# --- TRL --------------------------------------------------------------------------------------------------------------

FOLDER = Path("tuning") / "preference"


class Reference:
    """The pairs, and what TRL gives for them."""

    def __init__(self, shared_data: Path, dtype: Any = np.float64):
        self.data = json.loads((shared_data / FOLDER / "preference.json").read_text())
        base = shared_data / "hf_fixtures" / "llama_gqa_llama3"
        self.reference, _ = hub.load(base, dtype)
        self.policy, _ = hub.load(base, dtype)
        self.parts = open_model(base).parts
        tensors = load_file(shared_data / FOLDER / "policy.safetensors")
        for name, parameter in self.policy.named_parameters():
            self.parts[name].fill(parameter.data, lambda theirs: Stored.from_array(tensors[theirs]))
        self.pairs = {
            side: [joined(pair["prompt_ids"], pair[f"{side}_ids"]) for pair in self.data["pairs"]]
            for side in ("chosen", "rejected")
        }

    def gradients(self, **options: Any) -> tuple[float, dict[str, np.ndarray]]:
        """The mean loss, and the gradient of each of their tensors."""
        self.policy.zero_grad()
        ids, targets = ids_and_targets([*self.pairs["chosen"], *self.pairs["rejected"]])  # both in one batch, (2 B, T)
        policy, tokens = completion_logps(self.policy, ids, targets), completion_lengths(targets)
        with no_grad():
            reference = completion_logps(self.reference, ids, targets)
        B = len(ids) // 2
        tokens_of = {"chosen_tokens": tokens[:B], "rejected_tokens": tokens[B:]}
        loss = preference_loss(policy[:B], policy[B:], reference[:B], reference[B:], **tokens_of, **options).mean()
        loss.backward()
        found: dict[str, np.ndarray] = {}
        for name, parameter in self.policy.named_parameters():
            found |= self.parts[name].split(parameter.grad.data)
        return float(loss.data), found


@pytest.mark.shared
def test_log_probabilities_are_those_of_transformers(shared_data: Path) -> None:
    fixture = Reference(shared_data)
    for who, model in (("policy", fixture.policy), ("reference", fixture.reference)):
        for side, texts in fixture.pairs.items():
            # Both in float64, but the tables of rope are in float32 there: eight digits are the same.
            np.testing.assert_allclose(logps(model, texts), fixture.data[f"{who}_logps_{side}"], rtol=1e-7)


@pytest.mark.shared
def test_losses_and_norms_of_gradients_are_those_of_trl_s_trainer(shared_data: Path) -> None:
    fixture = Reference(shared_data)
    rows = [row for row in fixture.data["losses"] if row["loss_type"] in LOSSES]
    assert len(rows) >= 10
    for row in rows:
        options = {"kind": row["loss_type"], "beta": row["beta"], "label_smoothing": row.get("label_smoothing", 0.0)}
        loss, gradients = fixture.gradients(**options)
        norm = np.sqrt(sum((array**2).sum() for array in gradients.values()))
        # TRL computed in float32, where sums of log-probabilities of some tens have an error of 1e-6.
        assert loss == pytest.approx(row["loss"], rel=2e-6), row["loss_type"]
        assert norm == pytest.approx(row["gradient_norm"], rel=2e-5), row["loss_type"]


@pytest.mark.shared
def test_the_gradient_of_dpo_is_that_of_trl_s_trainer(shared_data: Path) -> None:
    fixture = Reference(shared_data)
    _, gradients = fixture.gradients(kind="sigmoid", beta=0.3)
    theirs = np.load(shared_data / FOLDER / "dpo_grad.npz")
    assert {f"dpo_grad/{name}" for name in gradients} == {*theirs}
    for name, array in gradients.items():
        expected = theirs[f"dpo_grad/{name}"]
        np.testing.assert_allclose(array, expected, rtol=1e-3, atol=2e-6 * np.abs(expected).max() + 1e-7)


@pytest.mark.shared
@pytest.mark.control
def test_a_prompt_that_counts_is_noticed_by_the_loss(shared_data: Path) -> None:
    fixture = Reference(shared_data)
    for side, texts in fixture.pairs.items():
        fixture.pairs[side] = [Tokens(text.ids, text.learned | True) for text in texts]
    loss, _ = fixture.gradients(kind="ipo", beta=0.3)
    assert abs(loss - next(row["loss"] for row in fixture.data["losses"] if row["loss_type"] == "ipo")) > 1e-2


@given(st.lists(st.tuples(prompts, completions), min_size=1, max_size=4))
def test_targets_are_the_tokens_that_follow(pairs: list) -> None:
    ids, targets = ids_and_targets([joined(*pair) for pair in pairs])
    for row, (prompt, completion) in enumerate(pairs):
        assert targets[row][targets[row] != IGNORED].tolist() == completion
        assert ids[row, : len(prompt)].tolist() == prompt
