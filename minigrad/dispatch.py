"""NumPy's own functions on tensors: `np.exp(x)` is `exp(x)`, and `np.stack([x, y])` is `stack([x, y])`.

When an argument is a tensor, NumPy calls `array_ufunc` or `array_function` below in place of its own function (NEP 13
for ufuncs, NEP 18 for the others). Without them, NumPy would convert the tensor to an array, and the gradient would be
lost silently. What is done depends on the function:

    minigrad has it too                         minigrad computes and records it
    no tensor requires a gradient               NumPy computes it on the arrays of the tensors
    its result holds no floating-point numbers  the same: np.shape and np.allclose, for instance, have no gradient
    any other                                   raises TypeError

`np.asarray(x)` returns the array of the tensor, as `x.numpy()` does.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minigrad import ops
from minigrad.ops.arguments import Axes
from minigrad.tensor import Tensor, as_tensor

# --- functions under another name or with other arguments -------------------------------------------------------------


def _dot(x: Any, y: Any) -> Tensor:
    """np.dot, for a second input of at most two axes. For more axes, NumPy's definition is not that of `matmul`."""
    x_ndim, y_ndim = as_tensor(x).ndim, as_tensor(y).ndim
    if not x_ndim or not y_ndim:
        return ops.mul(x, y)
    if y_ndim > 2:
        raise TypeError(f"np.dot of tensors needs a second input of at most 2 axes, not {y_ndim}; use matmul or einsum")
    return ops.matmul(x, y)


