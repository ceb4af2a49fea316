"""The gradient of a whole model's loss with respect to every parameter, against finite differences, in float64."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from minigrad import Tensor
from minigrad.gradcheck import GradientError, gradcheck
from minigrad.nn import Linear
from tests.llm.gpts import SEEDS, VOCAB, configs, random_gpt, token_ids, without_jumps


def check_gradients(model: GPT, rng: np.random.Generator, mode: str) -> None:
    """Check a random projection of the gradient of each parameter (mode "random") or each number of it ("full")."""
    ids, targets = token_ids(rng, 2, 2, 4)
    mask = np.array([[True, True, True, True], [False, True, True, True]])
    names, parameters = zip(*model.named_parameters())

    def loss(*values: Tensor) -> Tensor:
        for name, value in zip(names, values):
            set_parameter(model, name, value)
        return model.loss(ids, targets, mask=mask)

    values, seed = [p.data.copy() for p in parameters], int(rng.integers(2**31))
    # A norm over a few numbers bends sharply. With a step of 1e-5, differences may be wrong by 1e-5. This error falls
    # with the square of the step. With 1e-6, roundings of the loss are still only 1e-9 of the derivative.
    gradcheck(loss, values, mode=mode, seed=seed, name=str(names), eps=1e-6)


def set_parameter(module: Any, path: str, value: Tensor) -> None:
    """Replace the parameter at a path such as `blocks.0.mlp.up.weight`."""
    *parents, name = path.split(".")
    for parent in parents:
        module = getattr(module, parent)
    setattr(module, name, value)


@settings(max_examples=settings().max_examples // 2)
@given(configs(), st.sampled_from(["gelu", "gelu_tanh", "swiglu", "geglu"]), SEEDS)
def test_gradients_of_drawn_models(config: GPTConfig, mlp: str, seed: int) -> None:
    """ReLU squared is left out: its second derivative jumps at 0, where finite differences are wrong. `norm_eps` is
    large because the norm of a small head, of two numbers, bends sharply when both are near 0.
    """
    config = replace(without_jumps(config), mlp=mlp, norm_eps=0.1)
    check_gradients(random_gpt(config, seed), np.random.default_rng(seed), "random")


@pytest.mark.parametrize(
    "choices",
    [{}, {"positions": "rope", "norm": "rmsnorm", "mlp": "swiglu", "kv_heads": 1, "qk_norm": True, "soft_cap": 3.0}],
    ids=["GPT-2", "Llama"],
)
def test_every_number_of_the_gradients_of_a_tiny_model(choices: dict) -> None:
    config = GPTConfig(vocab_size=VOCAB, context=4, layers=1, heads=2, dim=4, mlp_dim=3, **choices)
    check_gradients(random_gpt(config, 0), np.random.default_rng(0), "full")


@pytest.mark.control
def test_a_missing_term_of_a_gradient_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    forward = Linear.forward
    monkeypatch.setattr(
        Linear, "forward", lambda self, x, *f: forward(self, x.detach() if self.weight.shape[1] == 3 else x, *f)
    )
    config = GPTConfig(vocab_size=VOCAB, context=4, layers=1, heads=2, dim=4, mlp_dim=3)
    with pytest.raises(GradientError):
        check_gradients(random_gpt(config, 0), np.random.default_rng(0), "random")
