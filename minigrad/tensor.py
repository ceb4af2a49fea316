"""The tensor: an array that remembers how it was computed, so that it can be differentiated.

    x = Tensor([1.0, 2.0], requires_grad=True)      a leaf: made by the user, its gradient is wanted
    y = (x * x).sum()                               a result: it has a node of the graph (graph.py)
    y.backward()                                    carries the gradient back to x (backward.py)
    x.grad                                          Tensor([2., 4.])

Every operation ends in `record`, which wraps the computed array in a Tensor and adds a node to the graph. Operators and
methods (`x + y`, `x.sum()`, `x.backward()`) are attached in methods.py, so that this file need not import the
operations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy import ndarray

from minigrad.backend import (
    MASKED_ARRAY,
    Array,
    array_module,
    as_array,
    device_of,
    ensure_array,
    is_bfloat16,
    is_float,
    is_number,
    python_number,
    to_device,
)
from minigrad.graph import Node, Rule
from minigrad.lazy import Gradient, accumulate_into, materialize, store
from minigrad.modes import mode


class Tensor:
    """An array that can be differentiated.

    `data`: a NumPy or CuPy array (not copied), a nested list or a number; Python floats become float32.
    `requires_grad`: whether `backward()` computes a gradient for this tensor. The gradient is added to `.grad`, which
    is None at first and then a Tensor. `dtype`: convert the data to it. Raises TypeError if integers require a
    gradient.

    A leaf's gradients add up over calls of `backward()` until `zero_grad()`:

        a = Tensor(3.0, requires_grad=True)
        b = a + a; c = b + b
        c.backward(retain_graph=True)       # a.grad is 4; the graph stays, because b.backward() needs it
        b.backward()                        # a.grad is 4 + 2 = 6
    """

    # Slots instead of a dictionary for each instance: less memory, and faster.
    __slots__ = ("data", "grad", "requires_grad", "node", "__weakref__")

    def __init__(self, data: Any, requires_grad: bool = False, dtype: Any = None):
        if type(data) is not ndarray:  # nearly always it is one
            if isinstance(data, Tensor):
                data = data.data
            elif isinstance(data, (list, tuple)):
                _refuse_variables(data)
        self.data: Array = as_array(data, dtype)
        if not is_number(self.data.dtype):
            what = f"an array of {self.data.dtype}" if self.ndim else type(data).__name__
            raise TypeError(f"a tensor holds booleans, integers or floating-point numbers, not {what}")
        self.grad: Tensor | None = None
        self.node: Node | None = None  # None for leaves and constants
        if requires_grad and not is_float(self.data.dtype):
            raise TypeError(
                f"only floating-point tensors can require a gradient, this one is {self.data.dtype}; "
                f"pass dtype=np.float32"
            )
        self.requires_grad = requires_grad

    # Read from the array each time, so that they stay right when `data` is replaced.
    shape = property(lambda self: self.data.shape)
    ndim = property(lambda self: self.data.ndim)
    size = property(lambda self: self.data.size)
    dtype = property(lambda self: self.data.dtype)
    device = property(lambda self: device_of(self.data))

    def accumulate(self, gradient: Gradient, *, in_place: bool = False) -> None:
        """Add `gradient` to `.grad`: an array, a Tensor, or a LazyGradient, which is not computed yet (lazy.py).

        `in_place`: nothing else refers to the array of `.grad`, so the sum may overwrite it.
        """
        if isinstance(gradient, Tensor):  # with create_graph: the sum is recorded
            self.grad = identity(gradient, copy=True) if self.grad is None else self.grad + gradient
        elif self.grad is None:
            # `gradient` may be shared: the rule of add, for instance, passes the same array to both inputs. So it is
            # copied.
            self.grad = Tensor(np.empty_like(self.data, order="C"))
            store(gradient, self.grad.data)
        elif in_place:
            accumulate_into(gradient, self.grad.data)
        else:
            # The user may still hold the Tensor in `.grad`, which must not change. So the sum is a new Tensor.
            self.grad = self.grad + Tensor(materialize(gradient))

    def zero_grad(self) -> None:
        """Forget the gradient."""
        self.grad = None

    def detach(self) -> Tensor:
        """The same array as a constant, without its history."""
        return Tensor(self.data)

    def numpy(self) -> np.ndarray:
        """The array on the CPU. If the tensor is on the CPU already, the two share memory."""
        return to_device(self.data, "cpu")

    def item(self) -> Any:
        """The value of a one-element tensor as a Python number."""
        if self.size != 1:
            raise ValueError(f"item() needs a tensor with one element, this one has shape {self.shape}")
        return self.data.item()

    def to(self, device: str) -> Tensor:
        """This tensor on "cpu", "cuda" or "cuda:N"; gradients travel back."""
        before = self.device
        # The gradient arrives on the device of the result; the rule moves it back to the device of the input.
        return record(to_device(self.data, device), (self,), lambda g, out: (as_tensor(g).to(before),))

    # The special methods that Python's built-in functions and NumPy call.
    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    @property
    def _data(self) -> Any:
        # numpy.ma reads this of whatever stands beside a masked array. It would make a masked array of the two, and the
        # gradient would be lost.
        raise TypeError(MASKED_ARRAY)

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Iterator[Tensor]:
        # Indexing records an operation, so gradients come back through the rows. The rows of `data` would be constants.
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:  # an integer tensor may be the bound of a slice or of a range, and an axis
        return self.data.__index__()

    # `==` returns a Tensor of booleans, so it cannot decide whether two keys of a dict are the same. Tensors are hashed
    # by identity, so that dicts and sets can hold them.
    __hash__ = object.__hash__

    def __repr__(self) -> str:
        # At most 50 elements are written out.
        values = np.array2string(self.numpy(), precision=4, separator=", ", threshold=50, prefix="Tensor(")
        device = "" if self.device == "cpu" else f", device={self.device}"
        history = ", requires_grad=True" if self.requires_grad else ""
        if self.node is not None:  # a result: the operation says more
            history = f", op={self.node.op}"
        return f"Tensor({values}, shape={self.shape}, dtype={self.dtype}{device}{history})"

    # What methods.py attaches, listed here so that type checkers know these names and report all others.
    # fmt: off
    if TYPE_CHECKING:
        Op = Callable[..., "Tensor"]
        __add__: Op; __sub__: Op; __mul__: Op; __truediv__: Op; __pow__: Op; __matmul__: Op; __neg__: Op; __abs__: Op
        __radd__: Op; __rsub__: Op; __rmul__: Op; __rtruediv__: Op; __rpow__: Op; __rmatmul__: Op; __getitem__: Op
        __lt__: Op; __le__: Op; __gt__: Op; __ge__: Op; __array_ufunc__: Op; __array_function__: Op
        abs: Op; exp: Op; expm1: Op; log: Op; log1p: Op; sqrt: Op; rsqrt: Op; sin: Op; cos: Op; tanh: Op; sigmoid: Op
        erf: Op; relu: Op; logaddexp: Op; clip: Op; astype: Op; isnan: Op; isfinite: Op
        sum: Op; mean: Op; max: Op; min: Op; prod: Op; var: Op; std: Op; cumsum: Op; argmax: Op; argmin: Op
        logsumexp: Op; softmax: Op; log_softmax: Op
        reshape: Op; transpose: Op; swapaxes: Op; expand_dims: Op; squeeze: Op; broadcast_to: Op; flip: Op; roll: Op
        tril: Op; triu: Op; take: Op; take_along_axis: Op
        split: Callable[..., list[Tensor]]; backward: Callable[..., None]; T: Tensor
    # fmt: on


def _refuse_variables(items: Sequence[Any]) -> None:
    """Raise TypeError if a nested list holds a tensor that requires a gradient, or a masked array.

    The gradient, or the mask, would be lost without a word.
    """
    if set(map(type, items)) <= {float, int}:  # quick for a long list of numbers
        return
    for item in items:
        if isinstance(item, (list, tuple)):
            _refuse_variables(item)
        elif isinstance(item, np.ma.MaskedArray):
            as_array(item)  # refuses it
        elif isinstance(item, Tensor) and item.requires_grad:
            raise TypeError(
                "a list of tensors that require a gradient cannot become one tensor, because the gradient would be "
                "lost; join them with minigrad.stack or minigrad.concatenate"
            )


def as_tensor(x: Any) -> Tensor:
    """`x` itself if it is a Tensor, else a new Tensor that requires no gradient; arrays are not copied."""
    return x if isinstance(x, Tensor) else Tensor(x)


def operands(x: Any, y: Any) -> tuple[Tensor, Tensor]:
    """The two inputs of an operation as tensors. A number takes the dtype and the device of the other input."""
    if isinstance(x, Tensor):
        return x, (y if isinstance(y, Tensor) else _constant(y, x.data))
    if isinstance(y, Tensor):
        return _constant(x, y.data), y
    return Tensor(x), Tensor(y)


def _constant(x: Any, other: Array) -> Tensor:
    """A Tensor that requires no gradient, for an operation with the array `other`. A number stays a number in `data`.

    With a Python number as one input, NumPy 2 and CuPy give the result the dtype of the other input: x * 2.0 is float32
    if x is. With a float64 array or NumPy scalar, the result would be float64.
    """
    # `type` first: it is the fastest test, and every operation with a number comes here, nearly always with a float.
    if type(x) is not float:
        x = python_number(x)
        if not isinstance(x, (int, float)):
            return Tensor(x)
    out = _new(Tensor)
    out.data = x
    # NumPy promotes bfloat16, which is not a dtype of its own, beside a Python number, but not beside an array of it.
    if hasattr(other, "dtype") and is_bfloat16(other.dtype):
        out.data = array_module(other).asarray(x, other.dtype)
    out.grad = out.node = None
    out.requires_grad = False
    return out


# --- for gradient rules, which get arrays or, with create_graph, Tensors ----------------------------------------------


def array_of(x: Any) -> Array:
    """`x.data` if `x` is a Tensor; an array is returned as it is."""
    return x.data if isinstance(x, Tensor) else x


def like(g: Gradient, x: Tensor) -> Any:
    """The input `x` in the form of the gradient `g`: as a Tensor if `g` is one, else as an array."""
    return x if isinstance(g, Tensor) else x.data


# --- recording --------------------------------------------------------------------------------------------------------

_new = object.__new__  # makes a Tensor without the checks of __init__, which would take longer than a small operation


def record(data: Any, inputs: Sequence[Tensor], vjp: Rule, keep_output: bool = False) -> Tensor:
    """The result of an operation as a Tensor, with a node in the graph if an input requires a gradient.

    `data`: the computed array. `vjp(g, out)`: the gradient rule (a vector-Jacobian product, see graph.py). From the
    gradient `g` of the result it returns a gradient for each input: an array, a Tensor, a LazyGradient or None. It need
    not undo broadcasting or dtype promotion; the engine does that. With `keep_output`, the rule gets the result as
    `out`, otherwise None. A rule must not refer to the result in any other way: tensor -> node -> rule -> tensor would
    be a reference cycle, and its memory would be freed only when the garbage collector runs.
    """
    out = _new(Tensor)
    # Where a result has no axes, NumPy returns a scalar. The `data` of a result is always an array. (The `data` of an
    # input may be a Python number, see `_constant`.)
    out.data = data if type(data) is ndarray else ensure_array(data)
    out.grad = out.node = None
    out.requires_grad = False
    if mode.op_hook is not None:  # a tool that observes operations (modes.py); it may replace the rule
        vjp = mode.op_hook(out.data, inputs, vjp)
    # A node is needed if any input requires a gradient. (A loop, because any() with a generator takes longer.)
    for x in inputs:
        if x.requires_grad and mode.recording:
            out.requires_grad = True
            out.node = Node(inputs, vjp, out.data, keep_output)
            break
    return out


def identity(x: Tensor, *, copy: bool = False) -> Tensor:
    """The same values as a new tensor, connected to `x`."""
    return record(x.data.copy() if copy else x.data, (x,), lambda g, out: (g,))


def gradient_edge(x: Tensor) -> Node | Tensor | None:
    """Where the gradient of `x` goes: to its node, to itself if it is a leaf, to None if it needs no gradient."""
    if x.node is not None:
        return x.node
    return x if x.requires_grad else None
