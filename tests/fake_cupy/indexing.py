"""Indexing, where CuPy differs from NumPy, and what it costs.

An array of integers is taken modulo the length of its axis, so an index out of range silently means another element. A
boolean array makes the host wait, because the shape of the result depends on its values.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.fake_cupy.traffic import sync, upload


def host_index(array: Any, index: Any) -> tuple:
    """`index` into `array` as a tuple of what NumPy takes; `wrapped_around` gives it its meaning in CuPy."""
    return tuple(_host_part(type(array), part) for part in (index if isinstance(index, tuple) else (index,)))


def wrapped_around(array: np.ndarray, index: tuple) -> tuple:
    """The index with arrays of integers modulo the length of their axes, as they are now."""
    parts = list(index)
    axes = [_axes_indexed(part) for part in parts]
    axis = 0
    for k, part in enumerate(parts):
        if part is Ellipsis:
            axis += array.ndim - sum(axes)
        elif isinstance(part, np.ndarray) and part.dtype != bool and axis < array.ndim:
            parts[k] = part % max(array.shape[axis], 1)
        axis += axes[k]
    return tuple(parts)


def _host_part(device_array: type, part: Any) -> Any:
    if part is None or part is Ellipsis or isinstance(part, (int, np.integer)) and not isinstance(part, bool):
        return part
    if isinstance(part, slice):
        return slice(*(int(x) if isinstance(x, device_array) else x for x in (part.start, part.stop, part.step)))
    if isinstance(part, device_array):
        part = part._host  # type: ignore[attr-defined]
    else:
        upload("a host array or list as an index")
        part = np.asarray(part, dtype=int if isinstance(part, (list, tuple)) and len(part) == 0 else None)
    if part.dtype.kind not in "biu":
        raise IndexError(f"arrays used as indices must be of integer or boolean type. (actual: {part.dtype.type})")
    if part.dtype == bool:
        sync("a boolean index")
    return part


def _axes_indexed(part: Any) -> int:
    if part is None or part is Ellipsis:
        return 0
    return part.ndim if isinstance(part, np.ndarray) and part.dtype == bool else 1
