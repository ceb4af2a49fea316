"""Scaled dot-product attention, one block of queries after another, with only the keys that they can see.

For queries Q, keys K, values V, with X = scale Q Kᵀ and scores S = X + bias, where S = -inf for hidden pairs:

    P = softmax(S)        O = P V        lse = log sum exp S, one number for each query
    dV = Pᵀ dO            dS = P * (dO Vᵀ - rowsum(dO * O))          dQ = scale dX K          dK = scale dXᵀ Q

Here dX = dS. With a soft cap (Gemma 2, arXiv 2408.00118) the scores are S = cap tanh(X / cap) + bias, and
dX = dS * (1 - tanh²(X / cap)).

The weights P (T, S) never exist all at once. As in FlashAttention (Dao et al. 2022, arXiv 2205.14135), the backward
pass computes each block of them again from Q, K and lse. If the text is short compared with the head dimension, the
weights are few, and they are saved instead. Grouped queries: Ainslie et al. 2023 (arXiv 2305.13245).

Shapes: B batch, H query heads, K key-value heads, G = H / K query heads for each key head, T queries, S keys, D head
dimension. This file has the definition, and `attention` itself with its options and checks. The forward and backward
passes are in attention_blocks.py, attention_gpu.py and attention_flash.py.
"""

from __future__ import annotations

import math
from typing import Any

