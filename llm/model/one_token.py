"""The blocks of a GPT for one new token in each text, on plain arrays: the fast rung of writing.

What a block does to one token is little arithmetic, and Tensors, records, checks and masks around it would take most of
the time. Here are the same functions of minigrad/fused on arrays, in the order of Block, Attention and MLP (model.py,
attention.py, mlp.py), which stay the definition. Arrays of parameters are looked up in each call, so that new weights
count at once. Letters: llm/model/config.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from llm.model.attention import Attention
from llm.model.kv_cache import KVCache
from llm.model.masks import Sight
from llm.model.mlp import MLP
from minigrad.backend import device_of
from minigrad.fused.activation import activate
from minigrad.fused.attention import single_query_attention
from minigrad.fused.linear import matvec_as_complex
from minigrad.fused.norm import normalize
from minigrad.fused.rope import rotate
from minigrad.modes import mode
from minigrad.nn import LayerNorm, Linear, RMSNorm

Keep = Callable[[Any, Any], tuple[Any, Any]]


def is_one_token(x: Any, sight: Sight) -> bool:
    """Whether this rung can take x (B, T, C): one token a row, rows that simply count on, on the CPU, and no op that
    anybody looks at.
    """
    return (
        x.shape[1] == 1
        and sight.mask is None
        and not mode.recording
        and mode.op_hook is None
        and x.dtype.itemsize >= 4
        and device_of(x) == "cpu"
    )


def through_blocks(blocks: Iterable[Any], x: Any, sight: Sight, cache: KVCache | None) -> Any:
    """What comes out of the last block, (B, C), for one token a row, x (B, C); its keys and values are appended to the
    cache.
    """
    for layer, block in enumerate(blocks):
        keep = None if cache is None else partial(cache.append, layer)
        if block.post:
            x = norm(block.norm1, x + attend(block.attention, x, sight, keep))
            x = norm(block.norm2, x + widen(block.mlp, x))
        else:
            x = x + attend(block.attention, norm(block.norm1, x), sight, keep)
            x += widen(block.mlp, norm(block.norm2, x))
    return x


def attend(attention: Attention, x: Any, sight: Sight, keep: Keep | None) -> Any:
    """(B, C) -> (B, C)"""
    config, B = attention.config, len(x)
    H, K, D = config.heads, config.key_heads, config.head_size
    qkv = affine(attention.qkv, x).reshape(B, H + 2 * K, 1, D)
    q, k, v = qkv[:, :H], qkv[:, H : H + K], qkv[:, H + K :]  # (B, H, 1, D), (B, K, 1, D), (B, K, 1, D)
    if config.qk_norm:
        q, k = norm(attention.query_norm, q), norm(attention.key_norm, k)
    if sight.rotation is not None:
        q, k = (rotate(x, *sight.rotation, interleaved=config.rope_interleaved) for x in (q, k))
    if keep is not None:
        k, v = keep(k, v)  # (B, K, S, D), (B, K, S, D)
    y = single_query_attention(q, k, v, 1 / math.sqrt(D), sight.window, sight.bias)  # (B, H, 1, D)
    return affine(attention.out, y.reshape(B, H * D))


def widen(mlp: MLP, x: Any) -> Any:
    """(B, C) -> (B, C)"""
    return affine(mlp.down, activate(affine(mlp.up, x), mlp.activation))


def affine(layer: Linear, x: Any) -> Any:
    """(B, in) -> (B, out), an array of its own."""
    y = matvec_as_complex(x, layer.weight.data)
    if layer.bias is not None:
        y += layer.bias.data
    return y


def norm(layer: LayerNorm | RMSNorm, x: Any) -> Any:
    """(..., C) -> (..., C)"""
    bias = layer.bias.data if isinstance(layer, LayerNorm) and layer.bias is not None else None
    return normalize(x, layer.weight.data, bias, layer.eps, centred=isinstance(layer, LayerNorm))[0]
