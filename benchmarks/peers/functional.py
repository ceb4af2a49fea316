"""The training step as a function of a dictionary of weights: for JAX, which compiles it, and for HIPS autograd.

`np` is the NumPy of the library.
"""

from __future__ import annotations

import math
from typing import Any

import numpy

from benchmarks.competitor import Work
from benchmarks.peers.training import BETAS, CLIP, DECAY, EPS, RATE, trainer
from benchmarks.task import Task
from llm.model.config import GPTConfig

Weights = dict[str, Any]


def train_jax(task: Task) -> Work:
    import jax

    jax.config.update("jax_platforms", "cpu")
    np = jax.numpy

    def step(state: tuple, ids: Any, targets: Any) -> tuple:
        value, gradients = jax.value_and_grad(lambda w: loss(np, task.config, w, ids, targets))(state[0])
        return value, adamw(np, state, gradients)

    return _train(task, jax.jit(step, donate_argnums=0), np)


def train_autograd(task: Task) -> Work:
    import autograd.numpy as np
    from autograd import value_and_grad

    def step(state: tuple, ids: Any, targets: Any) -> tuple:
        value, gradients = value_and_grad(lambda w: loss(np, task.config, w, ids, targets))(state[0])
        return value, adamw(np, state, gradients)

    return _train(task, step, np)


def _train(task: Task, step: Any, np: Any) -> Work:
    weights = {name: np.array(array) for name, array in task.weights()}
    means, squares = ({name: np.zeros_like(array) for name, array in weights.items()} for _ in range(2))
    state = weights, means, squares, np.float32(0)

    def update(ids: Any, targets: Any) -> float:
        nonlocal state
        value, state = step(state, ids, targets)
        return float(value)

    return trainer(task, update, np.array)


def adamw(np: Any, state: tuple, gradients: Weights) -> tuple:
    """The next (weights, means, squares, steps), after clipping."""
    weights, means, squares, t = state
    t, (beta1, beta2) = t + np.float32(1), BETAS
    norm = np.sqrt(sum(np.sum(g * g) for g in gradients.values()))
    scale = np.minimum(1.0, CLIP / (norm + 1e-6)).astype(np.float32)
    new: tuple[Weights, Weights, Weights] = {}, {}, {}
    for name, p in weights.items():
        g = gradients[name] * scale
        m, v = beta1 * means[name] + (1 - beta1) * g, beta2 * squares[name] + (1 - beta2) * g * g
        change = (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + EPS)
        p = p * (1 - RATE * DECAY if p.ndim >= 2 else 1.0) - RATE * change
        for arrays, array in zip(new, (p, m, v)):
            arrays[name] = array.astype(np.float32)
    return *new, t


def loss(np: Any, config: GPTConfig, w: Weights, ids: Any, targets: Any) -> Any:
    """Mean cross-entropy of the targets (B, T)."""
    x = w["embedding.weight"][ids]  # (B, T, C)
    if config.positions == "learned":
        x = x + w["positions.weight"][: ids.shape[1]]
    for layer in range(config.layers):
        block = {name.split(".", 2)[2]: a for name, a in w.items() if name.startswith(f"blocks.{layer}.")}
        x = x + attention(np, config, block, norm(np, config, block, "norm1", x))
        x = x + mlp(np, config, block, norm(np, config, block, "norm2", x))
    logits = np.reshape(norm(np, config, w, "norm", x), (-1, config.dim)) @ w["embedding.weight"].T  # (B * T, V)
    logits = logits - np.max(logits, axis=-1, keepdims=True)
    correct = logits[np.arange(logits.shape[0]), np.reshape(targets, -1)]
    return np.mean(np.log(np.sum(np.exp(logits), axis=-1)) - correct)


def norm(np: Any, config: GPTConfig, w: Weights, name: str, x: Any) -> Any:
    if config.norm == "layernorm":
        x = x - np.mean(x, axis=-1, keepdims=True)
    y = x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + config.norm_eps) * w[f"{name}.weight"]
    return y + w[f"{name}.bias"] if f"{name}.bias" in w else y


def linear(w: Weights, name: str, x: Any) -> Any:
    y = x @ w[f"{name}.weight"].T
    return y + w[f"{name}.bias"] if f"{name}.bias" in w else y


def attention(np: Any, config: GPTConfig, w: Weights, x: Any) -> Any:
    (B, T, C), H, K, D = x.shape, config.heads, config.key_heads, config.head_size
    qkv = np.swapaxes(np.reshape(linear(w, "attention.qkv", x), (B, T, H + 2 * K, D)), 1, 2)  # (B, H + 2 * K, T, D)
    q, k, v = qkv[:, :H], qkv[:, H : H + K], qkv[:, H + K :]
    if config.positions == "rope":
        q, k = rotate(np, config, q), rotate(np, config, k)
    q = np.reshape(q, (B, K, H // K, T, D))
    scores = q @ np.swapaxes(k, -1, -2)[:, :, None] * (1 / math.sqrt(D))  # (B, K, H / K, T, T)
    scores = scores + numpy.triu(numpy.full((T, T), -1e30, numpy.float32), 1)
    weights = np.exp(scores - np.max(scores, axis=-1, keepdims=True))
    y = (weights / np.sum(weights, axis=-1, keepdims=True)) @ v[:, :, None]  # (B, K, H / K, T, D)
    return linear(w, "attention.out", np.reshape(np.swapaxes(np.reshape(y, (B, H, T, D)), 1, 2), (B, T, C)))


def rotate(np: Any, config: GPTConfig, x: Any) -> Any:
    """Rotary positions: the halves of x (B, H, T, D) are rotated into each other."""
    half = config.head_size // 2
    angles = numpy.arange(x.shape[2])[:, None] / config.rope_base ** (numpy.arange(half) / half)
    cos, sin = numpy.cos(angles).astype(numpy.float32), numpy.sin(angles).astype(numpy.float32)
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


def mlp(np: Any, config: GPTConfig, w: Weights, x: Any) -> Any:
    x = linear(w, "mlp.up", x)
    if config.gated:
        gate, up = x[..., : config.mlp_size], x[..., config.mlp_size :]
        x = gate / (1 + np.exp(-gate)) * up
    else:
        x = 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))
    return linear(w, "mlp.down", x)
