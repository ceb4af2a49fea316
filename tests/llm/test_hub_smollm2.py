"""A real model, SmolLM2-135M-Instruct from a GGUF file, gives here what it gives in transformers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import llm
from llm.inference.generate import generate
from llm.inference.sampling import Sampling
from minigrad import no_grad
from tests.llm.smollm2 import smollm2_path

pytestmark = [pytest.mark.shared, pytest.mark.slow]

GREEDY = Sampling(temperature=0)
PROMPTS = ["Once upon a time", "The capital of France is", "def fibonacci(n):"]


@pytest.fixture(scope="module")
def path() -> Path:
    return smollm2_path()


@pytest.fixture(scope="module")
def model(path: Path) -> Any:
    return llm.load(path)


@pytest.fixture(scope="module")
def golden(shared_data: Path) -> Any:
    return np.load(shared_data / "smollm2-135m-instruct" / "golden_hf_f32.npz")


@pytest.fixture(scope="module")
def golden_texts(shared_data: Path) -> Any:
    return json.loads((shared_data / "smollm2-135m-instruct" / "golden_hf_f32.json").read_text())


@pytest.mark.parametrize("number", range(len(PROMPTS)))
def test_greedy_text(number: int, model: Any, golden: Any) -> None:
    gpt, tokenizer = model
    prompt, expected = golden[f"p{number}_ids"].tolist(), golden[f"p{number}_greedy"].tolist()
    assert tokenizer.encode_ordinary(PROMPTS[number]) == prompt
    with no_grad():
        last = gpt(np.array([prompt])).data[0, -1]
    np.testing.assert_allclose(last, golden[f"p{number}_last_logits"], atol=1e-3)  # logits of up to 20, in float32
    ids = list(generate(gpt, prompt, max_tokens=len(expected) - len(prompt), sampling=GREEDY))
    assert prompt + ids == expected


@pytest.mark.parametrize("number", range(2))
def test_log_probabilities(number: int, model: Any, golden: Any) -> None:
    gpt, _ = model
    ids = golden[f"t{number}_ids"]
    with no_grad():
        logits = gpt(ids[None]).data[0].astype(np.float64)  # (T, V)
    normalized = logits - logits.max(axis=-1, keepdims=True)
    normalized -= np.log(np.exp(normalized).sum(axis=-1, keepdims=True))
    found = normalized[np.arange(len(ids) - 1), ids[1:]]
    np.testing.assert_allclose(found, golden[f"t{number}_logprobs"], atol=1e-4)
    top = golden[f"t{number}_top8_ids"]
    np.testing.assert_array_equal(np.argsort(-logits, axis=-1, kind="stable")[:, :8], top)


def test_an_answer_in_a_chat(model: Any, golden: Any, golden_texts: Any) -> None:
    gpt, tokenizer = model
    ids = tokenizer.encode(golden_texts["chat_prompt"], allowed_special="all")
    assert ids == golden["chat_ids"].tolist()
    expected = golden["chat_greedy"].tolist()
    assert ids + list(generate(gpt, ids, max_tokens=len(expected) - len(ids), sampling=GREEDY)) == expected
    chat = [{"role": "user", "content": "What is the capital of France?"}]
    pytest.importorskip("jinja2")
    assert tokenizer.encode_chat(chat, add_generation_prompt=True) == ids


@pytest.mark.parametrize("weights", ["widened", "stored"])
def test_the_program_writes_with_it(path: Path, golden_texts: Any, weights: str) -> None:
    prompt = PROMPTS[1]
    script = Path(__file__).parents[2] / "generate.py"
    options = ["--model", str(path), "--prompt", prompt, "--temperature", "0", "--weights", weights]
    result = subprocess.run([sys.executable, str(script), *options], capture_output=True, text=True, check=True)
    assert result.stdout == golden_texts[prompt].removesuffix("<|im_end|>") + "\n"  # which ends the text
