"""A differentiable ndarray: the tensor, how ops record what they do, and `backward`.

What an op returns through `record` remembers its parents and one rule, `vjp(g, out) -> gradients of the parents`, in a
node of the graph (graph.py). `backpropagate` walks from the newest node to the oldest, without recursion, and each node
drops what it saved as soon as it has been visited.

Gradients travel as plain arrays, which cost least; those that shall be differentiated again (`create_graph`) travel as
Tensors, with recording on. A rule is one formula for both: it uses operators, methods that arrays have too, and
primitives, and takes its inputs as `like(g, x)`.

Operators and methods (`x + y`, `x.sum()`) are attached by methods.py, so that ops may import this file without being
imported by it. Reverse-mode differentiation: Griewank and Walther, Evaluating Derivatives (2008), chapter 3.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy import ndarray

from minigrad.backend import as_array, device_of, is_float, to_device
from minigrad.graph import LazyGradient, Node, add_to, materialize, mode, recording, write

new = object.__new__


class Tensor:
    """An array that can be differentiated.

    `data`: a NumPy or CuPy array (not copied), a nested list or a number; Python floats become float32.
    `requires_grad`: whether `backward()` shall leave a gradient in `.grad` (a Tensor, or None before). `dtype`: convert
    to this. Raises TypeError for a gradient of integers.

    A leaf's gradients add up over calls of `backward()` until `zero_grad()`:

        a = Tensor(3.0, requires_grad=True)
        b = a + a; c = b + b
        c.backward(retain_graph=True)       # a.grad is 4
        b.backward()                        # a.grad is 4 + 2 = 6
    """

    __slots__ = ("data", "grad", "requires_grad", "node", "__weakref__")
    __array_ufunc__ = None  # ndarray + Tensor is left to Tensor.__radd__
    grad_buffer: Any = None  # an optimizer gives a Parameter its view of the flat gradient here

    def __init__(self, data: Any, requires_grad: bool = False, dtype: Any = None):
        self.data: Any = data.data if isinstance(data, Tensor) and dtype is None else as_array(data, dtype)
        self.grad: Tensor | None = None
        self.node: Node | None = None
        if requires_grad and not is_float(self.data.dtype):
            raise TypeError(
                f"only floating-point tensors can require a gradient, this one is {self.data.dtype}; "
                f"pass dtype=np.float32"
            )
        self.requires_grad = requires_grad

    shape = property(lambda self: self.data.shape)
    ndim = property(lambda self: self.data.ndim)
    size = property(lambda self: self.data.size)
    dtype = property(lambda self: self.data.dtype)
    device = property(lambda self: device_of(self.data))

    def backward(self, grad: Any = None, retain_graph: bool = False, create_graph: bool = False) -> None:
        """Add the gradient of this tensor to `.grad` of every leaf that requires it.

        `grad`: the gradient of this tensor, same shape; may be left out for a single number. The graph is freed on the
        way unless `retain_graph`; with `create_graph` the gradients can themselves be differentiated (and the graph is
        kept).
        """
        if not self.requires_grad:
            raise RuntimeError(
                "backward() on a tensor that does not require a gradient: none of its inputs has requires_grad=True, "
                "or it was made under no_grad()"
            )
        own: set[Tensor] = set()  # leaves whose gradient was made in this pass: nobody else has seen it

        def deliver(leaf: Tensor, g: Any) -> None:
            leaf.accumulate(g, leaf in own)
            own.add(leaf)

        backpropagate(
            [(self, seed_gradient(self, grad))], deliver, retain_graph=retain_graph, create_graph=create_graph
        )

    def accumulate(self, g: Any, own: bool = False) -> None:
        """Add `g`, an array, Tensor or LazyGradient, to the gradient. Kept is a copy or the parameter's own view: `g` may
        be anybody's array.

        `own`: the gradient there is was made by the engine, and nobody else has it yet.
        """
        if isinstance(g, Tensor):
            self.grad = record(g.data.copy(), (g,), lambda g, out: (g,)) if self.grad is None else self.grad + g
        elif self.grad is None:
            kept = (
                np.empty_like(self.data, order="C") if self.grad_buffer is None else self.grad_buffer
            )  # see LazyGradient
            write(g, kept)
            self.grad = Tensor(kept)
        elif own or self.grad.data is self.grad_buffer:
            add_to(g, self.grad.data)
        else:
            self.grad = self.grad + Tensor(materialize(g))

    def zero_grad(self) -> None:
        self.grad = None

    def detach(self) -> Tensor:
        """The same array, without its history."""
        return Tensor(self.data)

    def numpy(self) -> np.ndarray:
        """The array on the CPU; it shares memory with the tensor where that is on the CPU already."""
        return to_device(self.data, "cpu")

    def item(self) -> Any:
        """The value of a one-element tensor as a Python number."""
        if self.size != 1:
            raise ValueError(f"item() needs a tensor with one element, this one has shape {self.shape}")
        return self.data.item()

    def to(self, device: str) -> Tensor:
        """This tensor on "cpu", "cuda" or "cuda:N"; gradients travel back."""
        here = self.device
        return record(to_device(self.data, device), (self,), lambda g, out: (tensor(g).to(here),))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    __hash__ = object.__hash__  # `==` compares elements, so identity is what a dict goes by

    def __repr__(self) -> str:
        values = np.array2string(self.numpy(), precision=4, separator=", ", threshold=50, prefix="Tensor(")
        made_by = f", op={self.node.op}" if self.node else ", requires_grad=True" if self.requires_grad else ""
        place = "" if self.device == "cpu" else f", device={self.device}"
        return f"Tensor({values}, shape={self.shape}, dtype={self.dtype}{place}{made_by})"

    if TYPE_CHECKING:  # attached in methods.py
        __add__: Callable[..., Tensor]
        __radd__: Callable[..., Tensor]
        __sub__: Callable[..., Tensor]
        __rsub__: Callable[..., Tensor]
        __mul__: Callable[..., Tensor]
        __rmul__: Callable[..., Tensor]
        __truediv__: Callable[..., Tensor]
        __rtruediv__: Callable[..., Tensor]
        __pow__: Callable[..., Tensor]
        __rpow__: Callable[..., Tensor]
        __matmul__: Callable[..., Tensor]
        __rmatmul__: Callable[..., Tensor]
        __neg__: Callable[..., Tensor]
        __getitem__: Callable[..., Tensor]
        __lt__: Callable[..., Tensor]
        __le__: Callable[..., Tensor]
        __gt__: Callable[..., Tensor]
        __ge__: Callable[..., Tensor]

        def __getattr__(self, name: str) -> Callable[..., Tensor]: ...


def tensor(x: Any) -> Tensor:
    """`x` itself if it is a Tensor, else a constant."""
    return x if isinstance(x, Tensor) else Tensor(x)


def operands(x: Any, y: Any) -> tuple[Tensor, Tensor]:
    """The two inputs of an op as tensors; a number never promotes: it takes the dtype and device of the other."""
    if isinstance(x, Tensor):
        return x, y if isinstance(y, Tensor) else _constant(y)
    return (_constant(x), y) if isinstance(y, Tensor) else (Tensor(x), Tensor(y))


def _constant(x: Any) -> Tensor:
    """A constant; a number stays a Python number inside (`data`), which is how NumPy 2 and CuPy know not to promote."""
    if type(x) is not float and not isinstance(x, (int, float, np.generic)):
        return Tensor(x)
    out = new(Tensor)
    out.data = x.item() if isinstance(x, np.generic) else x
    out.grad = out.node = None
    out.requires_grad = False
    return out


def array_of(x: Any) -> Any:
    """The array of a Tensor; an array itself."""
    return x.data if isinstance(x, Tensor) else x


def like(g: Any, x: Tensor) -> Any:
    """`x` in the form that `g` has: an array beside an array, a Tensor beside a Tensor."""
    return x if isinstance(g, Tensor) else x.data


def source(x: Tensor) -> Node | Tensor | None:
    """Where the gradient of `x` goes: its node, itself if it is a leaf, nowhere."""
    if x.node is not None:
        return x.node
    return x if x.requires_grad else None


def record(data: Any, inputs: Sequence[Tensor], vjp: Callable, keep_output: bool = False) -> Tensor:
    """The result `data` of an op as a Tensor that remembers where it came from, if anyone can ask.

    `vjp(g, out)` returns a gradient (array, Tensor, LazyGradient; None or False for none) for each input; broadcasting and
    dtype are undone by the engine. `g` is an array, or a Tensor if the gradient shall be differentiated again. It gets
    the result, in the same form, as `out` if `keep_output`, and must not close over it: tensor -> node -> rule ->
    tensor would be a reference cycle, and activations would live until the garbage collector came by.
    """
    out = new(Tensor)
    out.data = data if type(data) is ndarray else _as_array(data)
    out.grad = out.node = None
    out.requires_grad = False
    if mode.watch is not None:
        vjp = mode.watch(out.data, inputs, vjp)
    for x in inputs:
        if x.requires_grad and mode.recording:
            out.requires_grad = True
            out.node = Node(inputs, vjp, out.data, keep_output)
            break
    return out


def seed_gradient(output: Tensor, grad: Any) -> Tensor:
    """The gradient that a backward pass begins with: `grad`, or 1 for a single number."""
    if grad is None:
        if output.size != 1:
            raise ValueError(
                f"backward() from a tensor of shape {output.shape} needs grad=, an array of that shape; "
                f"or reduce it to one number first, for example with .sum()"
            )
        return Tensor(np.ones_like(output.data))
    g = tensor(grad)
    if g.shape != output.shape:
        raise ValueError(f"grad has shape {g.shape}, but the tensor has shape {output.shape}; they must be equal")
    return g if g.dtype == output.dtype else g.astype(output.dtype)


def backpropagate(
    seeds: Sequence[tuple[Tensor, Any]],
    deliver: Callable,
    *,
    retain_graph: bool = False,
    create_graph: bool = False,
    oldest: int = 0,
    wanted: dict | None = None,
) -> None:
    """Carry the gradients in `seeds` back through the graph; `deliver(leaf, g)` is called for each share of a leaf's
    gradient.

    A share is an array or LazyGradient; with `create_graph` it is a Tensor. Nodes numbered below `oldest` are not visited:
    their shares are delivered, as those of leaves are. The complete gradients of the nodes that are keys of `wanted`
    are put there.
    """
    pending: dict[Node, Any] = {}  # gradients still growing: every share comes from a newer node
    own: set[Node] = set()  # those whose array was made here, so that nobody else holds it
    newest_first: list[tuple[int, Node]] = []

    def arrive(parent: Any, g: Any) -> None:
        if create_graph or type(g) is not ndarray and type(g) is not LazyGradient:
            g = _canonical(g, create_graph)
        if type(g) is not LazyGradient and (g.shape != parent.shape or g.dtype != parent.dtype):
            g = _unbroadcast(g, parent)
        if type(parent) is not Node or parent.number < oldest:
            deliver(parent, g)
        elif parent in own:
            add_to(g, pending[parent])
        elif parent in pending:
            pending[parent] = _canonical(pending[parent] + materialize(g), create_graph)
            if not create_graph:  # out of place: either may be somebody else's array, but the sum is not
                own.add(parent)
        else:
            heapq.heappush(newest_first, (-parent.number, parent))
            if type(g) is LazyGradient:
                g = g.data
                own.add(parent)
            pending[parent] = g

    with recording(create_graph):
        for output, g in seeds:
            arrive(source(output), g)
        while newest_first:
            node = heapq.heappop(newest_first)[1]
            g = pending.pop(node)
            own.discard(node)
            if wanted is not None and node in wanted:
                wanted[node] = g
            out = _as_tensor(node) if create_graph and node.output is not None else node.output
            for parent, share in zip(node.parents, node.vjp(g, out)):
                if parent is not None and share is not None and share is not False:
                    arrive(parent, share)
            if not (retain_graph or create_graph):
                node.free()


def _as_tensor(node: Node) -> Tensor:
    """The node's result as a Tensor again, for its rule to use and to differentiate through."""
    out = new(Tensor)
    out.data, out.grad, out.node, out.requires_grad = node.output, None, node, True
    return out


def _canonical(g: Any, create_graph: bool) -> Any:
    """A gradient as the engine has it: a Tensor with `create_graph`, else an array or LazyGradient."""
    if create_graph:
        return g if isinstance(g, Tensor) else Tensor(materialize(g))
    return _as_array(array_of(g))


def _as_array(result: Any) -> Any:
    """A result of NumPy as an array: of arrays without axes it makes numbers."""
    return np.asarray(result) if isinstance(result, np.generic) else result


def _unbroadcast(g: Any, parent: Node | Tensor) -> Any:
    """Make a gradient look like its parent: the one place where broadcasting and dtype promotion are undone."""
    if g.shape != parent.shape:
        shape = (1,) * (g.ndim - len(parent.shape)) + parent.shape
        stretched = [axis for axis, n in enumerate(shape) if n != g.shape[axis]]
        g = g.sum(tuple(stretched), keepdims=True) if parent.shape else _as_array(g.sum())
        g = g if g.ndim == len(parent.shape) else g.reshape(parent.shape)
    return g if g.dtype == parent.dtype else g.astype(parent.dtype)
