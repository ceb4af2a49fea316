"""A small GPT written by hand in PyTorch, from its textbook form: the same loss and gradients, to 1e-10 in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from tests.llm.gpts import random_gpt

torch = pytest.importorskip("torch", reason="needs torch")
F = torch.nn.functional
pytestmark = pytest.mark.parity

SIZES: dict[str, Any] = {"vocab_size": 31, "context": 12, "layers": 2, "heads": 4, "dim": 16}
LLAMA: dict[str, Any] = {"positions": "rope", "norm": "rmsnorm", "mlp": "swiglu", "bias": False}
STYLES = {
    "GPT-2": GPTConfig(**SIZES),
    "Llama": GPTConfig(**SIZES, kv_heads=2, **LLAMA, tied_head=False),
    "Qwen": GPTConfig(**SIZES, kv_heads=1, head_dim=6, **LLAMA, qk_norm=True),
    "windowed ALiBi": GPTConfig(**SIZES, positions="alibi", window=4, mlp="geglu", norm_position="post", soft_cap=4.0),
}


def torch_loss(config: GPTConfig, w: dict, ids: Any, targets: Any) -> Any:
    """The loss of the model that has the weights `w` by name."""
    x = w["embedding.weight"][ids]
    if config.positions == "learned":
        x = x + w["positions.weight"][: ids.shape[1]]
    for i in range(config.layers):
        layer = {name.removeprefix(f"blocks.{i}."): a for name, a in w.items() if name.startswith(f"blocks.{i}.")}
        if config.norm_position == "pre":
            x = x + torch_attention(config, layer, torch_norm(config, layer, "norm1", x))
            x = x + torch_mlp(config, layer, torch_norm(config, layer, "norm2", x))
        else:
            x = torch_norm(config, layer, "norm1", x + torch_attention(config, layer, x))
            x = torch_norm(config, layer, "norm2", x + torch_mlp(config, layer, x))
    if config.norm_position == "pre":
        x = torch_norm(config, w, "norm", x)
    logits = x @ w["embedding.weight" if config.tied_head else "head.weight"].T
    if config.soft_cap:
        logits = config.soft_cap * torch.tanh(logits / config.soft_cap)
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def torch_norm(config: GPTConfig, w: dict, name: str, x: Any) -> Any:
    if config.norm == "rmsnorm":
        return F.rms_norm(x, x.shape[-1:], w[f"{name}.weight"], config.norm_eps)
    return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], config.norm_eps)


def torch_attention(config: GPTConfig, w: dict, x: Any) -> Any:
    B, T, _ = x.shape
    H, K, D = config.heads, config.key_heads, config.head_size
    q, k, v = F.linear(x, w["attention.qkv.weight"], w.get("attention.qkv.bias")).split([H * D, K * D, K * D], dim=-1)
    q, k, v = (a.view(B, T, -1, D).transpose(1, 2) for a in (q, k, v))
    if config.qk_norm:
        q = F.rms_norm(q, (D,), w["attention.query_norm.weight"], config.norm_eps)
        k = F.rms_norm(k, (D,), w["attention.key_norm.weight"], config.norm_eps)
    if config.positions == "rope":
        frequencies = config.rope_base ** (-torch.arange(0, D, 2).double() / D)
        angles = torch.outer(torch.arange(T).double(), frequencies).repeat(1, 2)
        q, k = (a * angles.cos() + rotate_half(a) * angles.sin() for a in (q, k))
    k, v = (a.repeat_interleave(H // K, dim=1) for a in (k, v))
    behind = torch.arange(T)[:, None] - torch.arange(T)
    scores = q @ k.transpose(-1, -2) / math.sqrt(D)
    if config.positions == "alibi":
        slopes = torch.tensor([0.25 ** (h + 1) for h in range(4)]).double()  # for 4 heads
        scores = scores - behind * slopes[:, None, None]
    hidden = (behind < 0) | (behind >= (config.window or T))
    y = scores.masked_fill(hidden, -torch.inf).softmax(dim=-1) @ v
    return F.linear(y.transpose(1, 2).flatten(2), w["attention.out.weight"], w.get("attention.out.bias"))


def rotate_half(x: Any) -> Any:
    a, b = x.chunk(2, dim=-1)
    return torch.cat([-b, a], dim=-1)


def torch_mlp(config: GPTConfig, w: dict, x: Any) -> Any:
    x = F.linear(x, w["mlp.up.weight"], w.get("mlp.up.bias"))
    if config.gated:
        gate, up = x.chunk(2, dim=-1)
        x = (F.silu(gate) if config.mlp == "swiglu" else F.gelu(gate)) * up
    else:
        x = F.gelu(x, approximate="tanh")
    return F.linear(x, w["mlp.down.weight"], w.get("mlp.down.bias"))


def compare(model: GPT, config: GPTConfig, seed: int) -> None:
    """Assert that PyTorch, with the weights of `model` and the choices of `config`, has its loss and gradients."""
    ids, targets = np.random.default_rng(seed).integers(0, 31, (2, 3, 10))
    weights = {name: torch.from_numpy(a).requires_grad_() for name, a in model.state_dict().items()}
    expected = torch_loss(config, weights, torch.from_numpy(ids), torch.from_numpy(targets))
    expected.backward()
    loss = model.loss(ids, targets)
    loss.backward()
    np.testing.assert_allclose(loss.item(), expected.item(), rtol=1e-10)
    for name, p in model.named_parameters():
        np.testing.assert_allclose(p.grad.data, weights[name].grad.numpy(), rtol=1e-10, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("style", STYLES)
def test_loss_and_gradients_equal_those_of_torch(style: str, seed: int) -> None:
    compare(random_gpt(STYLES[style], seed), STYLES[style], seed)


@pytest.mark.control
def test_another_epsilon_is_noticed() -> None:
    other = GPTConfig(**SIZES, norm_eps=1.1e-5)
    with pytest.raises(AssertionError):
        compare(random_gpt(STYLES["GPT-2"], 0), other, 0)
