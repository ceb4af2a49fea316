"""Launches: the operations that the host starts on the GPU. Each is counted, and a captured stream keeps it.

`launches` has the name of each, in order. CuPy starts more than one kernel for some functions (`std`, a scatter-add, a
sum over a long axis), which count as one here. Views and empty arrays start nothing, so they do not count.

While a stream is captured (cuda.py), nothing runs on a GPU: every launch goes into a graph, which can be started later,
any number of times. The stand-in has to compute once even so, because Python needs the shapes of results. At the end of
the capture it undoes that: what was written gets its old numbers back, and new arrays are filled with garbage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tests.fake_cupy import traffic

launches: list[str] = []
_graph: Recording | None = None


class Recording:
    """The launches of a captured stream, in order."""

    def __init__(self) -> None:
        self.work: list[Callable[[], None]] = []
        self._old: list[tuple[np.ndarray, np.ndarray]] = []
        self._new: list[np.ndarray] = []

    def save(self, written: Iterable[np.ndarray]) -> None:
        """Keep the numbers of arrays that are going to be written."""
        self._old += [(a, a.copy()) for a in written]

    def add(self, compute: Callable[[], Any], results: list[np.ndarray]) -> None:
        """One launch; `results` are the new arrays that it makes."""

        def again() -> None:
            # Copied only when all are computed: `compute` may read what it has made, never what it makes now.
            for old, new in zip(results, _arrays(compute()), strict=False):
                old[...] = new

        self.work.append(again)
        self._new += results

    def finish(self) -> None:
        for a, old in reversed(self._old):
            a[...] = old
        for a in self._new:
            _garbage(a)

    def keep(self, a: np.ndarray) -> None:
        self._new.append(a)


def launch(name: str, compute: Callable[[], Any], *, writes: Iterable[np.ndarray] = ()) -> Any:
    """The result of `compute`: NumPy's arrays, new ones, unless `writes` are the arrays that it writes."""
    launches.append(name)
    writes = list(writes)
    if _graph is None:
        return compute()
    _graph.save(writes)
    result = compute()
    if not isinstance(result, (tuple, list)) and result is not None:
        result = np.asarray(result)  # a NumPy scalar could not be written again
    _graph.add(compute, [] if writes else _arrays(result))
    return result


def launch_unless_view(name: str, compute: Callable[[], Any], inputs: Iterable[Any]) -> Any:
    """`launch` for a function that may give a view of one of its inputs: that starts nothing."""
    result = compute()
    first = next(iter(_arrays(result)), None)
    if first is None or any(isinstance(a, np.ndarray) and np.may_share_memory(first, a) for a in inputs):
        return result
    results = [result]  # what was computed is the first result
    return launch(name, lambda: results.pop() if results else compute())


def begin() -> None:
    """From now on, launches are recorded."""
    global _graph
    _graph = Recording()
    traffic.set_capturing(True)


def end() -> Recording:
    """No longer; returns the recorded launches. Nothing of them has happened."""
    global _graph
    found, _graph = _graph, None
    traffic.set_capturing(False)
    assert found is not None
    found.finish()
    return found


def new_memory(a: np.ndarray) -> np.ndarray:
    """An empty array: there is garbage in it. Its memory belongs to the graph, if a stream is captured."""
    if _graph is not None:
        _graph.keep(a)
    _garbage(a)
    return a


def refuse_in_capture(what: str) -> None:
    """Raise the error that CuPy has for calls of cuBLAS while a stream is captured (its issue 6290)."""
    if _graph is not None:
        raise NotImplementedError(f"calling cuBLAS API during stream capture is currently unsupported: {what}")


def _garbage(a: np.ndarray) -> None:
    """Fill the array with NaN, or the like for other dtypes: whoever reads it will notice."""
    if a.flags.c_contiguous and a.size:
        a.reshape(-1).view(np.uint8).fill(0xFF)


def _arrays(result: Any) -> list[np.ndarray]:
    if isinstance(result, (tuple, list)):
        return [a for item in result for a in _arrays(item)]
    return [np.asarray(result)] if isinstance(result, (np.ndarray, np.generic)) else []
