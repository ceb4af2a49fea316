"""The passes of attention over blocks of queries, forward and backward, on arrays; the maths is in attention.py.

Shapes: B batch, H query heads, K key-value heads, G = H / K queries a group, T queries, S keys, D head dimension.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from minigrad.backend import array_module
from minigrad.fused.rows import row_dot, row_sum
from minigrad.fused.dropout import keep_mask, keep_scale

QUERY_BLOCK = 64  # queries worked on together
CACHED = 1 << 18  # scores worked on together: a block that the CPU's cache can hold
KEPT = 4  # times the head dimension: weights of texts up to this long are kept for the backward pass
FAINT = 1e-20  # sums of exponentials below this have lost digits


class Blocks:
    """The arrays of one call, by groups of heads, and the passes over their blocks: q (B, K, G, T, D), k and v (B, K,
    S, D).

    In a block (b, K, R, j) the R = G i queries that look at one key head are the rows of one matrix.
    """

    def __init__(
        self,
        q: Any,
        k: Any,
        v: Any,
        bias: Any,
        mask: Any,
        causal: bool,
        window: int | None,
        scale: float,
        dropout: float,
        key: Any,
    ):
        (B, H, T, D), (K, S) = q.shape, k.shape[1:3]
        self.xp, self.shape, self.dtype = array_module(q), (B, K, H // K, T, S, D), q.dtype
        self.q, self.k, self.v = q.reshape(B, K, H // K, T, D), k, v
        self.bias, self.mask = (_grouped(a, K) for a in (bias, mask))
        self.causal, self.window, self.scale, self.dropout, self.key = causal, window, scale, dropout, key
        self.patterns: dict[tuple, Any] = {}

    def __iter__(self) -> Iterator[tuple]:
        """Blocks as slices: sequences, queries, and the keys that at least one of the queries can see. The last
        queries, who see most, come first.
        """
        B, K, G, T, S, _ = self.shape
        on_cpu = self.xp is np  # a GPU wants one large block
        step = QUERY_BLOCK if on_cpu else max(T, 1)
        together = max(1, CACHED // (K * G * step * max(S, 1))) if on_cpu else max(B, 1)
        spans = list(_spans(T, S, step, self.causal, self.window))
        return ((slice(b, min(b + together, B)), *span) for b in range(0, B, together) for span in reversed(spans))

    def queries(self, b: slice, i: slice) -> Any:
        """scale q: (b, K, R, D)"""
        return _rows(self.q[b, :, :, i] * self.scale)

    def scores(self, q: Any, b: slice, i: slice, j: slice) -> Any:
        """Scores of a block, hidden pairs -inf: (b, K, R, j)."""
        s = q @ self.k[b, :, j].swapaxes(-1, -2)
        heads = self.heads(s, i)  # (b, K, G, i, j), the same memory
        if self.bias is not None:
            heads += _part(self.bias, b, i, j)
        offset = self.shape[4] - self.shape[3]
        if self.causal or self.window is not None:
            # without a window, all of these queries see the keys up to the place of the first
            first = max(j.start, i.start + offset + 1) if self.window is None else j.start
            if first < j.stop:
                heads[..., first - j.start :] += self.pattern(i, slice(first, j.stop), offset)
        if self.mask is not None:
            heads += self.hide(_part(self.mask, b, i, j))
        return s

    def pattern(self, i: slice, j: slice, offset: int) -> Any:
        """What causality and the window add to the scores (i, j). It is the same for most blocks."""
        place = i.stop - i.start, j.start - i.start, j.stop - j.start
        if place not in self.patterns:
            self.patterns[place] = self.hide(visible(self.xp, i, j, offset, self.causal, self.window))
        return self.patterns[place]

    def hide(self, seen: Any) -> Any:
        return np.where(seen, 0.0, -np.inf).astype(self.dtype)

    def exponentials(self, q: Any, b: slice, i: slice, j: slice) -> tuple[Any, Any, Any]:
        """exp(scores - top) (b, K, R, j), top, and the sums (b, K, R, 1), which are 1 for a query that sees nothing."""
        lowest = np.finfo(self.dtype).min  # a row of -inf shall give exp(-inf) = 0
        p = self.scores(q, b, i, j)
        if self.xp is np:  # one maximum for the whole block is much quicker to find than one for each row
            top = np.maximum(p.max(), lowest)
            total = exponentiate(p, top)
            if total.min() > FAINT:
                return p, top, total
            p = self.scores(q, b, i, j)  # a row lies so far below another that it lost digits: rare, or it sees nothing
        top = np.maximum(p.max(axis=-1, keepdims=True), lowest)
        total = exponentiate(p, top)
        total += total == 0
        return p, top, total

    def forward(self, backward_follows: bool) -> tuple[Any, list]:
        """The output (B, H, T, D), and what `backward` needs of each block: (exponentials, sums of their rows) or lse,
        (b, K, R, ...).
        """
        B, K, G, T, S, D = self.shape
        keep = S <= KEPT * D and self.dtype.itemsize >= 4  # 1 / sum may be beyond the range of float16
        out, saved = self.place(K * G, T, whole=False), []
        o = out.reshape(B, K, G, T, D)
        for b, i, j in self:
            p, top, total = self.exponentials(self.queries(b, i), b, i, j)
            if backward_follows:
                saved.append((p, total) if keep else np.log(total) + top)
            if self.dropout:
                p = p * self.kept(b, i, j)
            y = p @ self.v[b, :, j]  # (b, K, R, D)
            y /= total
            o[b, :, :, i] = self.heads(y, i)
        return out, saved

    def backward(self, g: Any, out: Any, saved: list, bias_needs: bool) -> tuple:
        """Gradients of q (B, H, T, D), k and v (B, K, S, D), and of the bias (B, H, T, S) if there is one."""
        B, K, G, T, S, D = self.shape
        # without a window the first block of a sequence has all keys, and the blocks have all queries: nothing to be
        # added to
        whole = self.window is None and S >= T > 0
        grads = dq, dk, dv = self.place(K * G, T, whole), self.place(K, S, whole), self.place(K, S, whole)
        g, dq = g.reshape(B, K, G, T, D), dq.reshape(B, K, G, T, D)
        deltas = row_dot(g, out.reshape(g.shape))[..., None]  # (B, K, G, T, 1)
        dbias = self.xp.zeros((B, K, G, T, S), self.dtype) if bias_needs else None
        for (b, i, j), known in zip(self, saved):
            q, do, delta = (
                self.queries(b, i),
                _rows(g[b, :, :, i]),
                _rows(deltas[b, :, :, i]),
            )  # (b, K, R, D), the same, (b, K, R, 1)
            if type(known) is tuple:
                p, total = known  # P = p / total: dividing do and delta is less work
                do, delta = do / total, delta / total
            else:
                p = self.scores(q, b, i, j)
                p -= known
                np.exp(p, out=p)  # (b, K, R, j)
            dp = do @ self.v[b, :, j].swapaxes(-1, -2)
            weights = p
            if self.dropout:
                kept = self.kept(b, i, j)
                weights, dp = p * kept, dp * kept
            begins = whole and i.stop == T
            _put(dv[b, :, j], weights.swapaxes(-1, -2) @ do, begins)
            dp -= delta
            dp *= p  # dS
            dq[b, :, :, i] = self.heads(dp @ self.k[b, :, j], i)
            _put(dk[b, :, j], dp.swapaxes(-1, -2) @ q, begins)
            if dbias is not None:
                dbias[b, :, :, i, j] = self.heads(dp, i)
        dq *= self.scale
        return grads if self.bias is None else (*grads, None if dbias is None else dbias.reshape(B, K * G, T, S))

    def heads(self, rows: Any, i: slice) -> Any:
        """(b, K, R, n) -> (b, K, G, i, n), a view."""
        b, K, R, n = rows.shape
        return rows.reshape(b, K, self.shape[2], i.stop - i.start, n)

    def place(self, H: int, T: int, whole: bool) -> Any:
        """Zeros, or if the `whole` is going to be written anything, (B, H, T, D), laid out as (B, T, H, D): what
        projections want.
        """
        make = self.xp.empty if whole else self.xp.zeros
        return make((self.shape[0], T, H, self.shape[-1]), self.dtype).transpose(0, 2, 1, 3)

    def kept(self, b: slice, i: slice, j: slice) -> Any:
        """What dropout multiplies the weights (b, K, R, j) by: 0 or 1 / (1 - p)."""
        everything = slice(None)
        keep = keep_mask(self.key, self.shape[:5], self.dropout, self.xp, (b, everything, everything, i, j))
        return _rows(keep.astype(self.dtype) * self.dtype.type(keep_scale(self.dropout)))


def visible(xp: Any, queries: slice, keys: slice, offset: int, causal: bool, window: int | None) -> Any:
    """Which of the keys each of the queries may see: boolean (queries, keys). Query i stands at the place of key i +
    offset.
    """
    ahead = xp.arange(keys.start, keys.stop) - xp.arange(queries.start, queries.stop)[:, None] - offset
    seen = xp.ones(ahead.shape, dtype=bool)
    if causal:
        seen &= ahead <= 0
    if window is not None:
        seen &= abs(ahead) < window
    return seen


def _spans(T: int, S: int, step: int, causal: bool, window: int | None) -> Iterator[tuple[slice, slice]]:
    """Blocks of `step` queries, and the keys that at least one of them can see; those that see nothing are left out."""
    offset = S - T
    for i in range(0, T, step):
        end = min(i + step, T)
        last = end + offset if causal else S if window is None else end + offset + window - 1
        first = 0 if window is None else max(0, i + offset - window + 1)
        if first < min(last, S):
            yield slice(i, end), slice(first, min(last, S))


def weights_kept(T: int, D: int, window: int | None = None) -> int:
    """How many weights a head keeps from forward to backward, on the CPU, of a text of T tokens."""
    spans = _spans(T, T, QUERY_BLOCK, True, window) if T <= KEPT * D else ()
    return sum((i.stop - i.start) * (j.stop - j.start) for i, j in spans)


def _put(total: Any, a: Any, begins: bool) -> None:
    """Add `a` to the total, or begin it."""
    if begins:
        total[...] = a
    else:
        total += a


def _rows(a: Any) -> Any:
    """(b, K, G, i, n) -> (b, K, R, n)"""
    b, K, G, i, n = a.shape
    return a.reshape(b, K, G * i, n)


def exponentiate(p: Any, top: Any) -> Any:
    """p = exp(p - top), in place; returns the sums of the rows."""
    p -= top
    np.exp(p, out=p)
    return row_sum(p)[..., None]


def _grouped(a: Any, K: int) -> Any:
    """What broadcasts to (B, H, T, S), as what broadcasts to (B, K, G, T, S)."""
    if a is None:
        return None
    a = a.reshape((1,) * (4 - a.ndim) + a.shape)
    return a.reshape(a.shape[0], *((1, 1) if a.shape[1] == 1 else (K, a.shape[1] // K)), *a.shape[2:])


def _part(a: Any, b: slice, i: slice, j: slice) -> Any:
    """A block of `a`, leaving alone the axes along which it is broadcast."""
    return a[tuple(slice(None) if n == 1 else s for n, s in zip(a.shape, (b, slice(None), slice(None), i, j)))]
