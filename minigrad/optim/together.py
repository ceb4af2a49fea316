"""Several optimizers as one: Muon for the matrices inside of a model, for instance, and AdamW for all other parameters.

inside = [(name, p) for name, p in model.named_parameters() if name.startswith("blocks") and p.ndim == 2]
others = ...
optimizer = Together([Muon(inside, adjust_lr_fn="match_rms_adamw"), AdamW(others)])
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager

from minigrad.backend import Array
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
        if alone := [type(each).__name__ for each in self.optimizers if each.numbers != ("lr",)]:
            raise ValueError(f"{alone[0]} keeps numbers of its own from step to step; use it alone")
        self.groups = [group for each in self.optimizers for group in each.groups]
        names = [name for group in self.groups for name in group.names]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two optimizers have a parameter named {min(twice)}; give (name, parameter) pairs")
        parameters = [id(p) for group in self.groups for p in group.flat.parameters]
        if len(set(parameters)) < len(parameters):
            raise ValueError("two optimizers have the same parameter; each parameter belongs to one of them")
        self.lr = self.optimizers[0].lr / (self.scales[0] or 1.0)

    def step(self, lr: float | None = None, parallel: Parallel = run_serially) -> None:
        self.lr = at_least_zero("lr", self.lr if lr is None else lr)
        for group in self.groups:
            group.flat.sync_views()  # raises if something does not fit, before any parameter is updated
        for each, scale in zip(self.optimizers, self.scales):
            each.step(self.lr * scale, parallel)

    # Each optimizer is asked for what depends on its kind. Those of llm/parallel divide their work among ranks.

    def share_update(self) -> None:
        for each in self.optimizers:
            each.share_update()

    def own_data(self) -> list[Array]:
        return [data for each in self.optimizers for data in each.own_data()]

    def zero_grad(self) -> None:
        for each in self.optimizers:
            each.zero_grad()

    def gradients(self) -> list[Array]:
        return [g for each in self.optimizers for g in each.gradients()]

    def counted_once(self, grads: list[Array]) -> list[Array]:
        of_each = [each.gradients() for each in self.optimizers]
        return [g for each, own in zip(self.optimizers, of_each) for g in each.counted_once(own) if g.size]

    def whole_norm(self, norm: Array) -> Array:
        return self.optimizers[0].whole_norm(norm)  # all of them are divided among the same ranks

    def whole_parameters(self, *, changed: bool) -> AbstractContextManager[None]:
        return all_of(each.whole_parameters(changed=changed) for each in self.optimizers)

    def whole_moments(self, *, changed: bool) -> AbstractContextManager[None]:
        return all_of(each.whole_moments(changed=changed) for each in self.optimizers)

    def averaged(self) -> AbstractContextManager[None]:
        return all_of(each.averaged() for each in self.optimizers)


@contextmanager
def all_of(contexts: Iterable[AbstractContextManager[None]]) -> Iterator[None]:
    with ExitStack() as stack:
        for each in contexts:
            stack.enter_context(each)
        yield
