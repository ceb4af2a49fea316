"""The page of plain NumPy computes what the model computes, and its command writes text or says why it cannot."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.model import textbook
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.model.rope_scaling import RopeScaling
from minigrad import no_grad
from tests.llm.gpts import SEEDS, VOCAB, configs, random_gpt, token_ids
from tests.llm.runs import make_run, model_at
from tokenizer import CharTokenizer

# Some hundred products are added in another order, a few units of 1e-16 in float64. Differences are divided by the
# largest logit if that is above 1. In 300 examples the largest was 2.5e-15.
FLOAT64 = 1e-13
ROOT = Path(__file__).parents[2]
SMALL = GPTConfig(
    vocab_size=VOCAB, context=16, layers=2, heads=4, kv_heads=2, dim=16, positions="rope", mlp="swiglu", qk_norm=True
)


def supported_configs() -> st.SearchStrategy[GPTConfig]:
    """Any configuration that the page supports."""
    choices = {name: st.sampled_from(values) for name, values in textbook.SUPPORTED.items()}
    choices["rope_base"] = st.sampled_from([100.0, 10000.0])
    return st.fixed_dictionaries(choices).flatmap(lambda fixed: configs(**fixed))


def difference(config: GPTConfig, seed: int, length: int = 8) -> float:
    """The largest difference between the logits of the page and those of the model."""
    model, ids = random_gpt(config, seed), token_ids(np.random.default_rng(seed), length)
    expected = model(ids[None]).data[0]
    found = textbook.gpt(ids, model.state_dict(), config)
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1))


@given(supported_configs(), SEEDS, st.integers(1, 12))
def test_the_page_equals_the_model(config: GPTConfig, seed: int, length: int) -> None:
    assert difference(config, seed, length) < FLOAT64


@pytest.mark.control
@pytest.mark.parametrize("name", ["attention", "mlp", "linear", "norm", "rms_norm", "softmax", "rotate", "swiglu"])
def test_an_error_in_a_function_of_the_page_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = getattr(textbook, name)
    if name == "swiglu":
        monkeypatch.setitem(textbook.ACTIVATIONS, name, lambda *arguments: 1.1 * right(*arguments))
    else:
        monkeypatch.setattr(textbook, name, lambda *arguments: 1.1 * right(*arguments))
    assert difference(SMALL, 0) > 1e-3


@pytest.mark.control
def test_a_page_without_the_causal_mask_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np, "tri", lambda T, dtype: np.ones((T, T), dtype))
    assert difference(SMALL, 0) > 1e-3


def test_the_page_loads_no_engine() -> None:
    code = "import sys, llm.model.textbook; print([name for name in sys.modules if name.startswith('minigrad')])"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


# --- the command ------------------------------------------------------------------------------------------------------

TOKENIZER = CharTokenizer.train(["To be, or not to be"])


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run with a small model; its context is 32 tokens."""
    make_run(tmp_path / "run", TOKENIZER)
    return tmp_path / "run"


def written_by_the_model(prompt: str, tokens: int, seed: int) -> str:
    """What the command should write, with logits of the model in the place of the page's."""
    model, rng, ids = model_at(TOKENIZER, 5).astype(np.float64), np.random.default_rng(seed), TOKENIZER.encode(prompt)
    assert isinstance(model, GPT)
    for _ in range(tokens):
        with no_grad():
            logits = model(np.array([ids[-32:]])).data[0, -1] / 0.8  # the temperature
        probabilities = np.exp(logits) / np.exp(logits).sum()
        ids = [*ids, int(rng.choice(len(probabilities), p=probabilities))]
    return TOKENIZER.decode(ids)


@pytest.mark.parametrize(("tokens", "seed"), [(0, 0), (10, 0), (40, 3)])  # 40: longer than the context
def test_the_command_writes_what_the_model_predicts(
    tokens: int, seed: int, run: Path, capsys: pytest.CaptureFixture
) -> None:
    textbook.main([str(run), "To be", "--tokens", str(tokens), "--seed", str(seed)])
    assert capsys.readouterr().out == written_by_the_model("To be", tokens, seed) + "\n"


@pytest.mark.parametrize("more", [0, 1, 5])
def test_a_prompt_that_does_not_fit_is_read_in_part_with_a_note(
    more: int, run: Path, capsys: pytest.CaptureFixture
) -> None:
    prompt = "o" * (32 + more)
    textbook.main([str(run), prompt, "--tokens", "1"])
    written = capsys.readouterr()
    assert written.out == written_by_the_model(prompt, 1, 0) + "\n"
    note = f"textbook: the prompt has {32 + more} tokens, and the model reads the last 32 of them\n"
    assert written.err == (note if more else "")


