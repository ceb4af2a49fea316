"""Adam with decoupled weight decay: Kingma and Ba 2015 (arXiv:1412.6980); Loshchilov and Hutter 2019
(arXiv:1711.05101).

First as the papers have it, for one parameter; then in place, in blocks of the flat arrays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from minigrad.cuda import elements as kernels
from minigrad.cuda.compiler import has_kernels
from minigrad.nn.module import Parameter
from minigrad.optim.optimizer import Optimizer, at_least_zero


def adamw_reference(
    p: Any,
    g: Any,
    m: Any,
    v: Any,
    t: int,
    *,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.01,
) -> tuple[Any, Any, Any]:
    """Step `t` = 1, 2, ... for one parameter: the new (p, m, v). m and v, running means of g and g*g, begin at 0."""
    beta1, beta2 = betas
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    m_hat = m / (1 - beta1**t)  # without this, means that began at 0 are too small at first
    v_hat = v / (1 - beta2**t)
    p = p - lr * weight_decay * p - lr * m_hat / (np.sqrt(v_hat) + eps)
    return p, m, v


class AdamW(Optimizer):
    """Like `adamw_reference`, in place. Arguments as in torch.optim.AdamW; for `params` and `decay` see Optimizer."""

    moments = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Iterable,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        decay: Callable[[Parameter], bool] | None = None,
    ):
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas must be at least 0 and below 1, not {betas}")
        self.betas, self.eps = (float(betas[0]), float(betas[1])), at_least_zero("eps", eps)
        super().__init__(params, lr, weight_decay, decay)

    def update(self, p: Any, g: Any, *moments: Any, scratch: Any, t: int, lr: float, weight_decay: float) -> None:
        if has_kernels(p):
            kernels.adamw(p, g, *moments, t=t, lr=lr, betas=self.betas, eps=self.eps, weight_decay=weight_decay)
            return
        (m, v), u, (beta1, beta2) = moments, scratch, self.betas
        c1, c2 = 1 - beta1**t, math.sqrt(1 - beta2**t)
        p *= 1 - lr * weight_decay
        m *= beta1
        np.multiply(g, 1 - beta1, out=u)
        m += u
        v *= beta2
        np.multiply(g, g, out=u)
        u *= 1 - beta2
        v += u
        # lr * (m / c1) / (sqrt(v) / c2 + eps), all scalar factors gathered: two passes fewer
        np.sqrt(v, out=u)
        u += self.eps * c2
        np.divide(m, u, out=u)
        u *= lr * c2 / c1
        p -= u
