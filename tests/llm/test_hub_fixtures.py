"""Models of other people give here what they give in transformers: the folders of the real data, in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llm.hub.load import load
from llm.hub.source import open_model
from llm.hub.weights import PlusOne
from llm.inference.generate import CachedReader, read_all
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from minigrad import no_grad

pytestmark = pytest.mark.shared

NAMES = [
    "gemma3_text", "gpt2", "gpt_neox_pythia", "llama_gqa_llama3", "llama_mha", "mistral_swa", "mixtral", "phi3",
    "qwen2", "qwen3",
]  # fmt: skip


@pytest.fixture(params=NAMES)
def folder(request: pytest.FixtureRequest, shared_data: Path) -> Path:
    return shared_data / "hf_fixtures" / request.param


@pytest.fixture
def reference(folder: Path) -> Any:
    return np.load(folder / "ref.npz")


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, as a fraction of the largest expected number."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def model_in(folder: Path, dtype: Any = np.float64) -> GPT:
    model, tokenizer = load(folder, dtype)
    assert tokenizer is None  # these folders have none
    return model


@pytest.mark.parametrize(
    ("dtype", "name", "tolerance"), [(np.float64, "logits_f64", 1e-9), (np.float32, "logits_f32", 1e-4)]
)
def test_logits(folder: Path, reference: Any, dtype: Any, name: str, tolerance: float) -> None:
    with no_grad():
        logits = model_in(folder, dtype)(reference["input_ids"]).data
    assert relative_error(logits, reference[name]) < tolerance


def test_loss_and_gradients(folder: Path, reference: Any) -> None:
    model, ids = model_in(folder), reference["input_ids"]
    # Each token is predicted from those before it, where the mask of the reference says that both are tokens.
    targets = np.where(reference["attention_mask"][:, 1:] == 1, ids[:, 1:], -100)
    loss = model.loss(ids[:, :-1], targets)
    assert abs(loss.item() - reference["loss_f64"]) < 1e-9
    loss.backward()
    found = their_gradients(model, folder)
    for key in reference.files:
        kind, _, name = key.partition("/")
        if kind == "grad":
            assert relative_error(found[name], reference[key]) < 1e-7, name
        elif kind == "gradnorm":
            assert np.linalg.norm(found[name]) == pytest.approx(reference[key], rel=1e-7, abs=1e-12), name


def their_gradients(model: GPT, folder: Path) -> dict[str, np.ndarray]:
    """The gradients by the names of the file."""
    source, found = open_model(folder), dict[str, np.ndarray]()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        part, gradient = source.parts[name], parameter.grad.data
        # The gradient of w + 1 is that of w.
        found |= {part.name: gradient} if isinstance(part, PlusOne) else part.split(gradient)
    return found | in_memory(found, model.config)


def in_memory(found: dict[str, np.ndarray], config: GPTConfig) -> dict[str, np.ndarray]:
    """Those that transformers has in memory under other names than in the file, and experts as one tensor."""
    more = {"lm_head.weight": found["embed_out.weight"]} if "embed_out.weight" in found else {}
    for layer in range(config.layers if config.experts else 0):
        theirs, ours = f"model.layers.{layer}.mlp", f"model.layers.{layer}.block_sparse_moe"
        w1, w2, w3 = (
            np.stack([found[f"{ours}.experts.{e}.{name}.weight"] for e in range(config.experts)])
            for name in ("w1", "w2", "w3")
        )
        more[f"{theirs}.experts.gate_up_proj"] = np.concatenate([w1, w3], axis=1)
        more |= {f"{theirs}.experts.down_proj": w2, f"{theirs}.gate.weight": found[f"{ours}.gate.weight"]}
    return more


@pytest.mark.parametrize("cached", [True, False])
def test_greedy_text(folder: Path, reference: Any, cached: bool) -> None:
    model, expected = model_in(folder), reference["greedy_ids"][0].tolist()
    reader = CachedReader(model) if cached else lambda ids: read_all(model, ids)
    ids = reference["prompt_ids"][0].tolist()
    while len(ids) < len(expected):
        ids.append(int(reader(ids).argmax()))
    assert ids == expected


def test_a_batch_with_padding_on_the_left(folder: Path, reference: Any) -> None:
    mask = reference["pad_mask"] == 1
    with no_grad():
        logits = model_in(folder)(reference["pad_input_ids"], mask=mask).data
    assert relative_error(logits[mask], reference["pad_logits_f64"][mask]) < 1e-9


@pytest.mark.control
def test_a_wrong_base_of_rope_is_noticed(shared_data: Path) -> None:
    folder = shared_data / "hf_fixtures" / "llama_mha"
    model, reference = model_in(folder), np.load(folder / "ref.npz")
    object.__setattr__(model.config, "rope_base", 10001.0)
    wrong = GPT(model.config, rng=None, dtype=np.float64).eval()
    wrong.load_state_dict(model.state_dict())
    with no_grad():
        assert relative_error(wrong(reference["input_ids"]).data, reference["logits_f64"]) > 1e-9
