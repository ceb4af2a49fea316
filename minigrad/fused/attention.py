"""Scaled dot-product attention, a block of queries at a time, touching only the keys they can see.

For queries Q, keys K, values V, with scores S = scale Q K^T + bias (hidden pairs: -inf):

    P = softmax(S)        O = P V        lse = log sum exp S  (one number a row, all that is saved beside the output)
    dV = P^T dO           dS = P * (dO V^T - rowsum(dO * O))          dQ = scale dS K        dK = scale dS^T Q

The (T, S) matrix of weights never exists whole: the backward pass makes each block again from lse, as FlashAttention
does (Dao et al. 2022, arXiv 2205.14135). Where texts are short, so that the weights are hardly more than the queries,
they are kept instead: the exponentials E of each block and the sums of their rows, P = E / sum. Grouped queries:
Ainslie et al. 2023 (arXiv 2305.13245).

Shapes: B batch, H query heads, K key-value heads, G = H / K queries a group, T queries, S keys, D head dimension.
"""

from __future__ import annotations

import math
from typing import Any

from minigrad.backend import array_module
from minigrad.backward import unbroadcast
from minigrad.cuda import rows as kernels
from minigrad.cuda.attention import WholeBlock
from minigrad.cuda.compiler import has_kernels
from minigrad.fused.attention_blocks import Blocks, exponentiate, visible
from minigrad.fused.record import record_fused
from minigrad.fused.rows import rows
from minigrad.fused.dropout import keep_mask, keep_scale
from minigrad.modes import mode
from minigrad.ops import broadcast_to, softmax, where
from minigrad.random import next_key
from minigrad.tensor import Tensor, tensor


def attention(
    q: Any,
    k: Any,
    v: Any,
    *,
    causal: bool = True,
    window: int | None = None,
    bias: Any = None,
    mask: Any = None,
    scale: float | None = None,
    dropout: float = 0.0,
    key: tuple[int, int, int] | None = None,
) -> Tensor:
    """softmax(scale q k^T + bias) v: q (B, H, T, D), k and v (B, K, S, D) where K divides H; returns (B, H, T, D).

    `causal`: query i sees the keys up to S - T + i, so that the last query sees all. `window`: only keys less than that
    far away. `mask`: boolean, True where a key may be seen; `bias`: added to the scores; both broadcast to (B, H, T,
    S). A query that sees nothing gives 0. `scale` defaults to 1/sqrt(D). `dropout`: the share of weights dropped,
    chosen by `key` (see dropout.py).
    """
    q, k, v = tensor(q), tensor(k), tensor(v)
    _check(q, k, v, window)
    key = next_key() if dropout and key is None else key
    biases = () if bias is None else (tensor(bias),)
    scale_ = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    if q.shape[2] == 1 and bias is mask is None and not (dropout or mode.recording or mode.op_hook):
        return Tensor(one_query(q.data, k.data, v.data, scale_, window))
    make = WholeBlock if has_kernels(q.data) else Blocks
    blocks = make(
        q.data,
        k.data,
        v.data,
        biases[0].data if biases else None,
        None if mask is None else tensor(mask).data,
        causal,
        window,
        scale_,
        dropout,
        key,
    )
    inputs = (q, k, v, *biases)
    out, saved = blocks.forward(backward_follows=mode.recording and any(x.requires_grad for x in inputs))

    def vjp(g: Any, needs: tuple) -> tuple:
        dq, dk, dv, *dbias = blocks.backward(g, out, saved, bias_needs=any(needs[3:]))
        # The bias was broadcast to the scores, whose shape the engine does not know.
        return dq, dk, dv, *(None if d is None else unbroadcast(d, bias.shape) for d, bias in zip(dbias, biases))

    def reference(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        return attention_reference(
            q, k, v, causal=causal, window=window, bias=bias, mask=mask, scale=scale, dropout=dropout, key=key
        )

    return record_fused(out, inputs, vjp, reference)


def attention_reference(
    q: Any,
    k: Any,
    v: Any,
    *,
    causal: bool = True,
    window: int | None = None,
    bias: Any = None,
    mask: Any = None,
    scale: float | None = None,
    dropout: float = 0.0,
    key: tuple[int, int, int] | None = None,
) -> Tensor:
    q, k, v = tensor(q), tensor(k), tensor(v)
    (B, H, T, D), (K, S), xp = q.shape, k.shape[1:3], array_module(q.data)
    k, v = (broadcast_to(x.expand_dims(2), (B, K, H // K, S, D)).reshape(B, H, S, D) for x in (k, v))
    scores = q @ k.swapaxes(-1, -2) * (1 / math.sqrt(D) if scale is None else scale)  # (B, H, T, S)
    scores = scores if bias is None else scores + bias
    seen = visible(xp, slice(0, T), slice(0, S), S - T, causal, window)  # (T, S)
    seen = broadcast_to(Tensor(seen if mask is None else seen & tensor(mask).data), scores.shape)
    weights = softmax(where(seen, scores, -math.inf), axis=-1)  # 0 for a query that sees nothing
    if dropout:
        kept = keep_mask(next_key() if key is None else key, weights.shape, dropout, xp)
        weights = weights * Tensor(kept.astype(weights.dtype) * keep_scale(dropout))
    return weights @ v


def _check(q: Tensor, k: Tensor, v: Tensor, window: int | None) -> None:
    shapes = f"q {q.shape}, k {k.shape}, v {v.shape}"
    if not q.ndim == k.ndim == v.ndim == 4 or k.shape[:3] != v.shape[:3]:
        raise ValueError(f"attention takes q (B, H, T, D), k (B, K, S, D) and v (B, K, S, D); got {shapes}")
    if (
        q.shape[0] != k.shape[0]
        or q.shape[3] != k.shape[3]
        or v.shape[3] != k.shape[3]
        or k.shape[1] == 0
        or q.shape[1] % k.shape[1]
    ):
        raise ValueError(
            "attention needs equal B and D, and a number of query heads that is a multiple of the key heads; got "
            f"{shapes}"
        )
    if window is not None and window < 1:
        raise ValueError(f"window is how many keys a query sees, itself included: at least 1, got {window}")


def one_query(q: Any, k: Any, v: Any, scale: float, window: int | None = None, bias: Any = None) -> Any:
    """What `Blocks.forward` gives for one query (B, H, 1, D), on arrays, without the cutting; writing needs no other.

    The query stands at the last key, so that a window is the last keys. The bias (..., 1, S), finite, broadcasts to (B,
    H, 1, S).
    """
    (B, H, _, D), K = q.shape, k.shape[1]
    if window is not None:
        k, v, bias = k[:, :, -window:], v[:, :, -window:], None if bias is None else bias[..., -window:]
    p = (q * scale).reshape(B, K, H // K, D) @ k.swapaxes(-1, -2)  # (B, K, G, S)
    if bias is not None:
        heads = p.reshape(B, H, 1, p.shape[3])  # the same memory
        heads += bias
    if has_kernels(p):
        total = kernels.exponentials(rows(p), kernels.Sight(1, p.shape[3], False, None))[1].reshape(B, K, H // K, 1)
    else:
        total = exponentiate(p, p.max(axis=-1, keepdims=True))  # (B, K, G, 1)
    y = p @ v  # (B, K, G, D)
    y /= total
    return y.reshape(B, H, 1, D)
