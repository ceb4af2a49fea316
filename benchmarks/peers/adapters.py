"""Training LoRA on a published model: ours, and PEFT on PyTorch. Only the adapter is trained.

The folder of the task holds the model in `model`, as a folder of Hugging Face, and the adapter in `adapter`, as PEFT's.
A step reads ids of its own (lora_step.py); learning reads conversations in `chats.npz` (lora_learning.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.competitor import Work
from benchmarks.peers.training import BETAS, CLIP, EPS, RATE, trainer
from benchmarks.task import Task


def ours(task: Task) -> Work:
    from llm.training.objectives import NextToken
    from llm.training.step import train_step

    team, optimizer = our_trainer(task, NextToken())
    return trainer(task, lambda x, y: train_step(team, optimizer, (x, y), lr=RATE, clip=CLIP).loss)


def ours_learning(task: Task) -> Work:
    from llm.evaluation.loss import Validation, evaluate
    from llm.training.step import train_step
    from llm.tuning.chat.task import AnswerTokens

    team, optimizer = our_trainer(task, AnswerTokens(packed=False))

    def step(x: Any, y: Any, rate: float) -> None:
        train_step(team, optimizer, (x, y, x), lr=rate, clip=CLIP)  # the third array is read of packed rows only

    def loss(batches: list) -> float:
        return evaluate(team, Validation([(x, y, x) for x, y in batches])).loss

    return lambda: learn(task, step, loss)


def our_trainer(task: Task, objective: Any) -> tuple[Any, Any]:
    """Workers, and an optimizer of the adapter."""
    from llm.hub import load
    from llm.parallel.runtime import keep_freed_memory, set_blas_threads, set_switch_interval
    from llm.parallel.threads import Threads
    from minigrad.optim import AdamW

    keep_freed_memory()
    set_switch_interval()
    set_blas_threads(1)
    model, _ = load(task.folder / "model", adapter=task.folder / "adapter")
    model.train()
    optimizer = AdamW(model.named_trainable(), lr=RATE, betas=BETAS, eps=EPS, weight_decay=0.0)
    return Threads(model, objective, task.threads), optimizer


def peft(task: Task) -> Work:
    import torch

    step = peft_step(task)[1]
    return trainer(task, lambda x, y: step(x, y, RATE), torch.from_numpy)


def peft_learning(task: Task) -> Work:
    import torch

    model, step = peft_step(task)

    def loss(batches: list) -> float:
        model.eval()
        with torch.no_grad():
            sums = [float(summed_loss(model, x, y)) for x, y in batches]
        model.train()
        return sum(sums) / sum(int((y != -100).sum()) for _, y in batches)

    return lambda: learn(task, step, loss, torch.from_numpy)


def peft_step(task: Task) -> tuple[Any, Callable[[Any, Any, float], float]]:
    """The model, and a function that trains it on a batch with a learning rate and returns the loss."""
    import torch
    import transformers
    from peft import PeftModel

    torch.set_num_threads(task.threads)
    base = transformers.AutoModelForCausalLM.from_pretrained(task.folder / "model", dtype=torch.float32)
    model: Any = PeftModel.from_pretrained(base, task.folder / "adapter", is_trainable=True).train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RATE, betas=BETAS, eps=EPS, weight_decay=0.0, fused=True)

    def step(x: Any, y: Any, rate: float) -> float:
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = summed_loss(model, x, y) / (y != -100).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, CLIP)
        optimizer.step()
        return loss.item()

    return model, step


def summed_loss(model: Any, x: Any, y: Any) -> Any:
    """The sum of the losses of all targets that are not -100."""
    import torch

    logits = model(input_ids=x, use_cache=False).logits  # (B, T, V)
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="sum")


def learn(
    task: Task,
    step: Callable[[Any, Any, float], Any],
    loss: Callable[[list], float],
    convert: Callable[[Any], Any] = lambda ids: ids,
) -> dict[str, float]:
    """Train on all batches; returns the validation loss before and after, and the seconds between."""
    with np.load(task.folder / "chats.npz") as arrays:
        rates = arrays["rates"].tolist()
        train, val = (
            [tuple(map(convert, arrays[f"{part}.{k}"])) for k in range(sum(n.startswith(part) for n in arrays.files))]
            for part in ("train", "val")
        )
    before, began = loss(val), time.perf_counter()
    for (x, y), rate in zip(train, rates, strict=True):
        step(x, y, rate)
    seconds = time.perf_counter() - began
    return {"before": before, "after": loss(val), "training": seconds}
