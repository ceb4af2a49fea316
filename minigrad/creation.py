"""Functions that make tensors: `zeros`, `ones`, `full` and `tensor`, with the arguments of `torch`.

    zeros(2, 3)                     or zeros((2, 3)); float32 unless `dtype` says otherwise
    zeros_like(x)                   the shape, the dtype and the device of x
    tensor([1.0, 2.0])              a copy of the data; `Tensor(array)` shares the memory of the array

The name `minigrad.tensor` belongs to the module tensor.py already. So the function `tensor` does not replace it, but
makes that module callable: `minigrad.tensor([1.0])`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np

from minigrad.backend import DEFAULT_FLOAT, array_module, to_device
from minigrad.ops.arguments import as_ints, refuse_variable
from minigrad.tensor import Tensor, as_tensor

__all__ = ["zeros", "ones", "full", "zeros_like", "ones_like"]


def zeros(*shape: Any, dtype: Any = DEFAULT_FLOAT, device: str = "cpu", requires_grad: bool = False) -> Tensor:
    """A tensor of zeros: `zeros(2, 3)` or `zeros((2, 3))`."""
    return full(_shape(shape), 0, dtype=dtype, device=device, requires_grad=requires_grad)


def ones(*shape: Any, dtype: Any = DEFAULT_FLOAT, device: str = "cpu", requires_grad: bool = False) -> Tensor:
    """A tensor of ones: `ones(2, 3)` or `ones((2, 3))`."""
    return full(_shape(shape), 1, dtype=dtype, device=device, requires_grad=requires_grad)


def full(
    shape: Any, fill_value: float, *, dtype: Any = DEFAULT_FLOAT, device: str = "cpu", requires_grad: bool = False
) -> Tensor:
    """A tensor in which all elements are `fill_value`, a constant. (`broadcast_to` repeats a variable.)"""
    refuse_variable(fill_value, "fill_value")
    shape, value = as_ints(shape, "shape"), Tensor(fill_value, dtype=dtype).data
    if any(n < 0 for n in (shape if isinstance(shape, tuple) else (shape,))):
        raise ValueError(f"a shape has no negative lengths, but this one is {shape}")
    return Tensor(to_device(np.full(shape, value, value.dtype), device), requires_grad)


def zeros_like(x: Any, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros with the shape, the dtype and the device of `x`."""
    return _filled_like(x, 0, dtype, requires_grad)


def ones_like(x: Any, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones with the shape, the dtype and the device of `x`."""
    return _filled_like(x, 1, dtype, requires_grad)


def tensor(data: Any, *, dtype: Any = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """A tensor with a copy of `data`: a number, a nested list, an array or a tensor. It has no history."""
    copy = Tensor(data, dtype=dtype).data.copy()
    return Tensor(copy if device is None else to_device(copy, device), requires_grad=requires_grad)


def _shape(shape: tuple) -> Any:
    return shape[0] if len(shape) == 1 else shape


def _filled_like(x: Any, value: float, dtype: Any, requires_grad: bool) -> Tensor:
    a = as_tensor(x).data
    return Tensor(array_module(a).full(a.shape, value, a.dtype), requires_grad, dtype)


class _CallableModule(ModuleType):
    """A module that can be called: the call is one of the function `tensor`."""

    __call__ = staticmethod(tensor)


sys.modules[Tensor.__module__].__class__ = _CallableModule
