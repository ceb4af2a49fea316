"""Which array library an array belongs to, where it lives, and what dtype it gets.

The engine computes on NumPy arrays (CPU) or CuPy arrays (GPU). Ufuncs and array functions called through `np` dispatch
to CuPy by themselves (NEP 13, NEP 18); creation functions and generalised ufuncs such as `matmul` do not, and go
through `array_module`. CuPy is imported only when somebody asks for a GPU.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

Array = Any  # a NumPy or a CuPy array (CuPy cannot be imported for a precise type where there is no GPU)

DEFAULT_FLOAT = np.dtype(np.float32)


def array_module(array: Any) -> ModuleType:
    """`numpy` for NumPy arrays and Python numbers, `cupy` for CuPy arrays."""
    if isinstance(array, (np.ndarray, np.generic, int, float)):
        return np
    return _cupy()


def device_of(array: Any) -> str:
    """`"cpu"`, or `"cuda:N"` for an array on GPU number N."""
    return "cpu" if array_module(array) is np else f"cuda:{array.device.id}"


def to_device(array: Any, device: str) -> Any:
    """The array on `device` ("cpu", "cuda" or "cuda:N"); itself if it is there already."""
    here = device_of(array)
    if device == here or (device == "cuda" and here != "cpu"):
        return array
    if device == "cpu":
        return array.get()
    cupy = _cupy()
    with cupy.cuda.Device(_device_number(device)):
        return cupy.asarray(array)


def pick_device(wish: str = "auto") -> str:
    """Turn "auto", "cpu", "cuda" or "cuda:N" into a device that is there; "auto" takes a GPU when there is one."""
    if wish == "cpu":
        return wish
    if wish == "auto":
        return "cuda" if _gpu_count() else "cpu"
    number = _device_number(wish)
    if number >= _gpu_count():
        raise RuntimeError(
            f"device {wish!r} was asked for but {_gpu_count()} GPUs are usable here; install CuPy for your "
            f"CUDA version (for example `pip install cupy-cuda13x`) or use device 'cpu'"
        )
    return wish


def as_array(data: Any, dtype: Any = None) -> Any:
    """`data` as an array. Arrays and NumPy scalars keep their dtype; Python floats and lists of them become float32."""
    if not isinstance(data, (np.ndarray, np.generic)) and not hasattr(data, "__cuda_array_interface__"):
        try:
            data = np.asarray(data)
        except ValueError:
            raise ValueError("nested lists must be rectangular to become a tensor") from None
        if dtype is None and data.dtype == np.float64:
            dtype = DEFAULT_FLOAT
    if dtype is not None and data.dtype != dtype:
        data = data.astype(dtype)
    if data.dtype == object:
        raise TypeError("a tensor holds numbers; this is an array of Python objects")
    return ensure_array(data)


def ensure_array(result: Any) -> Any:
    """A result of NumPy as an array: NumPy makes scalars out of arrays without axes, `np.array(2.0) * 2` for
    instance.
    """
    return np.asarray(result) if isinstance(result, np.generic) else result


def is_float(dtype: Any) -> bool:
    """Whether values of this dtype can carry a gradient (bfloat16, which NumPy files under kind 'V', included)."""
    return dtype.kind == "f" or dtype.name == "bfloat16"


def _device_number(device: str) -> int:
    name, _, number = device.partition(":")
    if name != "cuda" or not (number or "0").isdigit():
        raise ValueError(f"unknown device {device!r}; use 'cpu', 'cuda', 'cuda:N' or 'auto'")
    return int(number or 0)


def _cupy() -> ModuleType:
    import cupy

    return cupy


def _gpu_count() -> int:
    """How many GPUs CuPy can use; 0 where CuPy, the driver or the device is missing."""
    try:
        return int(_cupy().cuda.runtime.getDeviceCount())
    except Exception:  # CuPy raises errors of its own, which cannot be named without importing it
        return 0
