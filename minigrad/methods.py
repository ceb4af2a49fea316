"""Attaches operators and methods to Tensor: `x + y`, `x[i]`, `x.sum()`.

They are the functions of ops/ with the tensor as first input. tensor.py cannot name them, because the ops are built on it;
importing this file (as `import minigrad` does) puts them in place.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minigrad import ops
from minigrad.tensor import Tensor


def reflected(op: Callable[[Any, Any], Tensor]) -> Callable[[Tensor, Any], Tensor]:
    """`op` with its inputs swapped, for `2 - x`."""
    return lambda x, y: op(y, x)


def reshape(x: Tensor, *shape: Any) -> Tensor:
    """`x.reshape(2, -1)` or `x.reshape((2, -1))`."""
    return ops.reshape(x, shape[0] if len(shape) == 1 else shape)


def transpose(x: Tensor, *axes: Any) -> Tensor:
    """`x.transpose()`, `x.transpose(1, 0)` or `x.transpose((1, 0))`."""
    return ops.transpose(x, axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes or None)


OPERATORS: dict[str, Callable] = {
    "__add__": ops.add,           "__radd__": reflected(ops.add),
    "__sub__": ops.sub,           "__rsub__": reflected(ops.sub),
    "__mul__": ops.mul,           "__rmul__": reflected(ops.mul),
    "__truediv__": ops.div,       "__rtruediv__": reflected(ops.div),
    "__pow__": ops.pow,           "__rpow__": reflected(ops.pow),
    "__matmul__": ops.matmul,     "__rmatmul__": reflected(ops.matmul),
    "__neg__": ops.neg,           "__abs__": ops.abs,
    "__lt__": ops.less,           "__le__": ops.less_equal,
    "__gt__": ops.greater,        "__ge__": ops.greater_equal,
    "__eq__": ops.equal,          "__ne__": ops.not_equal,
    "__getitem__": ops.getitem,
    "reshape": reshape, "transpose": transpose, "T": property(ops.transpose),
}
METHODS = """
    abs exp expm1 log log1p sqrt rsqrt sin cos tanh sigmoid erf relu clip astype isnan isfinite
    sum mean max min prod var std logsumexp softmax log_softmax cumsum argmax argmin
    swapaxes expand_dims squeeze broadcast_to split flip roll tril triu take take_along_axis
""".split()

for _name in METHODS:
    setattr(Tensor, _name, getattr(ops, _name))
for _name, _function in OPERATORS.items():
    setattr(Tensor, _name, _function)
