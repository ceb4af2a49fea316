"""The optimizer of a run: AdamW, AdamW without a schedule, or Muon for the matrices of the layers; and, if asked, a
moving average of the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from llm.model.gpt import GPT
from llm.model.matrices import has_heads, is_inner_matrix
from llm.runs.options import TrainOptions
from minigrad.nn.module import Parameter
from minigrad.optim import AdamW, Averaged, Muon, Optimizer, ScheduleFreeAdamW, Together
from minigrad.optim.orthogonal import POLAR_EXPRESS

BESIDE_MUON = 3.0  # the learning rate of AdamW, by that of Muon, where both train a model: docs/LOG.md, 2026-12-01


def make_optimizer(
    model: GPT, training: TrainOptions, kind: Callable[[type[Optimizer]], Callable[..., Any]] = lambda kind: kind
) -> Optimizer:
    """With weight decay on matrices and embeddings; biases and the weights of norms are not pulled towards 0.

    `kind(AdamW)`: AdamW, or one that divides its work with others.
    """
    named = dict(model.named_trainable())
    settings: dict[str, Any] = {"lr": training.lr, "weight_decay": training.weight_decay}
    of_adam = settings | {"betas": (0.9, training.beta2), "decay": lambda p: p.ndim >= 2}
    if training.optimizer == "schedule-free":
        return kind(ScheduleFreeAdamW)(named.items(), **of_adam)
    matrices = {name: p for name, p in named.items() if training.optimizer == "muon" and is_inner_matrix(name, p.ndim)}
    others = {name: p for name, p in named.items() if name not in matrices}
    # With this scale, the learning rate and the weight decay of AdamW are right for Muon too. Three steps of Polar
    # Express learn as well as five of Newton and Schulz, in 0.6 of the time: docs/LOG.md, 2026-12-01.
    of_muon = settings | {"adjust_lr_fn": "match_rms_adamw", "ns_coefficients": POLAR_EXPRESS, "ns_steps": 3}
    muon = [kind(Muon)(matrices.items(), rows=rows_of_heads(model, matrices), **of_muon)] if matrices else []
    adamw = [kind(AdamW)(others.items(), **of_adam)] if others else []
    # Embeddings want larger steps than the matrices of the layers.
    optimizer = Together([*muon, *adamw], [1.0, BESIDE_MUON][: len(muon + adamw)]) if muon else adamw[0]
    return Averaged(optimizer, training.ema_decay) if training.ema_decay else optimizer


def rows_of_heads(model: GPT, matrices: Mapping[str, Parameter]) -> Callable[[Parameter], int]:
    """The projection to queries, keys and values is a matrix for each head. The others are one matrix each."""
    of_heads = {id(p) for name, p in matrices.items() if has_heads(name)}
    return lambda p: model.config.head_size if id(p) in of_heads else p.shape[-2]
