"""The same by PyTorch: a training step in bf16 by autocast, clipping and fused AdamW, products."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.competitor import Work
from benchmarks.peers.gpu import heads, operands, seconds, with_sum
from benchmarks.peers.pytorch import adamw, load
from benchmarks.peers.pytorch import update as update_step
from benchmarks.peers.training import BETAS, CLIP, DECAY, RATE, trainer
from benchmarks.task import Task


def step_in_bf16(task: Task, *, compiled: bool = False) -> Work:
    """Forward, backward, clipping, AdamW; float32 weights, and products and attention in bf16 by autocast."""
    model = load(task)
    optimizer = adamw(model, BETAS, DECAY)

    def loss_of(x: Any, y: Any) -> Any:
        with torch.autocast(task.device, torch.bfloat16):
            return model.loss(x, y)

    loss = torch.compile(loss_of) if compiled else loss_of
    step = lambda x, y: update_step(loss, optimizer, x, y, RATE, CLIP)
    return trainer(task, step, lambda ids: torch.from_numpy(ids).to(task.device))


def compiled_step_in_bf16(task: Task) -> Work:
    """The same with the loss and its gradient compiled."""
    return step_in_bf16(task, compiled=True)


def update(task: Task) -> Work:
    """Clipping and fused AdamW, many times between two waits."""
    model = load(task)
    optimizer = adamw(model, BETAS, DECAY)
    ids = torch.from_numpy(task.ids()[0, :1]).to(task.device)
    model.loss(ids[:, :-1], ids[:, 1:]).backward()

    def launch() -> Any:
        norm = nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        return norm

    return lambda: {"seconds": seconds(launch, lambda norm: norm.item())}


def products(task: Task) -> Work:
    return _products(task, torch.float32, lambda x, weight, bias: x @ weight.T)


def linear_in_bf16(task: Task) -> Work:
    return _products(task, torch.bfloat16, F.linear)


def attention_in_bf16(task: Task) -> Work:
    q, k, v, g = (torch.from_numpy(a).to(task.device, torch.bfloat16) for a in heads(task))

    def forward() -> Any:
        with torch.no_grad():
            return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    def both() -> Any:
        inputs = [a.detach().requires_grad_() for a in (q, k, v)]
        return torch.autograd.grad(F.scaled_dot_product_attention(*inputs, is_causal=True), inputs, g)

    def wait(y: Any) -> None:
        if task.device != "cpu":
            torch.cuda.synchronize()

    return lambda: with_sum({"forward": seconds(forward, wait), "both passes": seconds(both, wait)})


def _products(task: Task, dtype: Any, f: Any) -> Work:
    there = {name: [torch.from_numpy(a).to(task.device, dtype) for a in arrays] for name, arrays in operands(task)}
    wait = lambda y: torch.cuda.synchronize() if task.device != "cpu" else None

    def work() -> dict[str, float]:
        found = {name: seconds(lambda: f(*arrays), wait) for name, arrays in there.items()}  # noqa: B023
        return with_sum(found)

    return work
