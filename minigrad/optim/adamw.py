"""Adam with decoupled weight decay.

Kingma and Ba 2015 (arXiv:1412.6980); Loshchilov and Hutter 2019 (arXiv:1711.05101). For a parameter p with the gradient
g, at step t = 1, 2, ...:

    m <- beta1 m + (1 - beta1) g             a running mean of the gradient
    v <- beta2 v + (1 - beta2) g^2           a running mean of its square
    m_hat = m / (1 - beta1^t)                both began at 0 and are too small at first; this corrects them
    v_hat = v / (1 - beta2^t)
    p <- p - lr weight_decay p - lr m_hat / (sqrt(v_hat) + eps)

Dividing by sqrt(v_hat) gives every element steps of about the size lr, whatever the scale of its gradient. The decay is
"decoupled": it acts on p directly. Added to g, as in L2 regularisation, it would be divided by sqrt(v_hat) too.

`adamw_reference` is these formulas for one parameter. `AdamW` does the same in place, on blocks of flat arrays,
which hold all parameters one after another (flat.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np

from minigrad.backend import Array
from minigrad.cuda import update as kernels
from minigrad.cuda.compiler import has_real_kernels
from minigrad.cuda.update import AdamWSettings
from minigrad.nn.module import Parameter
from minigrad.optim.optimizer import Optimizer, at_least_zero


def adamw_reference(
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    t: int,
    *,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.01,
) -> tuple[Array, Array, Array]:
    """Step `t` = 1, 2, ... for one parameter: the new (p, m, v). m and v begin at 0."""
    beta1, beta2 = betas
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    # With m = 0 at the beginning, m is a weighted sum of t gradients whose weights add up to 1 - beta1^t.
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    p = p - lr * weight_decay * p - lr * m_hat / (np.sqrt(v_hat) + eps)
    return p, m, v


class AdamW(Optimizer):
    """`adamw_reference` for all parameters, in place.

    Arguments as in torch.optim.AdamW; `params` and `decay` as in Optimizer. m and v are saved under torch's names.
    """

    moments = ("exp_avg", "exp_avg_sq")
    guard: Array | None = None  # on a GPU: nothing is updated where this number is not finite (guarded.py)
    t_and_lr: Array | None = None  # on a GPU: what a captured graph reads instead of the arguments of the kernel

    def __init__(
        self,
        params: Iterable,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        decay: Callable[[Parameter], bool] | None = None,
    ):
        # With beta = 1 the mean would never change, and the bias correction would divide by 0.
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas must be at least 0 and below 1, not {betas}")
        self.betas, self.eps = (float(betas[0]), float(betas[1])), at_least_zero("eps", eps)
        super().__init__(params, lr, weight_decay, decay)

    def _update_slice(self, arrays: list[Array], t: int, weight_decay: float) -> None:
        if not has_real_kernels(arrays[0]):
            return super()._update_slice(arrays, t, weight_decay)
        p, g, m, v = arrays
        settings = AdamWSettings(t, self.lr, self.betas, self.eps, weight_decay)
        kernels.adamw(p, g, m, v, settings, t_and_lr=self.t_and_lr, guard=self.guard)  # all at once

    def update(
        self, p: Array, g: Array, *moments: Array, scratch: Array, t: int, lr: float, weight_decay: float
    ) -> None:
        """Step `t` for a block of elements, in place; no array is allocated."""
        (m, v), u, (beta1, beta2) = moments, scratch, self.betas
        # Scalars such as 1 - beta1 are Python floats, so float64. Each is rounded once, by the operation that uses it.
        c1, c2 = 1 - beta1**t, math.sqrt(1 - beta2**t)  # m_hat = m / c1, sqrt(v_hat) = sqrt(v) / c2
        # p <- p - lr weight_decay p
        p *= 1 - lr * weight_decay
        # m <- beta1 m + (1 - beta1) g
        m *= beta1
        np.multiply(g, 1 - beta1, out=u)  # `u` is a scratch array, so that no line allocates a new array
        m += u
        # v <- beta2 v + (1 - beta2) g^2
        v *= beta2
        np.multiply(g, g, out=u)
        u *= 1 - beta2
        v += u
        # p <- p - lr (m / c1) / (sqrt(v) / c2 + eps). Multiplying numerator and denominator by c2
        # gives (lr c2 / c1) m / (sqrt(v) + eps c2), which saves two passes over the block.
        np.sqrt(v, out=u)
        u += self.eps * c2
        np.divide(m, u, out=u)
        u *= lr * c2 / c1
        p -= u
