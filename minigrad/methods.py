"""Attaches operators and methods to Tensor: `x + y`, `x[i]`, `x.sum()`, `x.backward()`.

They are the functions of ops/, backward.py and dispatch.py, with the tensor as first input: `x.sum(axis=0)` is
`sum(x, axis=0)`. tensor.py cannot import these functions, because they import tensor.py. `import minigrad` imports this
file, and so attaches them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minigrad import ops
from minigrad.backward import backward
from minigrad.dispatch import array_function, array_ufunc
from minigrad.tensor import Tensor


def comparison(op: Callable[[Any, Any], Tensor]) -> Callable[[Tensor, Any], Any]:
    """`op` for == and !=. A tensor never equals None or a string: `x == None` is False, and `x != "a"` is True."""
    return lambda x, y: NotImplemented if y is None or isinstance(y, (str, bytes)) else op(x, y)


def reflected(op: Callable[[Any, Any], Tensor]) -> Callable[[Tensor, Any], Tensor]:
    """`op` with its inputs swapped, for `2 - x`."""
    return lambda x, y: op(y, x)


def reshape(x: Tensor, *shape: Any) -> Tensor:
    """`x.reshape(2, -1)` or `x.reshape((2, -1))`."""
    return ops.reshape(x, shape[0] if len(shape) == 1 else shape)


def transpose(x: Tensor, *axes: Any) -> Tensor:
    """`x.transpose()`, `x.transpose(1, 0)` or `x.transpose((1, 0))`."""
    return ops.transpose(x, axes[0] if len(axes) == 1 else axes or None)


# fmt: off
# The attributes whose names are not those of the functions.
OPERATORS: dict[str, Any] = {
    "__add__": ops.add,           "__radd__": reflected(ops.add),
    "__sub__": ops.sub,           "__rsub__": reflected(ops.sub),
    "__mul__": ops.mul,           "__rmul__": reflected(ops.mul),
    "__truediv__": ops.div,       "__rtruediv__": reflected(ops.div),
    "__pow__": ops.pow,           "__rpow__": reflected(ops.pow),
    "__matmul__": ops.matmul,     "__rmatmul__": reflected(ops.matmul),
    "__neg__": ops.neg,           "__abs__": ops.abs,
    "__lt__": ops.less,           "__le__": ops.less_equal,
    "__gt__": ops.greater,        "__ge__": ops.greater_equal,
    "__eq__": comparison(ops.equal), "__ne__": comparison(ops.not_equal),
    "__getitem__": ops.getitem,
    "reshape": reshape,           "transpose": transpose,
    "T": property(ops.transpose), "backward":  backward,
    "__array_ufunc__": array_ufunc, "__array_function__": array_function,
}
# The functions that become methods of the same name.
METHODS = [
    ops.abs, ops.exp, ops.expm1, ops.log, ops.log1p, ops.sqrt, ops.rsqrt, ops.sin, ops.cos, ops.tanh, ops.sigmoid,
    ops.erf, ops.relu, ops.logaddexp, ops.clip, ops.astype, ops.isnan, ops.isfinite,
    ops.sum, ops.mean, ops.max, ops.min, ops.prod, ops.var, ops.std, ops.cumsum, ops.argmax, ops.argmin,
    ops.logsumexp, ops.softmax, ops.log_softmax,
    ops.swapaxes, ops.expand_dims, ops.squeeze, ops.broadcast_to, ops.split, ops.flip, ops.roll, ops.tril, ops.triu,
    ops.take, ops.take_along_axis,
]
# fmt: on

for _name, _function in OPERATORS.items():
    setattr(Tensor, _name, _function)
for _function in METHODS:
    setattr(Tensor, _function.__name__, _function)
