"""PyTorch as a user would write it: scaled_dot_product_attention, fused AdamW, gradients set to None.

Eager, or with torch.compile. The parameters have the names of ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.competitor import Work
from benchmarks.learning_plan import LearningPlan
from benchmarks.peers.decoding import decoder, prefiller
from benchmarks.peers.learning import learner
from benchmarks.peers.training import BETAS, CLIP, DECAY, EPS, RATE, trainer
from benchmarks.task import Task
from llm.model.config import GPTConfig


class GPT(nn.Module):
    """The GPTs of benchmarks/task.py: ids (B, T) -> the input of the head (B, T, C)."""

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.dim)
        if config.positions == "learned":
            self.positions = nn.Embedding(config.context, config.dim)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = norm(config)
        if not config.tied_head:
            self.head = nn.Linear(config.dim, config.vocab_size, bias=False)

    def forward(self, ids: Tensor, cache: Cache | None = None) -> Tensor:
        new = slice(0, ids.shape[1]) if cache is None else cache.new(ids.shape[1])
        x = self.embedding(ids)
        if self.config.positions == "learned":
            x = x + self.positions.weight[new]
        for layer, block in enumerate(self.blocks):
            x = block(x, cache, layer)
        return self.norm(x)

    def logits(self, x: Tensor) -> Tensor:
        logits = F.linear(x, self.embedding.weight) if self.config.tied_head else self.head(x)
        cap = self.config.soft_cap
        return logits if cap is None else cap * torch.tanh(logits / cap)

    def loss(self, ids: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(self.logits(self(ids)).flatten(0, 1), targets.flatten())


class Block(nn.Module):
    def __init__(self, config: GPTConfig):
        super().__init__()
        self.norm1, self.attention, self.norm2, self.mlp = norm(config), Attention(config), norm(config), MLP(config)

    def forward(self, x: Tensor, cache: Cache | None, layer: int) -> Tensor:
        x = x + self.attention(self.norm1(x), cache, layer)
        return x + self.mlp(self.norm2(x))


class Attention(nn.Module):
    def __init__(self, config: GPTConfig):
        super().__init__()
        self.config = config
        self.heads, self.key_heads, self.head_size = config.heads, config.key_heads, config.head_size
        self.qkv = nn.Linear(config.dim, (self.heads + 2 * self.key_heads) * self.head_size, bias=config.bias)
        self.out = nn.Linear(config.dim, config.dim, bias=config.bias)
        if config.qk_norm:
            self.query_norm, self.key_norm = (nn.RMSNorm(config.head_size, eps=config.norm_eps) for _ in "qk")
        if config.positions == "rope":
            for name, table in zip(("cos", "sin"), rotation(config)):
                self.register_buffer(name, table, persistent=False)

    def forward(self, x: Tensor, cache: Cache | None, layer: int) -> Tensor:
        (B, T, C), H, K = x.shape, self.heads, self.key_heads
        qkv = self.qkv(x).view(B, T, H + 2 * K, self.head_size).transpose(1, 2)  # (B, H + 2 * K, T, D)
        q, k, v = qkv.split([H, K, K], dim=1)
        if self.config.qk_norm:
            q, k = self.query_norm(q), self.key_norm(k)
        if self.config.positions == "rope":
            q, k = rotate(q, self.cos, self.sin), rotate(k, self.cos, self.sin)
        if cache is not None:
            k, v = cache.append(layer, k, v)
        mask = None if cache is None else cache.mask
        y = F.scaled_dot_product_attention(q, k, v, mask, is_causal=T > 1, enable_gqa=K < H)  # (B, H, T, D)
        return self.out(y.transpose(1, 2).reshape(B, T, C))


class MLP(nn.Module):
    def __init__(self, config: GPTConfig):
        super().__init__()
        self.activation = ACTIVATIONS[config.mlp]
        self.up = nn.Linear(config.dim, (2 if config.gated else 1) * config.mlp_size, bias=config.bias)
        self.down = nn.Linear(config.mlp_size, config.dim, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.activation(self.up(x)))


def gated(gate: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """gate(a) * b for the two halves a, b of x."""
    a, b = x.chunk(2, dim=-1)
    return gate(a) * b


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "relu_squared": lambda x: F.relu(x).square(),
    "swiglu": partial(gated, F.silu),
    "geglu": partial(gated, F.gelu),
}


class Cache:
    """Keys and values of up to `context` tokens, allocated in the beginning."""

    mask: Tensor | None = None  # which of the returned keys a new token sees; None: those before it

    def __init__(self, config: GPTConfig, batch: int, device: str):
        shape = (config.layers, 2, batch, config.key_heads, config.context, config.head_size)
        self.arrays, self.length, self.last = torch.empty(shape, device=device), 0, config.layers - 1

    def new(self, count: int) -> Any:
        """The positions of so many new tokens, with which a table can be indexed."""
        return slice(self.length, self.length + count)

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append keys and values (B, K, T, D) of the new tokens; returns those of all tokens (B, K, S, D)."""
        end = self.length + k.shape[2]
        keys, values = self.arrays[layer]
        keys[:, :, self.length : end], values[:, :, self.length : end] = k, v
        if layer == self.last:
            self.length = end
        return keys[:, :, :end], values[:, :, :end]