def edit(run: Path, **fields: Any) -> None:
    """Change fields of the model in config.json."""
    path = run / "config.json"
    data = json.loads(path.read_text())
    data["model"] |= fields
    path.write_text(json.dumps(data))


BROKEN = {
    "no folder": (lambda run: run.rename(run.with_name("elsewhere")), "has no config.json and no model.safetensors"),
    "no checkpoint": (lambda run: (run / "model.safetensors").unlink(), "has no model.safetensors; give the folder"),
    "not JSON": (lambda run: (run / "config.json").write_text("{"), "config.json is not the configuration of a run"),
    "no model": (lambda run: (run / "config.json").write_text("{}"), "config.json is not the configuration of a run"),
    "unknown field": (lambda run: edit(run, depth=3), "unknown in a model configuration: depth"),
    "not weights": (lambda run: (run / "model.safetensors").write_bytes(b"12345678"), "does not hold weights"),
    "not a tokenizer": (lambda run: (run / "tokenizer.json").write_text("{}"), "tokenizer.json"),
    "another model": (lambda run: edit(run, layers=2), "do not belong together"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_read_is_met_by_a_sentence(name: str, run: Path) -> None:
    damage, words = BROKEN[name]
    damage(run)
    with pytest.raises(SystemExit, match=words) as error:
        textbook.main([str(run), "To be"])
    assert str(error.value).startswith("textbook: ")
    assert "\n" not in str(error.value)


# fmt: off
UNSUPPORTED = {"positions": "alibi", "rope_interleaved": True, "norm_position": "post", "mlp": "geglu",
               "window": 3, "soft_cap": 5.0, "head_bias": True, "parallel": True, "embedding_norm": True,
               "embedding_scale": 2.0, "attention_scale": 0.3, "attention_scale_by_layer": True,
               "attention_soft_cap": 2.0, "qk_norm_all": True, "rope_dim": 2, "rope_layers": (0,),
               "rope_scaling": RopeScaling("linear", 2.0), "window_layers": (0,), "window_rope_base": 1e2, "experts": 4,
               "experts_per_token": 3, "normalize_experts": False, "balance_loss": 0.1,
               "balance_by_layer": True, "dense_layers": (0,),
               "dense_mlp_dim": 5}
# fmt: on


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_an_option_that_the_page_does_not_support_is_refused_by_name(name: str, run: Path) -> None:
    value = UNSUPPORTED[name]
    edit(run, **{name: value.to_json() if name == "rope_scaling" else value})
    if name == "head_bias":  # which a tied head cannot have
        edit(run, tied_head=False)
    with pytest.raises(SystemExit, match=re.escape(f"does not support a model with {name}={value!r}, only ")):
        textbook.main([str(run), "To be"])


def test_no_option_is_left_out_here() -> None:
    # shared_norm is possible with parallel alone, and that is refused first.
    assert textbook.SUPPORTED.keys() == UNSUPPORTED.keys() | {"shared_norm"}


@given(configs(), SEEDS)
def test_what_is_not_refused_is_computed_right(config: GPTConfig, seed: int) -> None:
    try:
        textbook.check_supported(config)
    except ValueError:
        assert any(getattr(config, name) not in values for name, values in textbook.SUPPORTED.items())
    else:
        assert difference(config, seed) < FLOAT64


@pytest.mark.control
@pytest.mark.parametrize("name", ["positions", "rope_interleaved", "window", "soft_cap"])
def test_computing_a_model_that_is_not_supported_is_noticed(name: str) -> None:
    assert difference(replace(SMALL, **{name: UNSUPPORTED[name]}), 0) > 1e-3


@pytest.mark.parametrize(("prompt", "words"), [("", "the prompt is empty"), ("Xylo", "X")])
def test_a_prompt_that_cannot_be_encoded_is_met_by_a_sentence(prompt: str, words: str, run: Path) -> None:
    with pytest.raises(SystemExit, match=f"textbook: .*{words}"):
        textbook.main([str(run), prompt])


def test_usage_and_exit_codes(run: Path) -> None:
    def command(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "llm.model.textbook", *arguments], cwd=ROOT, capture_output=True, text=True
        )

    alone, helped, missing, good = command(), command("--help"), command("nowhere", "a"), command(str(run), "To be")
    assert (alone.returncode, helped.returncode, missing.returncode, good.returncode) == (2, 0, 1, 0)
    assert alone.stderr == helped.stdout
    assert "RUN" in alone.stderr and "PROMPT" in alone.stderr and "--tokens" in alone.stderr
    assert missing.stderr.startswith("textbook: nowhere has no config.json")
    assert good.stdout.startswith("To be") and good.stderr == ""
