"""Attention on a GPU: all queries and keys in one block, with kernels for causality, the window and softmax.

BlockedAttention (attention_blocks.py) does the same block after block. On a GPU, the number of operations matters more
than the number of scores that are computed and then hidden. So there is only one block. Arrays are written directly in
the order in which the next matrix product reads them. Shapes: attention_scores.py; here R = G T.
"""

from __future__ import annotations

import numpy as np

from minigrad.backend import Array
from minigrad.cuda import rows as kernels
from minigrad.fused.attention_blocks import MAX_SAVED_RATIO, Saved
from minigrad.fused.attention_scores import ALL, AttentionInputs
from minigrad.fused.rows import as_rows, row_sum


class WholeAttention:
    """Both passes of one call of attention, with the same arguments and results as those of BlockedAttention."""

    def __init__(self, inputs: AttentionInputs):
        self.inputs = inputs
        T, S = inputs.shape[3:5]
        window = inputs.options.window
        # A window that is longer than the text hides nothing. It is made shorter, because the kernels add it to
        # positions in 32 bits, where the sum could overflow.
        window = None if window is None else min(window, T + S)
        self.visible = kernels.CausalWindow(T, S - T, inputs.options.causal, window)

    def forward(self, *, save_for_backward: bool) -> tuple[Array, list[Saved]]:
        inputs, (B, K, G, T, _, D) = self.inputs, self.inputs.shape
        p, _ = inputs.scores(self.scaled_queries(), ALL, ALL, ALL)  # (B, K, R, S); kernels hide what causality hides
        maximum, total = kernels.softmax_numerators(as_rows(p), self.visible)
        maximum, total = (a.reshape(B, K, G * T, 1) for a in (maximum, total))
        p_after_dropout = p * inputs.dropout_factors(ALL, ALL, ALL) if inputs.options.dropout else p
        y = inputs.matmul(p_after_dropout, inputs.v)  # (B, K, R, D)
        # In memory (B, T, H, D), the order that the linear map after attention reads.
        out = inputs.xp.empty((B, T, K * G, D), inputs.dtype).transpose(0, 2, 1, 3)
        np.divide(self.by_head(y), self.by_head(total), out=self.by_head(out))
        if not save_for_backward:
            return out, []
        return out, [(p, total) if inputs.saves_weights(MAX_SAVED_RATIO) else np.log(total) + maximum]

    def backward(self, g: Array, out: Array, saved: list[Saved], *, needs_bias_grad: bool) -> tuple:
        inputs, (B, K, G, T, S, D) = self.inputs, self.inputs.shape
        q, do = self.scaled_queries(), inputs.xp.empty((B, K, G * T, D), inputs.dtype)
        delta = row_sum(g * out).reshape(B, K, G * T, 1)  # rowsum(dO * O)
        (saved_block,), slope = saved, None
        if type(saved_block) is tuple:
            p, total = saved_block  # P = p / total, but dividing dO and delta instead is less work
            np.divide(self.by_head(g), self.by_head(total), out=self.by_head(do))
            delta = delta / total
        else:
            p, slope = inputs.scores(q, ALL, ALL, ALL)
            kernels.softmax_from_lse(as_rows(p), saved_block, self.visible)
            self.by_head(do)[...] = self.by_head(g)
        dp, p_after_dropout = inputs.matmul(do, inputs.v.swapaxes(-1, -2)), p  # (B, K, R, S)
        if inputs.options.dropout:
            factors = inputs.dropout_factors(ALL, ALL, ALL)
            p_after_dropout, dp = p * factors, dp * factors
        dv = inputs.matmul(p_after_dropout.swapaxes(-1, -2), do)  # (B, K, S, D)
        dp -= delta
        dp *= p
        ds, dx = dp, dp if slope is None else dp * slope  # slope of the soft cap
        dq, dk = inputs.matmul(dx, inputs.k), inputs.matmul(dx.swapaxes(-1, -2), q)
        dq *= inputs.options.scale
        grads = dq.reshape(B, K * G, T, D), dk, dv
        return grads if inputs.bias is None else (*grads, ds.reshape(B, K * G, T, S) if needs_bias_grad else None)

    def scaled_queries(self) -> Array:
        """scale q: (B, K, R, D), in C order"""
        inputs, (B, K, G, T, _, D) = self.inputs, self.inputs.shape
        q = inputs.xp.empty((B, K, G * T, D), inputs.dtype)
        np.multiply(inputs.q, inputs.options.scale, out=self.by_head(q))
        return q

    def by_head(self, a: Array) -> Array:
        """(B, H, T, n) or (B, K, R, n) -> (B, K, G, T, n), a view"""
        return a.reshape(*self.inputs.shape[:4], a.shape[-1])
