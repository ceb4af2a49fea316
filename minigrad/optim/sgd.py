"""Stochastic gradient descent with momentum, as `torch.optim.SGD` defines it.

For a parameter p with the gradient g:

    g <- g + weight_decay p                               L2 regularisation: the gradient of weight_decay |p|^2 / 2
    b <- momentum b + (1 - dampening) g                   the momentum buffer; at the first step b <- g
    p <- p - lr b                                         Polyak 1964
    p <- p - lr (g + momentum b)                          with Nesterov's momentum (Nesterov 1983)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from minigrad.backend import Array
from minigrad.nn.module import Parameter
from minigrad.optim.optimizer import Optimizer, at_least_zero


def sgd_reference(
    p: Array,
    g: Array,
    buffer: Array,
    t: int,
    *,
    lr: float = 1e-3,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    dampening: float = 0.0,
) -> tuple[Array, Array]:
    """Step `t` = 1, 2, ... for one parameter, as defined: the new (p, momentum buffer)."""
    g = g + weight_decay * p
    # The first gradient is not dampened: there is nothing yet that it could be averaged with.
    buffer = g if t == 1 or not momentum else momentum * buffer + (1 - dampening) * g
    return p - lr * (g + momentum * buffer if nesterov else buffer), buffer


class SGD(Optimizer):
    """`sgd_reference` for all parameters, in place.

    Arguments as in torch.optim.SGD; `params` and `decay` as in Optimizer.
    """

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
        # As in torch: Nesterov's form is defined for plain momentum only.
        if nesterov and (momentum == 0 or dampening != 0):
            raise ValueError(f"Nesterov momentum needs momentum > 0 and dampening = 0, not {momentum} and {dampening}")
        self.momentum, self.dampening, self.nesterov = at_least_zero("momentum", momentum), dampening, nesterov
        self.moments = ("momentum_buffer",) if momentum else ()  # without momentum, no memory is needed
        super().__init__(params, lr, weight_decay, decay)

    def update(
        self, p: Array, g: Array, *moments: Array, scratch: Array, t: int, lr: float, weight_decay: float
    ) -> None:
        """Step `t` for a block of elements, in place; no array is allocated."""
        u = np.multiply(p, weight_decay, out=scratch)
        u += g  # u = g + weight_decay p
        if moments:
            buffer = moments[0]
            buffer *= self.momentum
            u *= 1 - self.dampening if t > 1 else 1  # the buffer was 0 before the first step, so now it becomes u
            buffer += u
            if self.nesterov:  # the step has two terms; first lr (g + weight_decay p)
                u *= lr
                p -= u
            # The other term: momentum buffer with Nesterov's form, else the buffer itself. It is copied to `u`, because
            # the buffer is needed at the next step and must not be multiplied by lr.
            np.multiply(buffer, self.momentum if self.nesterov else 1, out=u)
        u *= lr
        p -= u
