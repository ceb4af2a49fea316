"""Causal attention of half types on a GPU with tensor cores: one kernel forward, one backward (cuda/flash.cu).

The scores never leave the registers. The inputs are float16 or bfloat16; or float32, which is rounded to one of these
where products are computed in it (minigrad/precision.py), and then results and gradients are float32. The maths is that
of attention.py; sums, the softmax and lse are in float32. Shapes: attention.py.
"""

from __future__ import annotations

from typing import Any

from minigrad.backend import Array
from minigrad.cuda import flash
from minigrad.fused.attention_scores import AttentionOptions
from minigrad.precision import current_precision


def is_flash(q: Array, k: Array, v: Array, bias: Any, mask: Any, options: AttentionOptions) -> bool:
    """Whether the kernels compute this: causal, and nothing else hides keys, drops weights or changes scores."""
    special = bias is not None or mask is not None or options.window or options.dropout or options.soft_cap
    return options.causal and not special and flash.fits(q, k, v, current_precision().factor_dtype(q))


class FlashAttention:
    """Both passes of one call of attention, with the same arguments and results as those of WholeAttention."""

    def __init__(self, q: Array, k: Array, v: Array, scale: float):
        factor = current_precision().factor
        self.q, self.k, self.v = factor(q), factor(k), factor(v)
        self.scale, self.dtype = scale, q.dtype

    def forward(self, *, save_for_backward: bool) -> tuple[Array, list[Array]]:
        out, lse = flash.forward(self.q, self.k, self.v, self.scale, self.dtype)
        return out, [lse] if save_for_backward else []

    def backward(self, g: Array, out: Array, saved: list[Array], *, needs_bias_grad: bool) -> tuple:
        return flash.backward(g, self.q, self.k, self.v, out, saved[0], self.scale)
