"""The algorithms, one in a row: what each chooses of advantages.py and policy_losses.py.

Each choice is also an option of train.py, so that the rows can be mixed: `--algorithm grpo --advantage-scale none`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Baseline = Literal["none", "running", "batch", "group", "leave_one_out", "value"]  # value: of a value head, ppo.py
Scale = Literal["group", "batch", "none"]
Ratio = Literal["none", "token", "sequence", "product"]
Normalization = Literal["token", "sequence", "constant"]
Estimator = Literal["k1", "k3"]


@dataclass(frozen=True)
class Algorithm:
    """How rewards become a loss."""

    baseline: Baseline = "group"
    scale: Scale = "none"
    ratio: Ratio = "token"
    low: float = 0.2  # the ratio is clipped to 1 - low ... 1 + high
    high: float = 0.2
    normalization: Normalization = "token"
    kl: Estimator = "k3"
    kl_in: Literal["reward", "loss"] = "loss"
    beta: float = 0.0  # how much the divergence from the reference counts; 0: there is no reference
    mask_truncated: bool = False  # nothing is learned from completions that were cut off

    def __post_init__(self) -> None:
        if self.kl == "k1" and self.kl_in == "loss" and self.beta:
            raise ValueError(
                "the estimator k1 has a gradient of mean 0, so in a loss it has no effect; choose k3, or an algorithm "
                "that subtracts the divergence from the reward"
            )
        if min(self.low, self.high, self.beta) < 0:
            raise ValueError(f"low={self.low}, high={self.high} and beta={self.beta} must not be negative")


IN_REWARD: dict[str, Any] = {"kl": "k1", "kl_in": "reward"}

# fmt: off
ALGORITHMS = {
    # Williams 1992, with the mean reward of the batch as baseline
    "reinforce": Algorithm(baseline="batch", ratio="none", normalization="token", **IN_REWARD),
    # Ahmadian et al. 2024, arXiv 2402.14740
    "rloo":      Algorithm(baseline="leave_one_out", ratio="product", normalization="sequence", beta=0.05, **IN_REWARD),
    # Shao et al. 2024 (DeepSeekMath), arXiv 2402.03300; beta there is 0.04, and 0 in most later work
    "grpo":      Algorithm(scale="group", normalization="sequence"),
    # Liu et al. 2025, arXiv 2503.20783: without the two things that bias the gradient of GRPO
    "dr_grpo":   Algorithm(scale="none", normalization="constant"),
    # Yu et al. 2025, arXiv 2503.14476: all tokens weigh the same; the clip leaves more room for unlikely tokens
    "dapo":      Algorithm(scale="group", high=0.28, normalization="token", mask_truncated=True),
    # Zheng et al. 2025, arXiv 2507.18071: a ratio for the whole completion, which is much nearer to 1
    "gspo":      Algorithm(scale="group", ratio="sequence", low=3e-4, high=4e-4, normalization="sequence"),
    # Schulman et al. 2017, arXiv 1707.06347; with language models: Ouyang et al. 2022, arXiv 2203.02155
    "ppo":       Algorithm(baseline="value", normalization="token", beta=0.05, **IN_REWARD),
}
# fmt: on
