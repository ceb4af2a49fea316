"""Two context managers that find what is hard to find: where a NaN or inf first arose, and who wrote into an array that
is still needed.

Both look at every op of their thread through `mode.op_hook` (see graph.py), may be nested and used together, and cost
time: they are for a few steps of a run that goes wrong, not for the whole run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from minigrad.graph import op_name
from minigrad.lazy import LazyGradient
from minigrad.modes import mode, op_hook
from minigrad.nn import current_path
from minigrad.tensor import Tensor, array_of


class AnomalyError(FloatingPointError):
    """A NaN or an infinity arose."""


# ---- where did the first NaN or inf arise? ---------------------------------------------------------------------------


def detect_anomaly():
    """`with detect_anomaly():` raise AnomalyError at the op in which the first NaN or inf arises, forward or backward.

    The error names the op, the path of the module it ran in, and whether the inputs were good. Infinities that a
    constant brings in, such as the -inf of an attention mask, are taken as meant. The backward of what was recorded
    inside is checked wherever it runs.
    """
    return op_hook(_Anomalies().watch)


class _Anomalies:
    def __init__(self) -> None:
        self.rule: str | None = None  # the gradient rule that is running now, whose ops come by as well

    def watch(self, data: Any, inputs: Sequence[Tensor], vjp: Callable) -> Callable:
        place = _place(vjp) + (f" inside {self.rule}" if self.rule else "")
        _check_value(data, inputs, f"the forward of {place}")
        return self._checked(vjp, f"the backward of {place}")

    def _checked(self, vjp: Callable, place: str) -> Callable:
        """The rule, with its gradients looked at."""

        def checked(g: Any, out: Any) -> tuple:
            before, self.rule = self.rule, place
            try:
                shares = tuple(vjp(g, out))
            finally:
                self.rule = before
            came_in = _fault(array_of(g))
            return tuple(
                _check_share(share, came_in, f"{place}, in the gradient of input {i}") for i, share in enumerate(shares)
            )

        checked.__qualname__ = vjp.__qualname__
        return checked


def _check_value(data: Any, inputs: Sequence[Tensor], place: str) -> None:
    fault = _fault(data)
    if fault is None:
        return
    faults = [_fault(x.data) for x in inputs]
    if fault == "inf" and any(
        f is not None and (x.node is not None or not x.requires_grad) for f, x in zip(faults, inputs)
    ):
        return  # not new here, and let pass where it came in
    bad = [
        f"input {i} of shape {np.shape(x.data)} already held {f}"
        for i, (f, x) in enumerate(zip(faults, inputs))
        if f is not None
    ]
    raise AnomalyError(f"{fault} in {place}: " + ("; ".join(bad) or f"its inputs were finite ({_ranges(inputs)})"))


def _check_share(share: Any, came_in: str | None, place: str) -> Any:
    if isinstance(share, LazyGradient):

        def fill(out: Any) -> None:
            share.store(out)
            _check_share(out, came_in, place)

        return LazyGradient(share.like, fill, shape=share.shape)
    fault = None if share is None or share is False else _fault(array_of(share))
    if fault is not None:
        raise AnomalyError(
            f"{fault} in {place}: "
            + (
                f"{came_in} came in with the gradient of its result"
                if came_in
                else "the gradient that came in was finite"
            )
        )
    return share


def _fault(data: Any) -> str | None:
    """ "nan", "inf" or None for an array without either."""
    if not isinstance(data, (int, float)) and data.dtype.kind not in "fcV" or bool(np.isfinite(data).all()):
        return None
    return "nan" if bool(np.isnan(data).any()) else "inf"


def _ranges(inputs: Sequence[Tensor]) -> str:
    filled = [(i, x.data) for i, x in enumerate(inputs) if np.size(x.data)]
    return ", ".join(f"input {i} in [{float(np.min(a)):.4g}, {float(np.max(a)):.4g}]" for i, a in filled)


def _place(vjp: Callable) -> str:
    path = current_path()
    return f"{op_name(vjp)!r} in module {path!r}" if path else f"{op_name(vjp)!r}"


# ---- who wrote into an array that backward still needs? --------------------------------------------------------------


@contextmanager
def debug_arrays() -> Iterator[None]:
    """`with debug_arrays():` the inputs and results of recorded ops cannot be written to until their part of the graph
    is gone.

    A write in place that would falsify a gradient raises NumPy's "assignment destination is read-only" at the guilty
    line. Arrays are unlocked as backward() frees the graph, or at the end of the block. Views made before the op ran
    cannot be locked; CuPy has no such lock.
    """
    if _locks.now is not None:  # nested: the outer block has them all
        yield
        return
    _locks.now = _Locks()
    try:
        with op_hook(_locks.now.watch):
            yield
    finally:
        _locks.now.release_all()
        _locks.now = None


class _Locks:
    """Which arrays are locked, by the array that owns the memory: [holds, owner, the arrays to unlock, bases before
    views].
    """

    def __init__(self) -> None:
        self.held: dict[int, list] = {}

    def watch(self, data: Any, inputs: Sequence[Tensor], vjp: Callable) -> Callable:
        if not mode.recording or not any(x.requires_grad for x in inputs):
            return vjp
        hold = _Hold(self, [a for a in (data, *(x.data for x in inputs)) if isinstance(a, np.ndarray)])

        def held(g: Any, out: Any, hold: _Hold = hold) -> tuple:  # locked as long as the rule lives
            return vjp(g, out)

        held.__qualname__ = vjp.__qualname__
        return held

    def lock(self, array: np.ndarray) -> int:
        """Lock an array with all that it is a view of; returns the key of its owner."""
        chain = [array]
        while isinstance(chain[-1].base, np.ndarray):
            chain.append(chain[-1].base)
        owner = chain[-1]
        entry = self.held.setdefault(id(owner), [0, owner, []])  # it holds the owner, so that no other gets this id
        entry[0] += 1
        entry[2] += [a for a in reversed(chain) if a.flags.writeable]
        for a in chain:
            a.flags.writeable = False
        return id(owner)

    def release(self, key: int) -> None:
        if key not in self.held:  # the block has ended
            return
        self.held[key][0] -= 1
        if self.held[key][0] == 0:
            _unlock(self.held.pop(key)[2])

    def release_all(self) -> None:
        while self.held:
            _unlock(self.held.popitem()[1][2])


class _Hold:
    """Arrays locked from now until this is garbage."""

    def __init__(self, locks: _Locks, arrays: Sequence[np.ndarray]):
        self.locks, self.keys = locks, [locks.lock(a) for a in arrays]

    def __del__(self) -> None:
        for key in self.keys:
            self.locks.release(key)


class _Current(threading.local):
    now: _Locks | None = None


_locks = _Current()


def _unlock(arrays: Sequence[np.ndarray]) -> None:
    for a in arrays:  # bases first: a view cannot be writable before its base
        a.flags.writeable = True
