"""`Parameter`, a tensor that is trained, and `Module`, an object that holds parameters and computes with them.

Assigning a parameter or a module to an attribute registers it; there is nothing to call. Names are the paths of the
attributes, `blocks.3.attention.query.weight`, in the order of `torch.nn`: a module's own parameters, then those of
each child. A parameter assigned in two places is tied: it is one object, listed once, under its first name.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from minigrad.backend import as_array, is_float, to_device
from minigrad.lazy import Gradient, store
from minigrad.modes import mode
from minigrad.nn.printing import summary_table, tree
from minigrad.nn.state import check_state
from minigrad.tensor import Tensor


class Parameter(Tensor):
    """A leaf tensor that requires a gradient and owns its array: `data` is copied, because training writes into it.

    `grad_buffer`: this parameter's slice of the flat gradient of an optimizer (optim/flat.py), or None. `backward()`
    writes the gradient there.
    """

    __slots__ = ("grad_buffer",)

    def __init__(self, data: Any, dtype: Any = None):
        super().__init__(data, requires_grad=True, dtype=dtype)
        self.data = self.data.copy()
        self.grad_buffer = None

    def accumulate(self, gradient: Gradient, *, in_place: bool = False) -> None:
        buffer = self.grad_buffer
        if buffer is None or isinstance(gradient, Tensor):
            super().accumulate(gradient, in_place=in_place)
        elif self.grad is None:
            store(gradient, buffer)
            self.grad = Tensor(buffer)
        else:  # the buffer belongs to the engine, so it is added to in place
            super().accumulate(gradient, in_place=in_place or self.grad.data is buffer)

    def convert(self, f: Callable) -> None:
        """Replace the array by `f(array)`, and the gradient with it; an optimizer built before does not follow, and
        will say so."""
        data = f(self.data)
        if data is not self.data:
            self.data, self.grad_buffer = data, None
            self.grad = None if self.grad is None else Tensor(f(self.grad.data))


class _Here(threading.local):
    def __init__(self) -> None:  # runs once in each thread
        self.names: list[str] = []
        self.entered = 0.0


_here = _Here()


def current_path() -> str:
    """The path of the module that is computing now in this thread, such as "blocks.3.mlp". Known only while
    `mode.op_hook` is set."""
    return ".".join(name for name in _here.names if name)


def module_entered() -> float:
    """When this thread last began to compute a module, by `time.perf_counter`. Known only while `mode.op_hook` is
    set.
    """
    return _here.entered


class Module:
    """Base of all layers and models. Subclasses assign parameters and modules in `__init__` and define `forward`.

    Arrays and tensors that are plain attributes (tables, masks) are no parameters: they are not in the state, but
    move and change dtype with the module.
    """

    training: bool = True
    _name: str = ""  # the attribute it was last assigned to, for `current_path`

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} defines no forward()")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if mode.op_hook is None:
            return self.forward(*args, **kwargs)
        _here.names.append(self._name)
        _here.entered = time.perf_counter()
        try:
            return self.forward(*args, **kwargs)
        finally:
            _here.names.pop()

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Module):
            value._rename(name)
        elif isinstance(value, (list, tuple)) and any(isinstance(item, (Module, Parameter)) for item in value):
            raise TypeError(
                f"{type(self).__name__}.{name} is a {type(value).__name__} of modules or parameters, "
                f"which would not be trained; use ModuleList, or an attribute for each"
            )
        object.__setattr__(self, name, value)

    def _rename(self, name: str) -> None:
        object.__setattr__(self, "_name", name)

    # --- what is inside -------------------------------------------------------------------------------------------

    def named_children(self) -> Iterator[tuple[str, Module]]:
        return ((name, value) for name, value in vars(self).items() if isinstance(value, Module))

    def _paths(self, path: str = "") -> Iterator[tuple[str, Module]]:
        """This module and all below it, by every path that leads to them."""
        yield path, self
        for name, child in self.named_children():
            yield from child._paths(f"{path}.{name}" if path else name)

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """(path, module) for this module (its path is "") and all below it, each once."""
        seen: set[int] = set()
        for path, module in self._paths():
            if id(module) not in seen:
                seen.add(id(module))
                yield path, module

    def named_parameters(self, tied: bool = False) -> Iterator[tuple[str, Parameter]]:
        """(name, parameter), each parameter once; with `tied`, a tied parameter by all its names."""
        seen: set[int] = set()
        for path, module in self._paths():
            for name, value in vars(module).items():
                if isinstance(value, Parameter) and (tied or id(value) not in seen):
                    seen.add(id(value))
                    yield f"{path}.{name}" if path else name, value

    def parameters(self) -> Iterator[Parameter]:
        return (p for _, p in self.named_parameters())

    def num_parameters(self) -> int:
        """How many numbers are trained; tied parameters count once."""
        return sum(p.size for p in self.parameters())

    def summary(self) -> str:
        """A table of the names, shapes, dtypes and sizes of all parameters, to be printed."""
        return summary_table(self)

    def extra_repr(self) -> str:
        """What `repr` shows in the parentheses: the arguments that shape this module."""
        return ""

    def __repr__(self) -> str:
        return tree(self)

    # --- state ----------------------------------------------------------------------------------------------------

    def state_dict(self, copy: bool = True) -> dict[str, np.ndarray]:
        """Name -> NumPy array of every parameter, tied ones once.

        With `copy=False` arrays on the CPU share memory with the parameters, and change as training goes on: enough
        to write a file.
        """
        return {name: p.numpy().copy() if copy else p.numpy() for name, p in self.named_parameters()}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> None:
        """Copy the arrays in `state` into the parameters of the same names, converting dtypes.

        A tied parameter may come under any of its names. Raises one ValueError that lists all missing, unexpected and
        misshapen names before anything has changed. Not `strict`: parameters without an array keep their values,
        unknown names are passed over.
        """
        parameters = dict(self.named_parameters(tied=True))
        if not strict:
            state = {name: value for name, value in state.items() if name in parameters}
        given = {id(p) for name, p in parameters.items() if name in state}
        required = [name for name, p in self.named_parameters() if id(p) not in given] if strict else ()
        check_state(type(self).__name__, {name: p.shape for name, p in parameters.items()}, required, state)
        first: dict[int, str] = {}
        for name in state:
            other = first.setdefault(id(parameters[name]), name)
            if other != name and not np.array_equal(as_array(state[other]), as_array(state[name])):
                raise ValueError(
                    f"{other} and {name} are tied, one parameter, but this state gives them different "
                    f"values; untie them in the model or leave one out"
                )
        for name in state:
            p = parameters[name]
            p.data[...] = to_device(as_array(state[name]), p.device)

    # --- what happens to all at once ------------------------------------------------------------------------------

    def train(self, training: bool = True) -> Module:
        """Switch this module and all below to training, where dropout drops; returns itself."""
        for _, module in self.named_modules():
            module.training = training
        return self

    def eval(self) -> Module:
        return self.train(False)

    def zero_grad(self) -> None:
        for p in self.parameters():
            p.zero_grad()

    def to(self, device: str) -> Module:
        """Move everything to "cpu", "cuda" or "cuda:N", in place; build optimizers afterwards. Returns itself."""
        return self._convert(lambda array: to_device(array, device))

    def astype(self, dtype: Any) -> Module:
        """Convert everything floating to `dtype`, in place; build optimizers afterwards. Returns itself."""
        return self._convert(lambda array: array.astype(dtype, copy=False) if is_float(array.dtype) else array)

    def _convert(self, f: Callable) -> Module:
        for p in self.parameters():
            p.convert(f)
        for _, module in self.named_modules():
            for name, value in vars(module).items():
                if isinstance(value, Tensor) and not isinstance(value, Parameter):
                    setattr(module, name, Tensor(f(value.data)))
                elif not isinstance(value, Tensor) and hasattr(value, "dtype") and hasattr(value, "ndim"):
                    setattr(module, name, f(value))
        return self
