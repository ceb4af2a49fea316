"""A reward model: a classifier with one output, a number that is higher for the text that people prefer.

The model of Bradley and Terry (1952): the probability that a is preferred to b is σ(reward of a - reward of b). So the
loss of a pair is -log σ(r_c - r_r), log 2 for equal rewards (Christiano et al. 2017, arXiv 1706.03741; Ouyang et al.
2022, arXiv 2203.02155). Two additions:

    margin      how much better the chosen answer is, if people said so: -log σ(r_c - r_r - margin) (Llama 2)
    center      only differences of rewards are learned. center * (r_c + r_r)² keeps them near 0 (Eisenstein et al.
                2023, arXiv 2312.09244)
"""

from __future__ import annotations

from typing import Any

from minigrad.ops import softplus
from minigrad.tensor import Tensor, as_tensor


def reward_loss(chosen: Any, rejected: Any, *, margin: Any = 0.0, center: float = 0.0) -> Tensor:
    """The loss (B,) of each pair, from the rewards (B,) of the chosen and the rejected text."""
    chosen, rejected = as_tensor(chosen), as_tensor(rejected)
    if chosen.shape != rejected.shape:
        raise ValueError(f"each chosen text needs a rejected one; got rewards {chosen.shape} and {rejected.shape}")
    loss = softplus(margin - (chosen - rejected))  # -log σ(x) = softplus(-x)
    return loss + center * (chosen + rejected) ** 2 if center else loss
