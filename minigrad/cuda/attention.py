"""Attention on the GPU: what fused/attention_blocks.py does block by block, in one piece, with causality, the window
and softmax in a kernel. Here it is the number of operations that costs, so arrays are written at once in the layout
that the next product wants.

Shapes as there: B batch, H query heads, K key-value heads, G = H / K queries a group, T queries, S keys, D head
dimension; R = G T.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.cuda import rows as kernels
from minigrad.fused.attention_blocks import KEPT, Blocks
from minigrad.fused.rows import row_sum, rows

ALL = slice(None)


class WholeBlock(Blocks):
    """`Blocks` in one piece: `forward` and `backward` take and give the same."""

    def forward(self, backward_follows: bool) -> tuple[Any, Any]:
        B, K, G, T, S, D = self.shape
        p = self.all_scores(self.scaled_queries())  # (B, K, R, S)
        top, total = kernels.exponentials(rows(p), self.sight())
        top, total = (a.reshape(B, K, G * T, 1) for a in (top, total))
        y = (p * self.kept(ALL, ALL, ALL) if self.dropout else p) @ self.v  # (B, K, R, D)
        out = self.place(K * G, T, whole=True)
        np.divide(self.grouped(y), self.grouped(total), out=self.grouped(out))
        if backward_follows:
            return out, (p, total) if S <= KEPT * D else np.log(total) + top
        return out, None

    def backward(self, g: Any, out: Any, saved: Any, bias_needs: bool) -> tuple:
        B, K, G, T, S, D = self.shape
        q, do = self.scaled_queries(), self.xp.empty((B, K, G * T, D), self.dtype)
        delta = row_sum(g * out).reshape(B, K, G * T, 1)
        if type(saved) is tuple:
            p, total = saved  # P = p / total: dividing do and delta is less work
            np.divide(self.grouped(g), self.grouped(total), out=self.grouped(do))
            delta = delta / total
        else:
            p = self.all_scores(q)
            kernels.weights(rows(p), saved, self.sight())
            self.grouped(do)[...] = self.grouped(g)
        dp, weights = do @ self.v.swapaxes(-1, -2), p  # (B, K, R, S)
        if self.dropout:
            kept = self.kept(ALL, ALL, ALL)
            weights, dp = p * kept, dp * kept
        dv = weights.swapaxes(-1, -2) @ do  # (B, K, S, D)
        dp -= delta
        dp *= p  # dS
        dq, dk = dp @ self.k, dp.swapaxes(-1, -2) @ q
        dq *= self.scale
        grads = dq.reshape(B, K * G, T, D), dk, dv
        return grads if self.bias is None else (*grads, dp.reshape(B, K * G, T, S) if bias_needs else None)

    def scaled_queries(self) -> Any:
        """scale q: (B, K, R, D)"""
        B, K, G, T, S, D = self.shape
        q = self.xp.empty((B, K, G * T, D), self.dtype)
        np.multiply(self.q, self.scale, out=self.grouped(q))
        return q

    def all_scores(self, q: Any) -> Any:
        """Scores of all pairs (B, K, R, S); hidden ones are -inf if the mask hides them, and anything if causality or
        the window does.
        """
        s = q @ self.k.swapaxes(-1, -2)
        grouped = self.grouped(s)  # the same memory
        if self.bias is not None:
            grouped += self.bias
        if self.mask is not None:
            grouped += self.hide(self.mask)
        return s

    def grouped(self, a: Any) -> Any:
        """(B, H, T, n) or (B, K, R, n) -> (B, K, G, T, n), a view."""
        return a.reshape(*self.shape[:4], a.shape[-1])

    def sight(self) -> kernels.Sight:
        T, S = self.shape[3:5]
        return kernels.Sight(T, S - T, self.causal, self.window)
