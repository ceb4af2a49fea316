"""Examples for operations that rearrange elements: reshape, transpose, join, split, pad, flip."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minigrad import ops
from minigrad.gradcheck.choices import Choices, Example, call


def _reshape(c: Choices) -> Example:
    x = c.array()
    first = c.pick((1, *x.shape))
    return call(x, shape=(first, -1) if first and x.size and c.flag() else (x.size, 1, 1))


def _transpose(c: Choices) -> Example:
    x = c.array()
    return call(x, axes=None if c.flag() else tuple(int(k) for k in c.generator().permutation(x.ndim)))


def _swapaxes(c: Choices) -> Example:
    x = c.array(c.shape(1))
    return call(x, axis1=c.axis(x.ndim), axis2=c.axis(x.ndim))


def _expand_dims(c: Choices) -> Example:
    x = c.array()
    return call(x, axis=c.pick((c.axis(x.ndim + 1), (0, x.ndim + 1), (-1,))))


def _squeeze(c: Choices) -> Example:
    shape = c.shape(0, 2)
    k = c.integer(0, len(shape))
    return call(c.array((*shape[:k], 1, *shape[k:])), axis=c.pick((None, k, (k,), k - len(shape) - 1)))


def _broadcast_to(c: Choices) -> Example:
    shape = c.shape()
    return call(c.array(c.broadcastable(shape)), shape=shape)


def _concatenate(c: Choices) -> Example:
    shape = c.shape(1)
    axis = c.pick((c.axis(len(shape)), None))

    def array() -> np.ndarray:
        lengths = list(shape)
        lengths[axis or 0] = c.pick((2, 1, 3, 0))
        return c.array(tuple(lengths))

    return call(*[array() for _ in range(c.integer(1, 3))], axis=axis)


def _stack(c: Choices) -> Example:
    shape = c.shape()
    return call(*[c.array(shape) for _ in range(c.integer(1, 3))], axis=c.axis(len(shape) + 1))


def _split(c: Choices) -> Example:
    shape = c.shape(1)
    axis = c.axis(len(shape))
    n = shape[axis]
    return call(c.array(shape), indices_or_sections=c.pick((1, n or 1, (n // 2,), (0, 1), (1, n))), axis=axis)


def _pad(c: Choices) -> Example:
    x = c.array()
    widths = tuple((c.integer(0, 2), c.integer(0, 2)) for _ in range(x.ndim))
    return call(x, pad_width=c.pick((widths, 1)) if x.ndim else 1, constant_values=c.pick((0.0, 1.5)))


def _flip(c: Choices) -> Example:
    x = c.array()
    return call(x, axis=c.axes(x.ndim))


def _roll(c: Choices) -> Example:
    x = c.array()
    if x.ndim > 1 and c.flag():
        return call(x, shift=(c.integer(-4, 4), 1), axis=(0, -1))
    return call(x, shift=c.integer(-4, 4), axis=c.pick((None, c.axis(x.ndim))) if x.ndim else None)


def _triangle(c: Choices) -> Example:
    return call(c.array(c.shape(2)), k=c.integer(-2, 2))


SHAPES: dict[str, tuple[Callable, Callable[[Choices], Example]]] = {
    "reshape": (ops.reshape, _reshape),
    "transpose": (ops.transpose, _transpose),
    "swapaxes": (ops.swapaxes, _swapaxes),
    "expand_dims": (ops.expand_dims, _expand_dims),
    "squeeze": (ops.squeeze, _squeeze),
    "broadcast_to": (ops.broadcast_to, _broadcast_to),
    "concatenate": (lambda *xs, axis: ops.concatenate(xs, axis=axis), _concatenate),
    "stack": (lambda *xs, axis: ops.stack(xs, axis=axis), _stack),
    "split": (ops.split, _split),
    "pad": (ops.pad, _pad),
    "flip": (ops.flip, _flip),
    "roll": (ops.roll, _roll),
    "tril": (ops.tril, _triangle),
    "triu": (ops.triu, _triangle),
}
