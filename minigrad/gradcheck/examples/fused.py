"""Examples for the fused functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minigrad.fused.rope import rope_tables
from minigrad.gradcheck.choices import Choices, Example, call


def _linear(c: Choices) -> Example:
    x, outputs = c.array(c.shape(1)), c.pick((2, 1, 3))
    weight = c.array((outputs, x.shape[-1]))
    return call(x, weight, c.array((outputs,))) if c.flag() else call(x, weight)


def _linear_activation(c: Choices) -> Example:
    x, outputs = c.array(c.shape(1)), c.pick((2, 4))
    # Not relu, relu_squared and reglu: z may be near their kink at 0.
    activation = c.pick(("gelu", "gelu_tanh", "silu", "swiglu", "geglu", "geglu_tanh"))
    inputs = x, c.array((outputs, x.shape[-1])), c.array((outputs,))
    return call(*inputs[: c.pick((3, 2))], activation=activation)


def _norm(c: Choices, parameters: int) -> Example:
    width = c.pick((4, 2, 3, 5))
    x = c.distinct((*c.shape(0, 2), width))
    return call(x, *[c.array((width,)) for _ in range(c.integer(0, parameters))], eps=c.pick((1e-5, 1e-2)))


def _gelu(c: Choices) -> Example:
    return call(c.array(), approximate=c.pick(("none", "tanh")))


def _gated(c: Choices, array: Callable[[Choices, Any], Any] = Choices.array, **options: Any) -> Example:
    """The gate and the values that it multiplies, as two arrays or packed into one."""
    shape = c.shape(1)
    if c.flag():
        return call(array(c, shape), array(c, shape), **options)
    return call(array(c, (*shape[:-1], 2 * shape[-1])), **options)


def _embedding(c: Choices) -> Example:
    weight = c.array((c.pick((3, 1, 5)), c.pick((2, 1, 4))))
    return call(weight, ids=c.generator().integers(0, len(weight), c.shape()))


def _rope(c: Choices) -> Example:
    time, dim = c.pick((3, 1, 5)), c.pick((4, 2, 6))
    cos, sin = rope_tables(np.arange(time) + c.integer(0, 9), dim, dtype=np.float64)
    return call(c.array((*c.shape(0, 2), time, dim)), cos=cos, sin=sin, interleaved=c.flag())


def _key(c: Choices) -> tuple[int, int, int]:
    return c.integer(0, 99), c.integer(0, 99), c.integer(0, 9)


def _dropout(c: Choices) -> Example:
    return call(c.array(), p=c.pick((0.3, 0.0, 0.8)), key=_key(c))


def _attention(c: Choices) -> Example:
    """More queries than keys and fewer, groups of queries that share a key, and all combinations of the options."""
    B, K, G = c.pick((1, 2)), c.pick((1, 2)), c.pick((1, 2, 3))  # batch, heads of keys, queries for each key
    T, S, D = c.pick((3, 1, 2, 4)), c.pick((3, 1, 4, 5)), c.pick((2, 1, 4))  # queries, keys, size of a head
    q, k, v = c.array((B, K * G, T, D)), c.array((B, K, S, D)), c.array((B, K, S, D))
    options: dict[str, Any] = {"causal": c.flag(), "window": c.pick((None, None, 1, 2))}
    options |= {"scale": c.pick((None, None, 0.5)), "soft_cap": c.pick((None, None, 0.7))}
    scores = (B, K * G, T, S)
    if c.flag():
        options["mask"] = c.generator().random(c.broadcastable(scores)) < 0.7
    if c.integer(0, 3) == 3:
        options |= {"dropout": 0.3, "key": _key(c)}
    return call(q, k, v, c.array(c.broadcastable(scores)), **options) if c.flag() else call(q, k, v, **options)


def _loss_options(c: Choices, rows: tuple[int, ...], classes: int) -> dict[str, Any]:
    targets = np.asarray(c.generator().integers(0, classes, rows))
    if targets.size and c.flag():
        targets.flat[0] = -100  # ignored
    return {
        "targets": targets,
        "label_smoothing": c.pick((0.0, 0.1)),
        "z_loss": c.pick((0.0, 0.01)),
        "reduction": c.pick(("mean", "sum", "none")),
    }


def _cross_entropy(c: Choices) -> Example:
    logits = c.array((*c.shape(0, 2), c.pick((3, 1, 5))))
    return call(logits, **_loss_options(c, logits.shape[:-1], logits.shape[-1]))


def _linear_cross_entropy(c: Choices) -> Example:
    rows, width, classes = c.shape(0, 2), c.pick((2, 1, 3)), c.pick((3, 1, 5))
    inputs = c.array((*rows, width)), c.array((classes, width)), c.array((classes,))
    return call(*inputs[: c.pick((2, 3))], soft_cap=c.pick((None, 2.0)), **_loss_options(c, rows, classes))


# Adapters, for a function and its reference: differentiated inputs first, all others by name.


def _as_is(f: Callable) -> Callable:
    return f


def _weight_first(f: Callable) -> Callable:
    return lambda weight, ids: f(ids, weight)


def _bias_last(f: Callable) -> Callable:
    return lambda q, k, v, bias=None, **options: f(q, k, v, bias=bias, **options)


def _loss(f: Callable) -> Callable:
    return lambda x, weight, bias=None, *, targets, **options: f(x, weight, targets, bias, **options)


# name: (the adapter of the function and its reference, the function that makes an example)
FUSED: dict[str, tuple[Callable[[Callable], Callable], Callable[[Choices], Example]]] = {
    "linear": (_as_is, _linear),
    "linear_activation": (_as_is, _linear_activation),
    "layer_norm": (_as_is, lambda c: _norm(c, parameters=2)),
    "rms_norm": (_as_is, lambda c: _norm(c, parameters=1)),
    "gelu": (_as_is, _gelu),
    "silu": (_as_is, lambda c: call(c.array())),
    "swiglu": (_as_is, _gated),
    "geglu": (_as_is, lambda c: _gated(c, approximate=c.pick(("none", "tanh")))),
    "reglu": (_as_is, lambda c: _gated(c, Choices.nonzero)),
    "relu_squared": (_as_is, lambda c: call(c.nonzero())),
    "embedding": (_weight_first, _embedding),
    "rope": (_as_is, _rope),
    "dropout": (_as_is, _dropout),
    "attention": (_bias_last, _attention),
    "cross_entropy": (_as_is, _cross_entropy),
    "linear_cross_entropy": (_loss, _linear_cross_entropy),
}
