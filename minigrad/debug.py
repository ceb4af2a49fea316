"""Two context managers for errors that are hard to find.

    with detect_anomaly():      raises at the op in which the first NaN or infinity arises
    with debug_arrays():        raises where an array is overwritten that the backward pass still needs

Both observe every op of their thread through an op hook (modes.py). They can be nested and used together. They cost
time, so they are meant for a few steps of a run that goes wrong, not for the whole run.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np

from minigrad.backend import Array
from minigrad.graph import Rule, op_name
from minigrad.lazy import Gradient, LazyGradient
from minigrad.modes import mode, op_hook
from minigrad.nn import current_path
from minigrad.tensor import Tensor, array_of


class AnomalyError(FloatingPointError):
    """A NaN or an infinity arose."""


# --- detect_anomaly ---------------------------------------------------------------------------------------------------


def detect_anomaly() -> AbstractContextManager:
    """`with detect_anomaly():` raise AnomalyError at the op in which the first NaN or infinity arises.

    Forward and backward are checked. The error names the op, the path of its module, and whether its inputs were
    finite. An infinity that comes from a constant, such as the -inf of an attention mask, is taken to be intended. The
    rule of an op that was recorded inside the block is checked wherever it runs.
    """
    return op_hook(_AnomalyHook().on_op)


class _AnomalyHook:
    def __init__(self) -> None:
        # The rule that is running. With create_graph, the ops that a rule is made of reach the hook as well.
        self.running_rule: str | None = None

    def on_op(self, data: Array, inputs: Sequence[Tensor], vjp: Rule) -> Rule:
        op = _op_and_module(vjp) + (f" inside {self.running_rule}" if self.running_rule else "")
        _check_value(data, inputs, f"the forward of {op}")
        return self._checked(vjp, f"the backward of {op}")

    def _checked(self, vjp: Rule, description: str) -> Rule:
        """The rule, with a check of the gradients that it returns."""

        def checked(g: Gradient, out: Any) -> tuple:
            before, self.running_rule = self.running_rule, description
            try:
                gradients = tuple(vjp(g, out))
            finally:
                self.running_rule = before
            incoming = _nonfinite(array_of(g))
            return tuple(
                _check_gradient(gradient, incoming, f"{description}, in the gradient of input {i}")
                for i, gradient in enumerate(gradients)
            )

        checked.__qualname__ = vjp.__qualname__
        return checked


def _check_value(data: Array, inputs: Sequence[Tensor], where: str) -> None:
    """Raise AnomalyError if the result of an op is not finite."""
    found = _nonfinite(data)
    if found is None:
        return
    in_inputs = [_nonfinite(x.data) for x in inputs]
    if found == "inf" and any(f and (x.node or not x.requires_grad) for f, x in zip(in_inputs, inputs)):
        return  # the infinity comes from a constant, or from an op that got it from a constant
    numbered = enumerate(zip(in_inputs, inputs))
    bad = [f"input {i} of shape {np.shape(x.data)} already held {f}" for i, (f, x) in numbered if f]
    raise AnomalyError(f"{found} in {where}: " + ("; ".join(bad) or f"its inputs were finite ({_ranges(inputs)})"))


def _check_gradient(gradient: Gradient, incoming: str | None, where: str) -> Gradient:
    """The gradient itself. Raises AnomalyError if it is not finite; a LazyGradient raises when it is computed."""
    if isinstance(gradient, LazyGradient):

        def fill(out: Array) -> None:
            gradient.store(out)
            _check_gradient(out, incoming, where)

        return LazyGradient(gradient.like, fill, shape=gradient.shape)
    found = None if gradient is None else _nonfinite(array_of(gradient))
    if found is not None:
        cause = "the incoming gradient was finite"
        if incoming:
            cause = f"{incoming} came in with the gradient of its result"
        raise AnomalyError(f"{found} in {where}: {cause}")
    return gradient


def _nonfinite(data: Array) -> str | None:
    """The text "nan" or "inf" if the array has such an element, else None."""
    # Only floats and complex numbers can be non-finite; bfloat16 has the kind "V".
    if not isinstance(data, (int, float)) and data.dtype.kind not in "fcV" or bool(np.isfinite(data).all()):
        return None
    return "nan" if bool(np.isnan(data).any()) else "inf"


def _ranges(inputs: Sequence[Tensor]) -> str:
    filled = [(i, x.data) for i, x in enumerate(inputs) if np.size(x.data)]
    return ", ".join(f"input {i} in [{float(np.min(a)):.4g}, {float(np.max(a)):.4g}]" for i, a in filled)


def _op_and_module(vjp: Rule) -> str:
    path = current_path()
    return f"{op_name(vjp)!r} in module {path!r}" if path else f"{op_name(vjp)!r}"


# --- debug_arrays -----------------------------------------------------------------------------------------------------


@contextmanager
def debug_arrays() -> Iterator[None]:
    """`with debug_arrays():` make the inputs and results of recorded ops read-only until their node is freed.

    A write in place that would make a gradient wrong then raises NumPy's "assignment destination is read-only" at the
    line that writes. Arrays become writable again when backward() frees the graph, or at the end of the block. It does
    not protect views that were made before the op ran, nor CuPy arrays.
    """
    if _active.locks is not None:  # nested: the outer block locks all arrays already
        yield
        return
    _active.locks = _Locks()
    try:
        with op_hook(_active.locks.on_op):
            yield
    finally:
        _active.locks.release_all()
        _active.locks = None


class _Lock:
    """Arrays that share memory, and are read-only as long as `count` nodes need them."""

    def __init__(self, owner: np.ndarray):
        self.owner = owner  # a reference, so that its id cannot become that of another array
        self.count = 0
        self.arrays: list[np.ndarray] = []  # those to make writable again, each after the array that it is a view of

    def add(self, views: Sequence[np.ndarray]) -> None:
        """Lock an array; `views` are the owner, a view of it, a view of that and so on down to the array itself."""
        self.count += 1
        self.arrays += [a for a in views if a.flags.writeable]
        for a in views:
            a.flags.writeable = False

    def open(self) -> None:
        for a in self.arrays:  # NumPy refuses to make a view writable before its base
            a.flags.writeable = True


class _Locks:
    """The locks of a block, by the id of the array that owns the memory."""

    def __init__(self) -> None:
        self.locks: dict[int, _Lock] = {}

    def on_op(self, data: Array, inputs: Sequence[Tensor], vjp: Rule) -> Rule:
        if not mode.recording or not any(x.requires_grad for x in inputs):
            return vjp
        locked = _LockedArrays(self, [a for a in (data, *(x.data for x in inputs)) if isinstance(a, np.ndarray)])

        def rule(g: Gradient, out: Any, locked: _LockedArrays = locked) -> Sequence[Gradient]:
            return vjp(g, out)  # `locked` lives as long as this rule does

        rule.__qualname__ = vjp.__qualname__
        return rule

    def lock(self, array: np.ndarray) -> int:
        """Lock an array and all that it is a view of; returns the key for `release`."""
        views = [array]
        while isinstance(views[0].base, np.ndarray):
            views.insert(0, views[0].base)
        owner = views[0]
        self.locks.setdefault(id(owner), _Lock(owner)).add(views)
        return id(owner)

    def release(self, key: int) -> None:
        if key not in self.locks:  # the block has ended
            return
        self.locks[key].count -= 1
        if self.locks[key].count == 0:
            self.locks.pop(key).open()

    def release_all(self) -> None:
        while self.locks:
            self.locks.popitem()[1].open()


class _LockedArrays:
    """Arrays that are locked as long as this object lives."""

    def __init__(self, locks: _Locks, arrays: Sequence[np.ndarray]):
        self.locks, self.keys = locks, [locks.lock(a) for a in arrays]

    def __del__(self) -> None:
        for key in self.keys:
            self.locks.release(key)


class _Active(threading.local):
    locks: _Locks | None = None  # of the block that this thread is in


_active = _Active()
