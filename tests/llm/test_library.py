"""`import llm` as a library: load, generate, stream, evaluate."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import llm
from llm.evaluation.text import evaluate_text
from llm.inference.text import write_text
from llm.model.gpt import GPT
from minigrad import no_grad
from tests.llm.gpts import random_gpt
from tests.llm.runs import make_run, model_at
from tokenizer import END_OF_TEXT, BaseTokenizer, CharTokenizer, Tokenizer

LETTERS = CharTokenizer.train(["abc\n"])
BYTES = Tokenizer.train(["the rain, the sea"], vocab_size=262, special_tokens=[END_OF_TEXT])


def test_every_name_is_there_and_no_other() -> None:
    assert set(llm.__all__) <= set(dir(llm))
    for name in llm.__all__:
        assert getattr(llm, name) is not None
    with pytest.raises(AttributeError, match="module 'llm' has no attribute 'lode'"):
        _ = llm.lode  # type: ignore[attr-defined]


def test_loading_and_writing_import_no_command_line_and_no_training() -> None:
    code = (
        "import sys, llm\n"
        "assert 'numpy' not in sys.modules\n"
        "llm.load, llm.generate, llm.stream, llm.evaluate\n"
        "print(sorted(set(sys.modules) & {'tyro', 'matplotlib', 'tqdm', 'llm.runs.options', 'llm.training', 'ssl'}))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


@pytest.mark.parametrize("kind", [str, Path])
def test_a_run_is_loaded_by_its_path(tmp_path: Path, kind: type) -> None:
    make_run(tmp_path / "run", LETTERS, steps=(5, 6), best=5)
    model, tokenizer = llm.load(kind(tmp_path / "run"))
    assert (tokenizer, model.training) == (LETTERS, False)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, model_at(LETTERS, 6).state_dict()[name])
    best, _ = llm.load(kind(tmp_path / "run"), "best")
    assert any((best.state_dict()[name] != array).any() for name, array in model.state_dict().items())
    with pytest.raises(ValueError, match="other does not exist; give a run of train.py, "):
        llm.load(kind(tmp_path / "other"))


@pytest.mark.parametrize("options", [{"weights": "stored"}, {"tokenizer": "other.json"}])
def test_a_run_keeps_its_tokenizer_and_its_weights(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="run is a run, with float32 weights and a tokenizer; leave weights and tok"):
        llm.load(make_run(tmp_path / "run", LETTERS).folder, **options)


def test_generate_and_stream_give_the_same_text() -> None:
    model = model_at(BYTES, 1)
    sampling = llm.Sampling(temperature=1.0)
    text = llm.generate(model, BYTES, "the", max_tokens=20, sampling=sampling, seed=3)
    assert text == "".join(llm.stream(model, BYTES, "the", max_tokens=20, sampling=sampling, seed=3))
    assert text == write_text(model, BYTES, "the", max_tokens=20, sampling=sampling, seed=3)
    assert isinstance(llm.generate(model, BYTES, max_tokens=2), str)


def plain_loss(model: GPT, ids: list[int]) -> float:
    """Token after token: the loss of each from the tokens before it in its window."""
    context, total = model.config.context, 0.0
    for position in range(1, len(ids)):
        begin = (position - 1) // context * context
        with no_grad():
            logits = model(np.array([ids[begin:position]])).numpy()[0, -1]
        total += float(np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[ids[position]])
    return total / (len(ids) - 1)


@given(text=st.text("abc\n", min_size=2, max_size=90), seed=st.integers(0, 99))
def test_the_loss_of_a_text_is_the_mean_over_its_tokens(text: str, seed: int) -> None:
    config = llm.GPTConfig(vocab_size=4, context=8, layers=1, heads=2, dim=8)
    model = random_gpt(config, seed)
    model.train()
    found = evaluate_text(model, LETTERS, text)
    assert model.training
    assert found.loss == pytest.approx(plain_loss(model, LETTERS.encode(text)), rel=1e-9)
    assert found.bytes_per_token == 1
    assert found.bits_per_byte == pytest.approx(found.loss / math.log(2))


@pytest.mark.parametrize("text", ["the rain", "é🌊", "x"])
def test_with_an_end_of_text_token_the_first_token_counts_too(text: str) -> None:
    model, ids = model_at(BYTES, 1), [BYTES.end_of_text, *BYTES.encode_ordinary(text)]
    found = llm.evaluate(model, BYTES, text)
    assert found.loss == pytest.approx(plain_loss(model, ids), rel=1e-5)  # float32
    assert found.bytes_per_token == pytest.approx(len(text.encode()) / (len(ids) - 1))


@pytest.mark.parametrize(("tokenizer", "text"), [(LETTERS, ""), (LETTERS, "a"), (BYTES, "")])
def test_a_text_with_nothing_to_predict_is_refused(tokenizer: BaseTokenizer, text: str) -> None:
    with pytest.raises(ValueError, match="is too short to be evaluated"):
        llm.evaluate(model_at(tokenizer, 1), tokenizer, text)
