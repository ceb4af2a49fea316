"""`Parameter`, a tensor that is trained, and `Module`, an object that holds parameters and computes with them.

    class Net(Module):
        def __init__(self):
            self.hidden = Linear(2, 8)          # an assignment is enough to register a layer
            self.out = Linear(8, 1)

        def forward(self, x):                   # (..., 2) -> (..., 1)
            return self.out(self.hidden(x).tanh())

    [name for name, _ in Net().named_parameters()]
    # ["hidden.weight", "hidden.bias", "out.weight", "out.bias"]

A name is the path of attributes that leads to the parameter. Names come in the order of `torch.nn`: a module's own
parameters first, then those of each child. A parameter that is assigned in two places is tied: it is one object, is
trained once and listed once, under its first name.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Set, ValuesView
from typing import Any

import numpy as np

from minigrad.backend import Array, as_array, is_float, to_device
from minigrad.lazy import Gradient, store
from minigrad.modes import mode
from minigrad.nn.printing import summary_table, tree
from minigrad.nn.running import begin_module, end_module
from minigrad.nn.state import check_state
from minigrad.tensor import Tensor

Conversion = Callable[[Array], Array]  # the same numbers in another dtype or on another device


class Parameter(Tensor):
    """A leaf tensor that requires a gradient and owns its array: `data` is copied, because training writes into it.

    `grad_buffer`: this parameter's slice of the flat gradient of an optimizer (optim/flat.py), or None. `backward()`
    writes the gradient there. `half`: a copy in a half type, for products (minigrad/precision.py), or None;
    `keeps_half`: whether the first product leaves one, which stays.
    """

    __slots__ = ("grad_buffer", "half", "keeps_half")

    def __init__(self, data: Any, dtype: Any = None):
        super().__init__(data, requires_grad=True, dtype=dtype)
        self.data = self.data.copy()  # the caller's array must not change with training
        self.grad_buffer: Array | None = None
        self.half: Array | None = None
        self.keeps_half = False

    def accumulate(self, gradient: Gradient, *, in_place: bool = False) -> None:
        """Add `gradient` to `.grad`, as for any tensor, but keep the sum in the buffer if there is one."""
        buffer = self.grad_buffer
        if buffer is None or isinstance(gradient, Tensor):
            super().accumulate(gradient, in_place=in_place)
        elif self.grad is None:
            # Written where the optimizer wants it. A LazyGradient computes its matrix product right there.
            store(gradient, buffer)
            self.grad = Tensor(buffer)
        else:  # if `.grad` is the buffer, the sum must stay there
            super().accumulate(gradient, in_place=in_place or self.grad.data is buffer)

    def convert(self, conversion: Conversion) -> None:
        """Replace the array by `conversion(array)`, and the gradient likewise."""
        data = conversion(self.data)
        if data is not self.data:
            # The parameter no longer shares memory with an optimizer that was built before. Its next step notices that
            # and raises an error.
            self.data, self.grad_buffer, self.half = data, None, None
            self.grad = None if self.grad is None else Tensor(conversion(self.grad.data))


class Module:
    """The base of all layers and models. Subclasses assign parameters and modules in `__init__` and define `forward`.

    Arrays and tensors that are plain attributes (tables, masks) are not parameters: they are not trained and not saved,
    but move and change dtype with the module.
    """

    # Defaults in the class, so that subclasses need not call super().__init__().
    training: bool = True
    _name: str = ""  # the name of the attribute to which the module was assigned last, for `current_path`

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The computation. Subclasses define it; `module(x)` calls it."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward()")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if mode.op_hook is None:  # nothing observes the operations, so no path is needed (running.py)
            return self.forward(*args, **kwargs)
        begin_module(self._name)
        try:
            return self.forward(*args, **kwargs)
        finally:
            end_module()

    def __setattr__(self, name: str, value: Any) -> None:
        # Unlike torch, a module has no separate lists of its parameters and modules: `named_children` and
        # `named_parameters` go through the attributes. So attributes can be reassigned and deleted as in any object.
        if isinstance(value, Module):
            value._set_name(name)
        else:
            self._refuse_container(name, value)
        object.__setattr__(self, name, value)

    def _refuse_container(self, name: str, value: Any) -> None:
        """Raise TypeError if an attribute holds modules or parameters where they would not be found and trained."""
        if isinstance(value, CONTAINERS) and _holds_parameters(value):
            raise TypeError(
                f"{type(self).__name__}.{name} is a {type(value).__name__} of modules or parameters, "
                f"which would not be trained; use ModuleList, or an attribute for each"
            )

    def _set_name(self, name: str) -> None:
        object.__setattr__(self, "_name", name)  # not through __setattr__ above, which is slower

    # --- what the module contains -------------------------------------------------------------------------------------

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(name, module) for each attribute that is a module."""
        return ((name, value) for name, value in vars(self).items() if isinstance(value, Module))

    def _paths(self, path: str = "") -> Iterator[tuple[str, Module]]:
        """(path, module) for this module and all below it, by every path that leads to them."""
        # In depth-first order: this module, its first child with all below it, its second child, ...
        yield path, self
        for name, child in self.named_children():
            yield from child._paths(f"{path}.{name}" if path else name)

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """(path, module) for this module, whose path is "", and all below it, each once."""
        # A module that is assigned in two places has two paths. The set holds ids, because a module may be unhashable.
        seen: set[int] = set()
        for path, module in self._paths():
            if id(module) not in seen:
                seen.add(id(module))
                yield path, module

    def named_parameters(self, *, tied: bool = False) -> Iterator[tuple[str, Parameter]]:
        """(name, parameter), each parameter once. With `tied`, a tied parameter comes under all its names."""
        # Depth first, and within a module in the order in which its attributes were assigned: the order of torch.
        seen: set[int] = set()
        for path, module in self._paths():
            for name, value in vars(module).items():
                if isinstance(value, Parameter) and (tied or id(value) not in seen):
                    seen.add(id(value))
                    yield f"{path}.{name}" if path else name, value
                module._refuse_container(name, value)  # again, because a list can be filled after its assignment

    def parameters(self) -> Iterator[Parameter]:
        """All parameters, each once."""
        return (p for _, p in self.named_parameters())

    def named_trainable(self) -> Iterator[tuple[str, Parameter]]:
        """(name, parameter) of those that are not frozen: what an optimizer is given."""
        return ((name, p) for name, p in self.named_parameters() if p.requires_grad)

    def requires_grad_(self, requires_grad: bool = True) -> Module:
        """Let all parameters be trained, or with False freeze them: they get no gradient. Returns itself."""
        for p in self.parameters():
            p.requires_grad = requires_grad
        return self

    def num_parameters(self) -> int:
        """How many numbers the parameters have; tied parameters count once."""
        return sum(p.size for p in self.parameters())

    def summary(self) -> str:
        """A table of the names, shapes, dtypes and sizes of all parameters, for printing."""
        return summary_table(self)

    def extra_repr(self) -> str:
        """What `repr` shows between the parentheses, such as the sizes of a layer."""
        return ""

    def __repr__(self) -> str:
        return tree(self)

    # --- saving and loading -------------------------------------------------------------------------------------------

    def state_dict(self, *, copy: bool = True) -> dict[str, np.ndarray]:
        """Name -> NumPy array of every parameter, tied ones once.

        With `copy=False`, arrays on the CPU share memory with the parameters and change when training continues. That
        is enough if they are written to a file before training continues.
        """
        return {name: p.numpy().copy() if copy else p.numpy() for name, p in self.named_parameters()}

    def load_state_dict(self, state: Mapping[str, Any], *, strict: bool = True) -> None:
        """Copy the arrays in `state` into the parameters of the same names, converting dtypes.

        A tied parameter may come under any of its names. If anything does not fit, one ValueError lists all names that
        are missing, unexpected or of another shape, and nothing has changed. Without `strict`, parameters that are
        missing keep their values and unexpected names are ignored.
        """
        parameters = dict(self.named_parameters(tied=True))
        if not strict:
            state = {name: value for name, value in state.items() if name in parameters}
        # A tied parameter is required once, under any of its names. So parameters are compared by id, not by name.
        given = {id(p) for name, p in parameters.items() if name in state}
        missing = [name for name, p in self.named_parameters() if id(p) not in given] if strict else ()
        shapes = {name: p.shape for name, p in parameters.items()}
        check_state(type(self).__name__, shapes, missing, state)  # raises if anything does not fit
        _check_ties(parameters, state)
        # Nothing is changed before all checks have passed.
        for name in state:
            p = parameters[name]
            p.data[...] = to_device(as_array(state[name]), p.device)  # in place: an optimizer keeps its view

    # --- changing the whole module ------------------------------------------------------------------------------------

    def train(self, training: bool = True) -> Module:
        """Switch this module and all below it to training, where dropout is active. Returns itself."""
        for _, module in self.named_modules():
            module.training = training  # hides the default of the class
        return self

    def eval(self) -> Module:
        """Switch this module and all below it to evaluation, without dropout. Returns itself."""
        return self.train(training=False)

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for p in self.parameters():
            p.zero_grad()

    def to(self, device: str) -> Module:
        """Move everything to "cpu", "cuda" or "cuda:N", in place; build optimizers afterwards. Returns itself."""
        return self._convert(lambda array: to_device(array, device))

    def astype(self, dtype: Any) -> Module:
        """Convert all floating-point arrays to `dtype`, in place; build optimizers afterwards. Returns itself."""
        return self._convert(lambda array: array.astype(dtype, copy=False) if is_float(array.dtype) else array)

    def _convert(self, conversion: Conversion) -> Module:
        for p in self.parameters():
            p.convert(conversion)
        for _, module in self.named_modules():
            # The constants too: tables and masks, which are Tensors or arrays. An array is recognised by attributes
            # that NumPy and CuPy have in common.
            for name, value in vars(module).items():
                if isinstance(value, Tensor) and not isinstance(value, Parameter):
                    setattr(module, name, Tensor(conversion(value.data)))
                elif not isinstance(value, Tensor) and hasattr(value, "dtype") and hasattr(value, "ndim"):
                    setattr(module, name, conversion(value))
        return self


CONTAINERS = (list, tuple, deque, Mapping, Set, ValuesView)


def _holds_parameters(container: Any) -> bool:
    """Whether a container, or one inside it, holds a module or a parameter."""
    items = [*container.values(), *container] if isinstance(container, Mapping) else container
    if set(map(type, items)) <= {int, float, str}:  # quick for a long list of numbers
        return False
    return any(
        isinstance(item, (Module, Parameter)) or isinstance(item, CONTAINERS) and _holds_parameters(item)
        for item in items
    )


def _check_ties(parameters: Mapping[str, Parameter], state: Mapping[str, Any]) -> None:
    """Raise ValueError if the state has different values for the names of one tied parameter."""
    first_name: dict[int, str] = {}  # by id of the parameter: the first of its names that is in the state
    for name in state:
        other = first_name.setdefault(id(parameters[name]), name)
        if other != name and not np.array_equal(as_array(state[other]), as_array(state[name])):
            raise ValueError(
                f"{other} and {name} are tied, one parameter, but this state gives them different values; "
                f"untie them in the model or leave one out"
            )
