"""GGUF files that are written here are read here, by the package gguf and by transformers, as the same model."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.hub.errors import HubError
from llm.hub.load import load
from llm.hub.save_gguf import ARCHITECTURES, lost, nearest_architecture, save_gguf
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.model.rope_scaling import RopeScaling
from minigrad import no_grad
from tests.llm.gpts import SEEDS, configs, random_gpt, token_ids

pytest.importorskip("gguf")

LLAMA = GPTConfig(
    vocab_size=40, context=32, layers=2, heads=4, kv_heads=2, dim=64, mlp_dim=96, positions="rope", norm="rmsnorm",
    mlp="swiglu", bias=False, tied_head=False,
)  # fmt: skip
GPT2 = GPTConfig(vocab_size=40, context=32, layers=2, heads=4, dim=64)
LLAMA3 = RopeScaling("llama3", factor=8.0, original_context=16)
MODELS = {
    "llama": LLAMA,
    "llama with a tied head": replace(LLAMA, tied_head=True),
    "llama 3": replace(LLAMA, rope_scaling=LLAMA3),
    "linear": replace(LLAMA, rope_scaling=RopeScaling("linear", factor=4.0)),
    "qwen2": replace(LLAMA, qkv_bias=True),
    "qwen3": replace(LLAMA, qk_norm=True, head_dim=32),
    "gpt2": GPT2,
}


def logits_of(model: GPT, ids: np.ndarray) -> np.ndarray:
    with no_grad():
        return model(ids).data


def written(model: GPT, kind: Any = "F32") -> GPT:
    """The model, written to a file and read again."""
    with tempfile.TemporaryDirectory() as folder:
        save_gguf(model, None, Path(folder, "model.gguf"), kind)
        return load(Path(folder, "model.gguf"))[0]


# F32 keeps all weights. The logits differ by the base and epsilon of the metadata, which are float32, and by factors of
# rope in float32. F16 rounds weights to 11 bits, Q8_0 to 8.
@pytest.mark.parametrize(("kind", "tolerance"), [("F32", 1e-5), ("F16", 1e-2), ("Q8_0", 0.2)])
@pytest.mark.parametrize("name", MODELS)
def test_what_is_written_is_read_again(name: str, kind: str, tolerance: float) -> None:
    model, ids = random_gpt(MODELS[name], 0, np.float32), token_ids(np.random.default_rng(0), 2, 24)
    again = written(model, kind)
    expected = logits_of(model, ids)
    assert np.abs(logits_of(again, ids) - expected).max() < tolerance * np.abs(expected).max()
    if kind == "F32":
        for key, array in model.state_dict().items():
            np.testing.assert_array_equal(again.state_dict()[key], array, err_msg=key)


# float32 tells all decimals of 6 digits apart. So it comes back as it was: 1e-06, and not 9.999999974752427e-07.
@given(digits=st.integers(1, 10**6 - 1), exponent=st.integers(-20, 0), base=st.integers(1, 2**24))
def test_numbers_of_the_configuration_come_back_as_they_were(digits: int, exponent: int, base: int) -> None:
    config = replace(MODELS["llama"], norm_eps=float(f"{digits}e{exponent}"), rope_base=float(base))
    assert written(GPT(config, rng=None)).config == config


@given(configs(), SEEDS)
@settings(max_examples=3 * settings().max_examples // 2)
def test_a_model_is_written_or_refused_by_naming_what_is_impossible(config: GPTConfig, seed: int) -> None:
    model = random_gpt(config, seed, np.float32)
    if any(lost(model, name) == [] for name in ARCHITECTURES):
        ids = token_ids(np.random.default_rng(seed), 2, 10)
        np.testing.assert_allclose(logits_of(written(model), ids), logits_of(model, ids), rtol=1e-3, atol=1e-3)
    else:
        with pytest.raises(HubError, match="no architecture of GGUF files has such a model; the nearest, "):
            nearest_architecture(model)


def test_an_existing_file_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_text("precious")
    with pytest.raises(HubError, match="exists already"):
        save_gguf(random_gpt(LLAMA, 0, np.float32), None, tmp_path / "model.gguf")
    assert (tmp_path / "model.gguf").read_text() == "precious"


@pytest.mark.parity
@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama", "llama with a tied head", "qwen2", "qwen3", "gpt2"])
def test_transformers_opens_the_file(name: str, tmp_path: Path) -> None:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    pytest.importorskip("accelerate")  # which transformers wants for GGUF files
    # What transformers does not read in these files: the width of a head of Qwen 3, the context and vocabulary of GPT-2
    # without a tokenizer. It also passes over scaled rope: "linear" and "llama 3" are not here.
    own = {"qwen3": {"head_dim": 128}, "gpt2": {"context": 1024, "vocab_size": 50257}}
    config = replace(MODELS[name], **own.get(name, {}))
    model, ids = random_gpt(config, 1, np.float32), token_ids(np.random.default_rng(1), 1, 20)
    save_gguf(model, None, tmp_path / "model.gguf", "F32")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="model.gguf")
    with torch.no_grad():
        expected = theirs.eval()(torch.tensor(ids)).logits.numpy()
    assert np.abs(logits_of(model, ids) - expected).max() < 1e-4 * np.abs(expected).max()
