"""A training step of LoRA on a published model: ours, and PEFT on PyTorch. Only the adapter is trained.

The folder of the task holds the model in `model`, as a folder of Hugging Face, and the adapter in `adapter`, as PEFT's.
"""

from __future__ import annotations

from typing import Any

from benchmarks.competitor import Skipped, Work
from benchmarks.peers.training import BETAS, CLIP, EPS, RATE, trainer
from benchmarks.task import Task


def ours(task: Task) -> Work:
    from llm.hub import load
    from llm.parallel.runtime import keep_freed_memory, set_blas_threads, set_switch_interval
    from llm.parallel.threads import Threads
    from llm.training.objectives import NextToken
    from llm.training.step import train_step
    from minigrad.optim import AdamW

    keep_freed_memory()
    set_switch_interval()
    set_blas_threads(1)
    model, _ = load(task.folder / "model", adapter=task.folder / "adapter")
    model.train()
    team = Threads(model, NextToken(), task.threads)
    optimizer = AdamW(model.named_trainable(), lr=RATE, betas=BETAS, eps=EPS, weight_decay=0.0)
    return trainer(task, lambda x, y: train_step(team, optimizer, (x, y), lr=RATE, clip=CLIP).loss)


def peft(task: Task) -> Work:
    try:
        import torch
        import transformers
        from peft import PeftModel
    except ImportError as error:
        raise Skipped(f"{error.name} is not installed") from None

    torch.set_num_threads(task.threads)
    base = transformers.AutoModelForCausalLM.from_pretrained(task.folder / "model", dtype=torch.float32)
    model: Any = PeftModel.from_pretrained(base, task.folder / "adapter", is_trainable=True).train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RATE, betas=BETAS, eps=EPS, weight_decay=0.0, fused=True)

    def step(x: Any, y: Any) -> float:
        logits = model(input_ids=x, use_cache=False).logits  # (B, T, V)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, CLIP)
        optimizer.step()
        return loss.item()

    return trainer(task, step, torch.from_numpy)
