"""AdamW without a schedule (Defazio and others 2024, arXiv:2405.15682): an average of the weights takes its place.

A learning rate that falls to 0 makes the last weights something like an average of those before. Here, the average is
computed. So training can end at any step, and no last step must be known. There are three sets of weights:

    y = (1 - beta1) z + beta1 x                  the parameters in training: the gradient g is computed here
    v <- beta2 v + (1 - beta2) g^2               as in Adam; v_hat = v / (1 - beta2^t)
    z <- z - lr (g / (sqrt(v_hat) + eps) + weight_decay y)
    x <- (1 - c) x + c z                         the average, which is evaluated and saved
         c = lr_max^2 / (the sum of lr_max^2 of all steps); lr_max: the largest learning rate so far

There is no mean of the gradients: beta1 decides how near y is to the average instead. z and x begin as the parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np

from minigrad.backend import Array
from minigrad.nn.module import Parameter
from minigrad.optim.blocks import Parallel, run_serially
from minigrad.optim.optimizer import Optimizer, at_least_zero


class ScheduleFreeAdamW(Optimizer):
    """Arguments as in `schedulefree.AdamWScheduleFree`; `params` and `decay` as in Optimizer. A warmup is in `lr`.

    In `with optimizer.averaged():` the parameters are the average x. Evaluate, write and save there.
    """

    moments = ("z", "x", "exp_avg_sq")
    numbers = ("lr", "lr_max", "weight_sum")

    def __init__(
        self,
        params: Iterable,
        lr: float = 0.0025,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decay: Callable[[Parameter], bool] | None = None,
    ):
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas must be at least 0 and below 1, not {betas}")
        self.betas, self.eps = (float(betas[0]), float(betas[1])), at_least_zero("eps", eps)
        self.lr_max = self.weight_sum = 0.0
        super().__init__(params, lr, weight_decay, decay)

    def step(self, lr: float | None = None, parallel: Parallel = run_serially) -> None:
        self._begin()
        self.lr_max = max(self.lr_max, at_least_zero("lr", self.lr if lr is None else lr))
        self.weight_sum += self.lr_max**2
        super().step(lr, parallel)

    def update(
        self, p: Array, g: Array, *moments: Array, scratch: Array, t: int, lr: float, weight_decay: float
    ) -> None:
        (z, x, v), u, beta2 = moments, scratch, self.betas[1]
        # v <- beta2 v + (1 - beta2) g^2
        v *= beta2
        np.multiply(g, g, out=u)
        u *= 1 - beta2
        v += u
        # z <- z - lr (g / (sqrt(v_hat) + eps) + weight_decay y)
        np.multiply(v, 1 / (1 - beta2**t), out=u)
        np.sqrt(u, out=u)
        u += self.eps
        np.divide(g, u, out=u)
        u *= lr
        z -= u
        np.multiply(p, lr * weight_decay, out=u)
        z -= u
        # x <- x + c (z - x)
        np.subtract(z, x, out=u)
        u *= self.lr_max**2 / self.weight_sum if self.weight_sum else 0.0  # 0: no step had a learning rate so far
        x += u
        self._set_y(p, z, x)

    def _set_y(self, p: Array, z: Array, x: Array) -> None:
        """y <- z + beta1 (x - z)."""
        np.subtract(x, z, out=p)
        p *= self.betas[0]
        p += z

    def _begin(self) -> None:
        """z and x of parameters that were not updated so far are these parameters, whatever has changed them."""
        for group in self.groups:
            group.flat.sync_views()
            for steps, ends in zip(group.steps, pairwise(group.flat.bounds)):
                if not steps:
                    p, _, z, x, _ = self._arrays(group, slice(*ends))
                    z[...] = x[...] = p

    @contextmanager
    def averaged(self) -> Iterator[None]:
        self._begin()
        for y, _, _, x, _ in self._all_arrays():
            y[...] = x
        self.share_update()
        try:
            yield
        finally:
            self._restore_y()
        self.share_update()  # not after an error: other ranks may do something else then

    def state_dict(self, *, copy: bool = True) -> dict[str, np.ndarray]:
        self._begin()
        return super().state_dict(copy=copy)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self._restore_y()
        self.share_update()

    def _restore_y(self) -> None:
        # y is not saved: the same formula gives the same bits.
        for y, _, z, x, _ in self._all_arrays():
            self._set_y(y, z, x)

    def _all_arrays(self) -> Iterator[list[Array]]:
        """Parameters, gradients and moments of all elements, those of each group."""
        return (self._arrays(group, slice(0, group.flat.size)) for group in self.groups)
