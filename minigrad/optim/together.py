"""Several optimizers as one: Muon for the matrices inside of a model, for instance, and AdamW for all other parameters.

inside = [(name, p) for name, p in model.named_parameters() if name.startswith("blocks") and p.ndim == 2]
others = ...
optimizer = Together([Muon(inside, adjust_lr_fn="match_rms_adamw"), AdamW(others)])
"""

from __future__ import annotations

from collections.abc import Sequence

from minigrad.optim.blocks import Parallel, run_serially
from minigrad.optim.optimizer import Optimizer, at_least_zero


class Together(Optimizer):
    """`optimizers`, each with its own parameters, at one learning rate.

    `scales`: what the learning rate is multiplied by for each of them; 1 by default. They step, are clipped, saved and
    loaded together.
    """

    def __init__(self, optimizers: Sequence[Optimizer], scales: Sequence[float] | None = None):
        self.optimizers, self.scales = list(optimizers), list(scales or [1.0] * len(optimizers))
        if not self.optimizers or len(self.scales) != len(self.optimizers):
            raise ValueError(f"expected optimizers, and a scale for each, not {len(optimizers)} and {len(self.scales)}")
        self.groups = [group for each in self.optimizers for group in each.groups]
        names = [name for group in self.groups for name in group.names]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(
                f"parameter {min(twice)} is in two optimizers; parameters without names cannot be told apart"
            )
        self.lr = self.optimizers[0].lr / (self.scales[0] or 1.0)

    def step(self, lr: float | None = None, parallel: Parallel = run_serially) -> None:
        self.lr = at_least_zero("lr", self.lr if lr is None else lr)
        for group in self.groups:
            group.flat.sync_views()  # raises if something does not fit, before any parameter is updated
        for each, scale in zip(self.optimizers, self.scales):
            each.step(self.lr * scale, parallel)