def norm(config: GPTConfig) -> nn.Module:
    if config.norm == "rmsnorm":
        return nn.RMSNorm(config.dim, eps=config.norm_eps)
    return nn.LayerNorm(config.dim, eps=config.norm_eps, bias=config.bias)


def rotation(config: GPTConfig) -> tuple[Tensor, Tensor]:
    """cos and sin (T, D / 2)."""
    wavelengths = config.rope_base ** (np.arange(0, config.head_size, 2) / config.head_size)
    angles = np.arange(config.context)[:, None] / wavelengths
    cos, sin = (torch.from_numpy(f(angles).astype(np.float32)) for f in (np.cos, np.sin))
    return cos, sin


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions: the halves of x (B, H, T, D) are rotated into each other."""
    a, b = x.chunk(2, dim=-1)
    cos, sin = cos[: x.shape[2]], sin[: x.shape[2]]
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


def train(task: Task, *, compiled: bool = False) -> Work:
    """Forward, backward, clipping, AdamW."""
    model = load(task)
    optimizer = adamw(model, BETAS, DECAY)
    loss_of = torch.compile(model.loss) if compiled else model.loss
    step = lambda x, y: update(loss_of, optimizer, x, y, RATE, CLIP)
    return trainer(task, step, lambda ids: torch.from_numpy(ids).to(task.device))


def train_compiled(task: Task) -> Work:
    """The same with the loss and its gradient compiled."""
    return train(task, compiled=True)


def learn(task: Task) -> Work:
    """The run of train.py: the same text, learning rates and validation batches."""
    plan, model = LearningPlan.read(task.folder), load(task)
    optimizer = adamw(model, (plan.betas[0], plan.betas[1]), plan.weight_decay)
    texts, validation = (
        [(torch.from_numpy(batch[:, :-1].copy()), torch.from_numpy(batch[:, 1:].copy())) for batch in ids]
        for ids in (task.ids(), plan.validation())
    )

    @torch.inference_mode()
    def test() -> float:
        return sum(model.loss(*text).item() for text in validation) / len(validation)

    def train_step(step: int) -> float:
        return update(model.loss, optimizer, *texts[step], plan.rates[step], plan.clip)

    return learner(plan, train_step, test)


def adamw(model: GPT, betas: tuple[float, float], weight_decay: float) -> torch.optim.AdamW:
    """AdamW with weight decay for matrices only."""
    groups = [
        {"params": [p for p in model.parameters() if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, betas=betas, eps=EPS, fused=True)


def update(loss_of: Callable, optimizer: torch.optim.AdamW, x: Tensor, y: Tensor, lr: float, clip: float) -> float:
    """Forward, backward, clipping, AdamW; returns the loss."""
    loss = loss_of(x, y)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], clip or math.inf)
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.step()
    return loss.item()


def decode(task: Task) -> Work:
    return decoder(task, *_reader(task))


def prefill(task: Task) -> Work:
    return prefiller(task, *_reader(task))


def _reader(task: Task) -> Any:
    model = load(task)

    def read(ids: np.ndarray, cache: Cache) -> np.ndarray:
        with torch.inference_mode():
            return model.logits(model(torch.from_numpy(ids).to(task.device), cache)[:, -1]).numpy(force=True)

    return lambda: Cache(task.config, task.batch, task.device), read


def load(task: Task) -> GPT:
    torch.set_num_threads(task.threads)
    with torch.device("meta"):  # allocates nothing: the weights are replaced in the next line
        model = GPT(task.config)
    model.load_state_dict({name: torch.from_numpy(array) for name, array in task.weights()}, assign=True)
    return model.to(task.device)
