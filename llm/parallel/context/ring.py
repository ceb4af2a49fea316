"""Ring attention: queries stay where they are, and keys and values go around.

Rank r has the queries, keys and values of its tokens. In step 0 its queries attend to its own keys. Then each rank
gives the keys and values that it has to the next rank, and gets those of the one before. After size - 1 steps, all
queries have met all keys; those of later ranks are hidden from them.

    step        rank 0      rank 1      rank 2          which keys the queries of a rank meet
      0         k0          k1          k2              -: later ones, hidden
      1         -           k0          k1
      2         -           -           k0

Each step gives an output O_s and, for each query, lse_s = log sum exp of its scores. They are put together, as the
softmax over all keys weights each step by its share of the sum of exponentials:

    lse = log(exp lse + exp lse_s)        O = O exp(lse_old - lse) + O_s exp(lse_s - lse)

The backward pass goes around a second time. The gradients of a step need only O and lse of all keys, as in
minigrad/fused/attention.py. The gradients of keys and values travel with them, and come home after `size` steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llm.parallel.communicators.communicator import Communicator
from minigrad.backend import Array
from minigrad.fused.attention_blocks import BlockedAttention
from minigrad.fused.attention_scores import (
    AttentionInputs,
    AttentionOptions,
    Blockwise,
    is_blockwise,
    merge_group,
    split_group,
)
from minigrad.fused.record import Needs, record_fused
from minigrad.precision import current_precision, products_in
from minigrad.random import Part, next_key, placement_of
from minigrad.tensor import Tensor


@dataclass(frozen=True)
class Ring:
    """The ranks, and which of the tokens each of them has."""

    ranks: Communicator
    tokens: Sequence[range]

    def chunks(self, *arrays: Array) -> Iterator[tuple[int, list[Array]]]:
        """(rank, its arrays) for this rank, then for the one before, and so on. They travel on as they are then."""
        held, size = list(arrays), self.ranks.size
        for step in range(size):
            owner = (self.ranks.rank - step) % size
            yield owner, held
            if step < size - 1:
                held[:] = [self.pass_on(array, (owner - 1) % size) for array in held]

    def pass_on(self, array: Array, owner: int) -> Array:
        """Give an array (B, K, tokens, D) to the next rank, and get that of `owner` from the rank before."""
        rank, size, (B, K, _, D) = self.ranks.rank, self.ranks.size, array.shape
        self.ranks.send(np.ascontiguousarray(array), (rank + 1) % size)
        return self.ranks.receive((rank - 1) % size, (B, K, len(self.tokens[owner]), D), array.dtype)


def ring_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    ring: Ring,
    *,
    scale: float,
    soft_cap: float | None = None,
    window: int | None = None,
    bias: Array | Blockwise | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """`attention` of the tokens of this rank with those of all ranks: q (B, H, T_r, D), k and v (B, K, T_r, D).

    The arguments are those of `attention`. `bias`: for the queries of this rank, and the keys up to its last one.
    """
    options = AttentionOptions(False, window, scale, dropout, next_key() if dropout else None, soft_cap)
    passes = _Passes(ring, q.data, bias, options)
    out, lse = passes.forward(k.data, v.data)

    def vjp(g: Array, needs: Needs) -> tuple[Array, Array, Array]:
        return passes.backward(g, out, lse, k.data, v.data)

    def reference(*inputs: Tensor) -> Tensor:
        raise NotImplementedError("ring attention has no second derivatives")

    return record_fused(out, (q, k, v), vjp, reference)


class _Passes:
    """The forward and backward pass of one call."""

    def __init__(self, ring: Ring, q: Array, bias: Array | Blockwise | None, options: AttentionOptions):
        self.ring, self.q, self.bias, self.options = ring, q, bias, options
        self.rank, self.precision = ring.ranks.rank, current_precision()  # of both passes

    def forward(self, k: Array, v: Array) -> tuple[Array, Array]:
        """The output (B, H, T_r, D) and lse (B, H, T_r, 1), over all keys."""
        out, lse = np.zeros_like(self.q), np.full_like(self.q[..., :1], -np.inf)
        for owner, (keys, values) in self.ring.chunks(k, v):
            if owner > self.rank:  # all its keys are later
                continue
            step = self._step(owner, keys, values)
            step_out, saved = step.forward(save_for_backward=True)
            step_lse = self._joined(step, saved)
            total = np.logaddexp(lse, step_lse)
            out = out * np.exp(lse - total) + step_out * np.exp(step_lse - total)
            lse = total
        return out, lse

    def backward(self, g: Array, out: Array, lse: Array, k: Array, v: Array) -> tuple[Array, Array, Array]:
        """The gradients of q, k and v, of this rank."""
        dq = np.zeros_like(self.q)
        travelling = [k, v, np.zeros_like(k), np.zeros_like(v)]
        for owner, (keys, values, dk, dv) in self.ring.chunks(*travelling):
            if owner <= self.rank:
                step = self._step(owner, keys, values)
                for total, part in zip(
                    (dq, dk, dv), step.backward(g, out, self._divided(step, lse), needs_bias_grad=False)
                ):
                    total += part
        # These are now those of the next rank, which this rank was the last to add to. One step more, and all are home.
        dk, dv = (self.ring.pass_on(each, self.rank) for each in (dk, dv))
        return dq, dk, dv

    def _step(self, owner: int, k: Array, v: Array) -> BlockedAttention:
        """Attention with the keys and values of one rank."""
        own, others, options = self.ring.tokens[self.rank], self.ring.tokens[owner], self.options
        if options.key is not None:  # the weights are a part of those of all queries and all keys
            total = self.ring.tokens[-1].stop
            parts = (Part(2, own.start, own.stop, total), Part(3, others.start, others.stop, total))
            options = options._replace(key=(*options.key[:3], (*placement_of(options.key), *parts)))
        mask = None if options.window is None else _Window(own, others, options.window)
        options = options._replace(causal=owner == self.rank, window=None)
        with products_in(self.precision):
            inputs = AttentionInputs(self.q, k, v, _of_keys(self.bias, others), mask, options)
        return BlockedAttention(inputs, max_saved_ratio=0)  # never saves weights, but lse

    def _joined(self, step: BlockedAttention, saved: list) -> Array:
        """lse (B, H, T_r, 1) from that of each block."""
        B, K, G, T, _, _ = step.inputs.shape
        lse = np.full((B, K, G, T, 1), -np.inf, self.q.dtype)
        for (b, i, _), block in zip(step.blocks(), saved, strict=True):
            lse[b, :, :, i] = split_group(block, G)
        return lse.reshape(B, K * G, T, 1)

    def _divided(self, step: BlockedAttention, lse: Array) -> list:
        B, K, G, T, _, _ = step.inputs.shape
        by_head = lse.reshape(B, K, G, T, 1)
        return [merge_group(by_head[b, :, :, i]) for b, i, _ in step.blocks()]


@dataclass(frozen=True)
class _Window:
    """A mask: True where the key is in the window of the query."""

    queries: range
    keys: range
    window: int

    def block(self, b: slice, i: slice, j: slice) -> Array:
        distance = np.array(self.queries[i])[:, None] - np.array(self.keys[j])
        return (distance < self.window)[None, None]  # (1, 1, i, j)


@dataclass(frozen=True)
class _OfKeys:
    """A bias for some of the keys."""

    bias: Blockwise
    keys: range

    def block(self, b: slice, i: slice, j: slice) -> Array:
        keys = self.keys[j]
        return self.bias.block(b, i, slice(keys.start, keys.stop))


def _of_keys(bias: Array | Blockwise | None, keys: range) -> Array | Blockwise | None:
    if bias is None or is_blockwise(bias):
        return None if bias is None else _OfKeys(bias, keys)
    array: Any = bias
    return array[..., keys.start : keys.stop]
