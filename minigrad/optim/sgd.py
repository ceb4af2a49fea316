"""Stochastic gradient descent with momentum (Polyak 1964), Nesterov's form of it, and L2 weight decay, as
`torch.optim.SGD` defines them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from minigrad.nn.module import Parameter
from minigrad.optim.optimizer import Optimizer, at_least_zero


def sgd_reference(
    p: Any,
    g: Any,
    buffer: Any,
    t: int,
    *,
    lr: float = 1e-3,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    dampening: float = 0.0,
) -> tuple[Any, Any]:
    """Step `t` = 1, 2, ... for one parameter, as defined: the new (p, momentum_buffer). The buffer begins as the
    first gradient."""
    g = g + weight_decay * p
    buffer = g if t == 1 or not momentum else momentum * buffer + (1 - dampening) * g
    return p - lr * (g + momentum * buffer if nesterov else buffer), buffer


class SGD(Optimizer):
    """Like `sgd_reference`, in place. Arguments as in torch.optim.SGD; for `params` and `decay` see Optimizer."""

    def __init__(
        self,
        params: Iterable,
        lr: float = 1e-3,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        dampening: float = 0.0,
        decay: Callable[[Parameter], bool] | None = None,
    ):
        if nesterov and (momentum == 0 or dampening != 0):
            raise ValueError(f"Nesterov momentum needs momentum > 0 and dampening = 0, not {momentum} and {dampening}")
        self.momentum, self.dampening, self.nesterov = at_least_zero("momentum", momentum), dampening, nesterov
        self.moments = ("momentum_buffer",) if momentum else ()
        super().__init__(params, lr, weight_decay, decay)

    def update(self, p: Any, g: Any, *moments: Any, scratch: Any, t: int, lr: float, weight_decay: float) -> None:
        u = np.multiply(p, weight_decay, out=scratch)
        u += g
        if moments:
            buffer = moments[0]
            buffer *= self.momentum
            u *= 1 - self.dampening if t > 1 else 1
            buffer += u
            if self.nesterov:
                u *= lr
                p -= u
            np.multiply(buffer, self.momentum if self.nesterov else 1, out=u)
        u *= lr
        p -= u