# NumPy has two names for each bound.
def _clip(x: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Tensor:
    return ops.clip(x, a_min if min is None else min, a_max if max is None else max)


def _where(condition: Any, *values: Any) -> Any:
    # With the condition alone, np.where returns the indices of the elements for which it holds.
    return ops.where(condition, *values) if values else np.where(as_tensor(condition).data)


# The third positional argument of NumPy's var, std and pad is not the third one of minigrad's.
def _var(x: Any, axis: Axes = None, *, ddof: float = 0, keepdims: bool = False) -> Tensor:
    return ops.var(x, axis, ddof, keepdims=keepdims)


def _std(x: Any, axis: Axes = None, *, ddof: float = 0, keepdims: bool = False) -> Tensor:
    return ops.std(x, axis, ddof, keepdims=keepdims)


def _pad(x: Any, pad_width: Any, mode: str = "constant", *, constant_values: Any = 0) -> Tensor:
    if mode != "constant":
        raise TypeError(f"np.pad of a tensor fills with constants only, not with mode={mode!r}")
    return ops.pad(x, pad_width, constant_values)


# fmt: off
HANDLED_FUNCTIONS: dict[Callable, Callable] = {
    np.subtract: ops.sub, np.multiply: ops.mul, np.divide: ops.div, np.negative: ops.neg, np.power: ops.pow,
    np.square: lambda x: ops.mul(x, x), np.amax: ops.max, np.amin: ops.min,
    np.ravel: lambda x: ops.reshape(x, -1), np.dot: _dot, np.where: _where, np.clip: _clip, np.var: _var,
    np.std: _std, np.pad: _pad,
    np.einsum: lambda subscripts, *operands, optimize=False: ops.einsum(subscripts, *operands),
}
# fmt: on
_BY_NAME = [name for name in ops.__all__ if isinstance(getattr(np, name, None), (np.ufunc, type(np.sum), type(np.dot)))]
for _name in _BY_NAME:
    HANDLED_FUNCTIONS.setdefault(getattr(np, _name), getattr(ops, _name))

# Their results have the shape and the dtype of the first argument, and do not depend on its values.
_LIKE_FUNCTIONS = {np.zeros_like, np.ones_like, np.empty_like, np.full_like}

# What the error message recommends in place of some functions that minigrad does not have.
INSTEAD = {
    "vstack": "concatenate or stack", "hstack": "concatenate or stack", "dstack": "concatenate or stack",
    "column_stack": "concatenate or stack", "array_split": "split with a list of indices", "repeat": "take",
    "tile": "broadcast_to or concatenate", "moveaxis": "transpose", "norm": "(x * x).sum().sqrt()",
    "inner": "einsum", "outer": "einsum", "tensordot": "einsum", "trace": "einsum", "diagonal": "einsum",
    "log2": "log(x) / math.log(2)", "log10": "log(x) / math.log(10)", "reciprocal": "1 / x",
    "sort": "take_along_axis with np.argsort(x.numpy())", "average": "mean",
}  # fmt: skip

# --- the two methods that NumPy calls ---------------------------------------------------------------------------------


def array_ufunc(self: Tensor, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
    """`ufunc(*inputs)`; NumPy calls it as well for `array + tensor`."""
    if options.get("out") is not None or method == "at":  # `array += tensor` calls this with out=array
        raise TypeError(f"np.{ufunc.__name__} cannot write a tensor into an array; use x.numpy() for the tensor")
    if method == "__call__" and ufunc in HANDLED_FUNCTIONS:
        return _call_minigrad(ufunc, inputs, options)
    return _call_numpy(ufunc, getattr(ufunc, method), inputs, options)


def array_function(self: Tensor, function: Callable, types: Any, args: tuple, options: dict[str, Any]) -> Any:
    """`function(*args, **options)`; NumPy calls it if a tensor is somewhere in the arguments."""
    if function in HANDLED_FUNCTIONS:
        return _call_minigrad(function, args, options)
    return _call_numpy(function, function, args, options)


def _call_minigrad(function: Callable, args: tuple, options: dict[str, Any]) -> Any:
    """The result of minigrad's function. Raises TypeError for an option that only NumPy's function has."""
    handler = HANDLED_FUNCTIONS[function]
    code = handler.__code__
    count, known = code.co_argcount, code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    given = {key: value for key, value in options.items() if value is not np._NoValue}
    # An option that only NumPy has may be None, such as out=None. For the others None is a value, such as axis=None.
    given = {key: value for key, value in given.items() if value is not None or key in known}
    if unknown := [key for key in given if key not in known]:
        raise TypeError(f"np.{function.__name__} of a tensor takes no {unknown[0]!r}, only {', '.join(known)}")
    takes_any_number = code.co_flags & inspect.CO_VARARGS
    if not takes_any_number and any(argument is not None for argument in args[count:]):
        raise TypeError(
            f"np.{function.__name__} of a tensor takes {', '.join(known[:count])} by position, and all other arguments "
            f"by name"
        )
    return handler(*(args if takes_any_number else args[:count]), **given)


def _call_numpy(function: Callable, call: Callable, args: tuple, options: dict[str, Any]) -> Any:
    """The result of NumPy. Raises TypeError if a gradient would be lost on the way."""
    result = call(*_arrays(args), **_arrays(options))
    inputs = (args[1:] if function in _LIKE_FUNCTIONS else args, options)
    if _requires_grad(inputs) and _has_floats(result):
        name = function.__name__
        instead = INSTEAD.get(name, "functions of minigrad")
        raise TypeError(
            f"np.{'linalg.' * hasattr(np.linalg, name)}{name} has no gradient, and a tensor that requires one was "
            f"given; use {instead} instead, or x.detach() to compute with a constant"
        )
    return result


def _arrays(x: Any) -> Any:
    """`x` with an array in place of each tensor, also inside lists, tuples and dicts."""
    if isinstance(x, Tensor):
        return x.data
    if type(x) is list or type(x) is tuple:
        return type(x)(map(_arrays, x))
    return {key: _arrays(value) for key, value in x.items()} if isinstance(x, dict) else x


def _leaves(x: Any) -> Iterator[Any]:
    """The items of nested lists, tuples and dicts; `x` itself if it is none of them."""
    if isinstance(x, (list, tuple)):
        for item in x:
            yield from _leaves(item)
    elif isinstance(x, dict):
        yield from _leaves(list(x.values()))
    else:
        yield x


def _requires_grad(x: Any) -> bool:
    return any(isinstance(item, Tensor) and item.requires_grad for item in _leaves(x))


def _has_floats(x: Any) -> bool:
    return any(isinstance(item, float) or getattr(item, "dtype", np.dtype(bool)).kind in "fc" for item in _leaves(x))
