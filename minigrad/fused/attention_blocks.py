"""The forward and backward pass of attention, one block of queries and keys after another, on arrays.

The maths is in attention.py; shapes and blocks are explained in attention_scores.py. In short: b, i and j are slices of
the batch, of the queries and of the keys, and in shapes their lengths; the G query heads of a key head are stacked as
R = G i rows of one matrix.

The matrix of scores (T, S) is cut into strips of QUERY_BLOCK queries. A strip has only the keys that at least one of
its queries can see:

    causal             causal, window 3      keys ->
    # o . . . .        # o . . . .
    # # . . . .        # # . . . .           #   computed
    -----------        -----------           o   computed, then hidden by adding -inf
    # # # o . .        # # # o . .           .   never computed
    # # # # . .        o # # # . .
    -----------        -----------           Each row is a query. Here a strip has two queries.
    # # # # # o        . . # # # o
    # # # # # #        . . o # # #
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from minigrad.backend import Array
from minigrad.fused.attention_scores import AttentionInputs, merge_group, split_group, visible_pairs
from minigrad.fused.rows import row_dot, row_sum

QUERY_BLOCK = 64  # queries of a block
MAX_BLOCK_SCORES = 1 << 18  # scores of a block: as many as stay in the CPU's cache
MAX_SAVED_RATIO = 4  # weights are saved for the backward pass if S <= 4 D, else computed again: see `saves_weights`
UNDERFLOW = 1e-20  # a row whose exponentials add up to less than this has lost digits

Block = tuple[slice, slice, slice]  # of the batch, of the queries, of the keys
# What is saved of a block: with `saves_weights` the pair (p = exp(scores - maximum), sums of the rows of p), else lse.
Saved = tuple[Array, Array] | Array


class BlockedAttention:
    """Both passes of one call of attention. The tests set the keyword parameters to small numbers."""

    def __init__(
        self,
        inputs: AttentionInputs,
        *,
        query_block: int = QUERY_BLOCK,
        max_block_scores: int = MAX_BLOCK_SCORES,
        max_saved_ratio: int = MAX_SAVED_RATIO,
    ):
        self.inputs, self.query_block, self.max_block_scores = inputs, query_block, max_block_scores
        self.saves_weights = inputs.saves_weights(max_saved_ratio)
        self.causal_biases: dict[tuple[int, int, int], Array] = {}

    def forward(self, *, save_for_backward: bool) -> tuple[Array, list[Saved]]:
        """The output (B, H, T, D), and for each block what `backward` needs: see `Saved`."""
        inputs, (B, K, G, T, _, D) = self.inputs, self.inputs.shape
        out = self.allocate(K * G, T, zero=True)  # zero, because a query that sees nothing is in no block
        saved: list[Saved] = []
        out_by_head = out.reshape(B, K, G, T, D)  # a view: writing to it writes to `out`
        for b, i, j in self.blocks():
            # Softmax is p / total. The division comes last, because y usually has fewer numbers than p.
            p, maximum, total = self.softmax_numerators(self.scaled_queries(b, i), (b, i, j))
            if save_for_backward:
                saved.append((p, total) if self.saves_weights else np.log(total) + maximum)
            if inputs.options.dropout:
                p = p * inputs.dropout_factors(b, i, j)
            y = inputs.matmul(p, inputs.v[b, :, j])  # (b, K, R, D)
            y /= total
            out_by_head[b, :, :, i] = split_group(y, G)
        return out, saved

    def backward(self, g: Array, out: Array, saved: list[Saved], *, needs_bias_grad: bool) -> tuple:
        """Gradients of q (B, H, T, D), k and v (B, K, S, D). If there is a bias, a fourth one (B, H, T, S).

        The fourth one is None unless `needs_bias_grad`.
        """
        inputs, (B, K, G, T, S, D) = self.inputs, self.inputs.shape
        # Without a window, the first block of a sequence has all keys, and every query is in some block. Then the first
        # block sets the gradients and the later ones add to them, so that they need not be zero at first.
        covered = inputs.options.window is None and S >= T > 0
        dq = self.allocate(K * G, T, zero=not covered)
        dk, dv = (self.allocate(K, S, zero=not covered) for _ in range(2))
        dbias = inputs.xp.zeros((B, K, G, T, S), inputs.dtype) if needs_bias_grad else None
        dq_by_head, g = dq.reshape(B, K, G, T, D), g.reshape(B, K, G, T, D)
        deltas = row_dot(g, out.reshape(g.shape))[..., None]  # rowsum(dO * O): (B, K, G, T, 1)
        for (b, i, j), saved_block in zip(self.blocks(), saved):
            do, delta = merge_group(g[b, :, :, i]), merge_group(deltas[b, :, :, i])  # (b, K, R, D), (b, K, R, 1)
            q = self.scaled_queries(b, i)  # (b, K, R, D)
            ds, dx, dv_block = self.score_gradients(q, do, delta, saved_block, (b, i, j))
            first = covered and i.stop == T  # `blocks` begins with the last queries
            dq_by_head[b, :, :, i] = split_group(inputs.matmul(dx, inputs.k[b, :, j]), G)
            set_or_add(dk[b, :, j], inputs.matmul(dx.swapaxes(-1, -2), q), first=first)
            set_or_add(dv[b, :, j], dv_block, first=first)
            if dbias is not None:
                dbias[b, :, :, i, j] = split_group(ds, G)
        dq *= inputs.options.scale
        if inputs.bias is None:
            return dq, dk, dv
        return dq, dk, dv, None if dbias is None else dbias.reshape(B, K * G, T, S)

    def score_gradients(
        self, q: Array, do: Array, delta: Array, saved: Saved, block: Block
    ) -> tuple[Array, Array, Array]:
        """dS and dX (b, K, R, j), and dV (b, K, j, D) of a block, from dO (b, K, R, D) and delta = rowsum(dO * O)."""
        inputs, (b, _, j), slope = self.inputs, block, None
        if type(saved) is tuple:
            p, total = saved  # P = p / total, but dividing dO and delta instead is less work
            do, delta = do / total, delta / total
        else:
            p, slope = self.scores(q, block)
            p -= saved  # lse
            np.exp(p, out=p)  # softmax = exp(scores - lse)
        dp = inputs.matmul(do, inputs.v[b, :, j].swapaxes(-1, -2))  # (b, K, R, j)
        p_after_dropout = p
        if inputs.options.dropout:  # the output was (P * factors) V
            factors = inputs.dropout_factors(*block)
            p_after_dropout, dp = p * factors, dp * factors
        dv = inputs.matmul(p_after_dropout.swapaxes(-1, -2), do)
        ds = dp  # dS = P * (dP - delta), in the memory of dP
        ds -= delta
        ds *= p
        return ds, ds if slope is None else ds * slope, dv

    # --- scores and softmax of a block --------------------------------------------------------------------------------

    def scaled_queries(self, b: slice, i: slice) -> Array:
        """scale q: (b, K, R, D)"""
        return merge_group(self.inputs.q[b, :, :, i] * self.inputs.options.scale)

    def scores(self, q: Array, block: Block) -> tuple[Array, Array | None]:
        """Scores of a block (b, K, R, j), where hidden pairs are -inf, and the slope of the soft cap or None."""
        inputs, (_, i, j) = self.inputs, block
        scores, slope = inputs.scores(q, *block)
        if inputs.options.causal or inputs.options.window is not None:
            start = j.start  # from this key on, a key may be hidden from a query of the block
            if inputs.options.window is None:  # keys up to the position of the first query are visible to all
                start = max(j.start, i.start + inputs.offset + 1)
            if start < j.stop:
                by_head = split_group(scores, inputs.shape[2])  # a view
                # Column 0 of the block is key j.start.
                by_head[..., start - j.start :] += self.causal_bias(i, slice(start, j.stop))
        return scores, slope

    def causal_bias(self, i: slice, j: slice) -> Array:
        """0 or -inf (i, j): what causality and the window add to the scores."""
        # Most blocks have the same one, because it depends only on where the keys are relative to the queries.
        relative = i.stop - i.start, j.start - i.start, j.stop - j.start
        if relative not in self.causal_biases:
            inputs, options = self.inputs, self.inputs.options
            visible = visible_pairs(inputs.xp, i, j, inputs.offset, causal=options.causal, window=options.window)
            self.causal_biases[relative] = inputs.additive_mask(visible)
        return self.causal_biases[relative]

    def softmax_numerators(self, q: Array, block: Block) -> tuple[Array, Array, Array]:
        """p = exp(scores - maximum) (b, K, R, j); the maximum; and the sums of the rows of p (b, K, R, 1).

        Softmax is p / sum, and lse = log(sum) + maximum. A sum is 1 for a query that sees nothing.
        """
        lowest = np.finfo(self.inputs.dtype).min  # finite: a row of -inf then gives exp(-inf) = 0, not nan
        p, _ = self.scores(q, block)
        if self.inputs.xp is np:
            # Any maximum that is not too far off will do, and that of the whole block is found faster than one a row.
            maximum = np.maximum(p.max(), lowest)
            total = exp_in_place(p, maximum)
            if total.min() > UNDERFLOW:
                return p, maximum, total
            # Rare: a row lies so far below the maximum that its exponentials underflow, or its query sees nothing.
            p, _ = self.scores(q, block)
        maximum = np.maximum(p.max(axis=-1, keepdims=True), lowest)  # (b, K, R, 1)
        total = exp_in_place(p, maximum)
        total += total == 0  # for a query that sees nothing, 0 becomes 1: p / total is then 0, not nan
        return p, maximum, total

    # --- blocks and memory --------------------------------------------------------------------------------------------

    def blocks(self) -> Iterator[Block]:
        """All blocks with a visible pair. The last queries of a sequence, which see the most keys, come first."""
        inputs, (B, K, G, T, S, _) = self.inputs, self.inputs.shape
        if inputs.xp is np:
            step = self.query_block
            sequences = max(1, self.max_block_scores // (K * G * step * max(S, 1)))  # of a block
        else:
            step, sequences = max(T, 1), max(B, 1)  # a GPU is best used by one large block
        strips = list(query_blocks(T, S, step, causal=inputs.options.causal, window=inputs.options.window))
        for b in range(0, B, sequences):
            for i, j in reversed(strips):
                yield slice(b, min(b + sequences, B)), i, j

    def allocate(self, heads: int, length: int, *, zero: bool) -> Array:
        """An array (B, heads, length, D): of zeros, or uninitialised.

        In memory the axes are (B, length, heads, D), the order in which the linear maps around attention read them.
        """
        inputs = self.inputs
        make = inputs.xp.zeros if zero else inputs.xp.empty
        return make((inputs.shape[0], length, heads, inputs.shape[5]), inputs.dtype).transpose(0, 2, 1, 3)


def query_blocks(T: int, S: int, step: int, *, causal: bool, window: int | None) -> Iterator[tuple[slice, slice]]:
    """Slices of `step` queries, each with the slice of keys that are visible to at least one of them.

    Queries that see no key are left out.
    """
    offset = S - T  # query i is at the position of key i + offset
    for start in range(0, T, step):
        stop = min(start + step, T)
        # The last query of the strip sees the keys before `key_stop`, the first one those from `key_start` on.
        key_stop = stop + offset if causal else S if window is None else stop + offset + window - 1
        key_start = 0 if window is None else max(0, start + offset - window + 1)
        if key_start < min(key_stop, S):
            yield slice(start, stop), slice(key_start, min(key_stop, S))


def saved_weights(T: int, D: int, window: int | None = None, soft_cap: float | None = None) -> int:
    """How many attention weights a head saves for the backward pass of a causal text of T tokens, on the CPU."""
    if T > MAX_SAVED_RATIO * D or soft_cap is not None:
        return 0
    blocks = query_blocks(T, T, QUERY_BLOCK, causal=True, window=window)
    return sum((i.stop - i.start) * (j.stop - j.start) for i, j in blocks)


def exp_in_place(scores: Array, maximum: Array) -> Array:
    """Turn scores (..., n) into exp(scores - maximum), in place; returns the sums of the rows (..., 1)."""
    scores -= maximum
    np.exp(scores, out=scores)
    return row_sum(scores)[..., None]


def set_or_add(out: Array, a: Array, *, first: bool) -> None:
    """out = a the first time, out += a afterwards."""
    if first:
        out[...] = a
    else:
        out += a
