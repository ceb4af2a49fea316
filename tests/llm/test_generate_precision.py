"""generate.py --precision bf16: matrices in half of the memory, numbers near those of float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from llm.hub.stored_model import STORED_LAYERS, stored_in
from llm.inference.command import load_chosen, parse, start
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.model.kv_cache import KVCache
from minigrad import no_grad
from tests.llm.trainings import train, without_pictures

SHAPES = [{}, {"tied_head": False, "norm": "rmsnorm", "positions": "rope", "mlp": "swiglu"}, {"experts": 4}]


def rounded(model: GPT) -> GPT:
    """The matrices of the layers rounded to bfloat16, by hand: half of the last bit that stays is added, then cut."""
    other = GPT(model.config, rng=1)
    for (name, p), q in zip(model.named_parameters(), other.parameters()):
        q.data[...] = p.data
        if p.ndim == 2 and not name.startswith("positions"):
            bits = q.data.view(np.uint32)
            bits += 0x7FFF + ((bits >> 16) & 1)
            bits &= 0xFFFF0000
    return other.eval()


@pytest.mark.parametrize("shape", SHAPES, ids=["gpt2", "llama", "experts"])
def test_logits_are_those_of_rounded_matrices(shape: dict) -> None:
    model = GPT(GPTConfig(vocab_size=19, context=12, layers=2, heads=2, dim=16, **shape), rng=3).eval()
    stored, by_hand = stored_in(model), rounded(model)
    ids = np.random.default_rng(0).integers(0, 19, (2, 6))
    with no_grad():
        found, expected, full = (m(ids).numpy() for m in (stored, by_hand, model))
        cache = KVCache(stored.config)
        steps = np.concatenate([stored(ids[:, i : i + 1], cache=cache).numpy() for i in range(6)], axis=1)
    # float32 sums of some dozen terms, in another order
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(steps, expected, rtol=1e-5, atol=1e-5)
    assert 1e-5 < abs(found - full).max() < 0.05, "rounded, and near"
    matrices = [m.matrix for _, m in stored.named_modules() if isinstance(m, STORED_LAYERS)]
    assert matrices and all(part.raw.itemsize == 2 for matrix in matrices for part in matrix.parts)
    assert stored.num_parameters() == model.num_parameters()


def test_a_run_writes_in_bf16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    without_pictures(monkeypatch)
    train(tmp_path / "run", "--steps", "2", "--eval-every", "2")
    capsys.readouterr()
    arguments = ["--run", str(tmp_path / "run"), "--prompt", "the", "--max-tokens", "5", "--seed", "1", "--precision"]
    for name, half in (("fp32", False), ("bf16", True)):
        assert start(parse([*arguments, name])) == 0
        assert capsys.readouterr().out.startswith("the")
        modules = load_chosen(parse([*arguments, name])).model.named_modules()
        assert any(isinstance(module, STORED_LAYERS) for _, module in modules) == half


@pytest.mark.parametrize("more", [["--device", "cuda"], ["--model", "x", "--weights", "stored"]])
def test_what_does_not_go_with_it_is_refused(more: list[str]) -> None:
    with pytest.raises((ValueError, SystemExit)):
        parse(["--precision", "bf16", *more])