from minigrad.backend import Array, array_module, at_least_float32
from minigrad.cuda import rows as kernels
from minigrad.cuda.compiler import has_real_kernels
from minigrad.fused.attention_blocks import BlockedAttention, exp_in_place
from minigrad.fused.attention_flash import FlashAttention, is_flash
from minigrad.fused.attention_gpu import WholeAttention
from minigrad.fused.attention_scores import AttentionInputs, AttentionOptions, block_of, is_blockwise, visible_pairs
from minigrad.fused.curves import check_soft_cap, soft_cap_in_place
from minigrad.fused.dropout import keep_mask, keep_scale
from minigrad.fused.record import Needs, record_fused
from minigrad.fused.rows import as_rows
from minigrad.modes import mode
from minigrad.ops import broadcast_to, softmax, tanh, where
from minigrad.ops.arguments import as_number
from minigrad.random import Key, next_key
from minigrad.tensor import Tensor, as_tensor


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
    soft_cap: float | None = None,
    dropout: float = 0.0,
    key: Key | None = None,
) -> Tensor:
    """The definition of `attention`, with all weights at once."""
    dtype = as_tensor(q).dtype
    q, k, v = (at_least_float32(as_tensor(t)) for t in (q, k, v))
    (B, H, T, D), (K, S), xp = q.shape, k.shape[1:3], array_module(q.data)
    # Each key head is repeated for the G query heads that share it.
    k, v = (broadcast_to(x.expand_dims(2), (B, K, H // K, S, D)).reshape(B, H, S, D) for x in (k, v))
    scores = q @ k.swapaxes(-1, -2) * (1 / math.sqrt(D) if scale is None else scale)  # (B, H, T, S)
    scores = scores if soft_cap is None else soft_cap * tanh(scores / soft_cap)
    scores = scores if bias is None else scores + (block_of(bias) if is_blockwise(bias) else bias)
    visible = visible_pairs(xp, slice(0, T), slice(0, S), S - T, causal=causal, window=window)  # (T, S)
    if mask is not None:
        visible = visible & block_of(mask if is_blockwise(mask) else as_tensor(mask).data)
    visible = broadcast_to(Tensor(visible), scores.shape)
    # exp(-inf) = 0, so hidden pairs get the weight 0. For a query that sees nothing, all weights are 0.
    weights = softmax(where(visible, scores, -math.inf), axis=-1)
    if dropout:
        keep = keep_mask(next_key() if key is None else key, weights.shape, dropout, xp)
        weights = weights * Tensor(keep.astype(weights.dtype) * keep_scale(dropout))
    return (weights @ v).astype(dtype)  # (B, H, T, D)


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
    soft_cap: float | None = None,
    dropout: float = 0.0,
    key: Key | None = None,
) -> Tensor:
    """softmax(scale q kᵀ + bias) v: q (B, H, T, D), k and v (B, K, S, D), where K divides H; returns (B, H, T, D).

    Query i is at the position of key S - T + i, so the last query is at the last key. `causal`: it sees the keys up to
    that position. `window`: it sees only the keys whose distance from that position is less than `window`. `mask`:
    boolean, True where a key is visible. `bias`: added to the scores. Mask and bias broadcast to (B, H, T, S), or are
    `Blockwise` (attention_scores.py), and are then never in memory as a whole. `scale`: 1/sqrt(D) by default.
    `soft_cap`: scale q kᵀ becomes cap * tanh(scale q kᵀ / cap) before the bias is added (Gemma 2, arXiv 2408.00118; it
    has no bias). `dropout`: the probability that a weight is dropped; `key` decides which ones (see dropout.py). A
    query that sees nothing gives 0.
    """
    q, k, v = as_tensor(q), as_tensor(k), as_tensor(v)
    _check(q, k, v, window)
    # Both passes, and the reference, must drop the same weights. So the key is drawn here, once.
    key = next_key() if dropout and key is None else key
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else as_number(scale, "scale")  # a NumPy scalar would promote
    options = AttentionOptions(causal, window, scale, dropout, key, check_soft_cap(soft_cap))
    # When a model generates text, each layer calls this for every token with a single query: a shorter path.
    if q.shape[2] == 1 and bias is None and mask is None and not (dropout or mode.recording or mode.op_hook):
        return _attention_of_one_query(q, k, v, options)
    # A bias that is an array may need a gradient.
    inputs: tuple[Tensor, ...] = (q, k, v) if bias is None or is_blockwise(bias) else (q, k, v, as_tensor(bias))
    passes = _passes(inputs, bias, mask, options)
    out, saved = passes.forward(save_for_backward=mode.recording and any(x.requires_grad for x in inputs))

    def vjp(g: Array, needs: Needs) -> tuple:
        # `needs` has a fourth element only if the bias is an input.
        gradients = passes.backward(
            g if g.dtype == out.dtype else at_least_float32(g), out, saved, needs_bias_grad=any(needs[3:])
        )
        return gradients[: len(needs)]

    def reference(q: Tensor, k: Tensor, v: Tensor, bias: Any = bias) -> Tensor:
        return attention_reference(q, k, v, bias=bias, mask=mask, **options._asdict())

    return record_fused(out.astype(q.dtype, copy=False), inputs, vjp, reference)


def _passes(
    inputs: tuple[Tensor, ...], bias: Any, mask: Any, options: AttentionOptions
) -> FlashAttention | WholeAttention | BlockedAttention:
    """Both passes on the arrays of the inputs; a bias that is an input is the fourth of them."""
    q, k, v = (t.data for t in inputs[:3])
    if is_flash(q, k, v, bias, mask, options):
        return FlashAttention(q, k, v, options.scale)
    # float16 is computed in float32, where sums and exponentials have room.
    q, k, v = (at_least_float32(x) for x in (q, k, v))
    bias = inputs[3].data if inputs[3:] else bias
    mask = mask if mask is None or is_blockwise(mask) else as_tensor(mask).data
    arrays = AttentionInputs(q, k, v, bias, mask, options)
    return WholeAttention(arrays) if has_real_kernels(q) else BlockedAttention(arrays)


def _attention_of_one_query(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions) -> Tensor:
    """`attention` for T = 1, without bias, mask and dropout, and without a record."""
    q_array, k_array, v_array = (at_least_float32(t.data) for t in (q, k, v))
    out = single_query_attention(q_array, k_array, v_array, options.scale, options.window, soft_cap=options.soft_cap)
    return Tensor(out.astype(q.dtype, copy=False))


def single_query_attention(
    q: Array,
    k: Array,
    v: Array,
    scale: float,
    window: int | None = None,
    bias: Array | None = None,
    soft_cap: float | None = None,
) -> Array:
    """`attention` of one query (B, H, 1, D) at the position of the last key, on arrays: (B, H, 1, D).

    `bias`: finite, broadcasts to (B, H, 1, S).
    """
    (B, H, _, D), K = q.shape, k.shape[1]
    if window is not None:  # the query is at the last key, so the window is the last keys
        k, v, bias = k[:, :, -window:], v[:, :, -window:], None if bias is None else bias[..., -window:]
    p = (q * scale).reshape(B, K, H // K, D) @ k.swapaxes(-1, -2)  # (B, K, G, S)
    S = p.shape[3]
    if soft_cap is not None:
        soft_cap_in_place(p, soft_cap)
    if bias is not None:
        by_head = p.reshape(B, H, 1, S)  # a view: adding to it adds to p
        by_head += bias
    if has_real_kernels(p):
        # The kernel needs to know which keys are hidden: here none, the query sees all S keys.
        all_keys = kernels.CausalWindow(queries=1, offset=S, causal=False, window=None)
        total = kernels.softmax_numerators(as_rows(p), all_keys)[1].reshape(B, K, H // K, 1)
    else:
        total = exp_in_place(p, p.max(axis=-1, keepdims=True))  # (B, K, G, 1)
    y = p @ v  # (B, K, G, D)
    y /= total  # softmax is p / total; y has fewer numbers than p to divide
    return y.reshape(B, H, 1, D)


def _check(q: Tensor, k: Tensor, v: Tensor, window: int | None) -> None:
    """Raise ValueError if the shapes do not fit together, or the window is empty."""
    shapes = f"q {q.shape}, k {k.shape}, v {v.shape}"
    if not q.ndim == k.ndim == v.ndim == 4 or k.shape[:3] != v.shape[:3]:
        raise ValueError(f"attention takes q (B, H, T, D), k (B, K, S, D) and v (B, K, S, D); got {shapes}")
    (B, H, _, D), K = q.shape, k.shape[1]
    if k.shape[0] != B or not D == k.shape[3] == v.shape[3] or K == 0 or H % K:
        raise ValueError(
            f"attention needs equal B and D, and a number of query heads that is a multiple of the key heads; "
            f"got {shapes}"
        )
    if window is not None and window < 1:
        raise ValueError(f"window is the number of keys that a query sees, itself included: at least 1, got {window}")
