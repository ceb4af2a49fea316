"""Arrays of NumPy (CPU) and CuPy (GPU): the library, the device and the dtype of an array.

The operations are written once for both. Ufuncs and array functions that are called as `np.exp` or `np.concatenate`
pass a CuPy array on to CuPy by themselves (NEP 13, NEP 18). Functions that create arrays cannot do that, because no
array is passed to them; they are called as `array_module(x).zeros(...)`. CuPy is imported only when a GPU is asked for.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

Array = Any  # a NumPy or a CuPy array; a more precise type would need CuPy, which most machines do not have

DEFAULT_FLOAT = np.dtype(np.float32)
MASKED_ARRAY = "a tensor cannot hold a masked array; fill it, as in a.filled(0), and use its mask with where"


def array_module(array: Array) -> ModuleType:
    """`numpy` for NumPy arrays and Python numbers, `cupy` for CuPy arrays."""
    if isinstance(array, (np.ndarray, np.generic, int, float)):
        return np
    return cupy_module()


def device_of(array: Array) -> str:
    """The device of the array: "cpu", or "cuda:N" for GPU number N."""
    return "cpu" if array_module(array) is np else f"cuda:{array.device.id}"


def to_device(array: Array, device: str) -> Array:
    """The array on `device` ("cpu", "cuda" or "cuda:N"); the array itself if it is there already."""
    before = device_of(array)
    if device == before or (device == "cuda" and before != "cpu"):  # "cuda" means any GPU
        return array
    if device == "cpu":
        return array.get()
    cupy = cupy_module()
    with cupy.cuda.Device(_device_number(device)):
        return cupy.asarray(array)


def pick_device(requested: str = "auto") -> str:
    """The device to use for "auto", "cpu", "cuda" or "cuda:N"; "auto" is a GPU where there is one.

    Raises RuntimeError if the requested GPU is not there.
    """
    if requested == "cpu":
        return requested
    if requested == "auto":
        return "cuda" if _gpu_count() else "cpu"
    number = _device_number(requested)
    if number >= _gpu_count():
        raise RuntimeError(
            f"device {requested!r} was asked for but {_gpu_count()} GPUs are usable here; install CuPy for your "
            f"CUDA version (for example `pip install cupy-cuda13x`) or use device 'cpu'"
        )
    return requested


def as_array(data: Any, dtype: Any = None) -> Array:
    """`data`, an array, a number or a nested list, as an array; converted to `dtype` if that is given.

    Arrays and NumPy scalars keep their dtype; Python floats and lists of them become float32. Raises TypeError for a
    masked array.
    """
    # Arrays of CuPy are recognised by an attribute, without importing CuPy.
    if type(data) is not np.ndarray and not hasattr(data, "__cuda_array_interface__"):
        has_dtype = hasattr(data, "dtype")
        data = _numpy_array(data)
        if dtype is None and data.dtype == np.float64 and not has_dtype:
            dtype = DEFAULT_FLOAT
    return data if dtype is None or data.dtype == dtype else converted(data, dtype)


def _numpy_array(data: Any) -> np.ndarray:
    """Numbers, nested lists and arrays of a subclass as an array whose operators are those of np.ndarray."""
    if isinstance(data, np.ndarray):
        if hasattr(data, "mask"):
            raise TypeError(MASKED_ARRAY)
        # A subclass with a priority may have other operators. For np.matrix, `*` is the product of matrices.
        return data if data.__array_priority__ <= 0 else np.asarray(data)
    try:
        return np.asarray(data)
    except ValueError:
        raise ValueError("nested lists must be rectangular to become a tensor") from None


def converted(array: Array, dtype: Any) -> Array:
    """The array in another dtype. Raises TypeError if that is no dtype of a tensor."""
    try:
        dtype = np.dtype(dtype)
    except TypeError:
        raise TypeError(f"{str(dtype)[:50]!r} is no dtype; give one such as np.float32 or 'float32'") from None
    for d in (array.dtype, dtype):
        if not is_number(d):
            raise TypeError(f"a tensor holds booleans, integers or floating-point numbers, not {d}")
    return array.astype(dtype, copy=False)


def ensure_array(result: Any) -> Array:
    """A NumPy scalar as an array, anything else unchanged. NumPy operations turn 0-d arrays into scalars."""
    # For instance, np.array(2.0) * 2 is np.float64(4.0).
    return np.asarray(result) if isinstance(result, np.generic) else result


def python_number(x: Any) -> Any:
    """A NumPy scalar as a Python number, which does not promote the array beside it; anything else unchanged."""
    if not isinstance(x, np.generic):
        return x
    return float(x) if isinstance(x, np.floating) else x.item()  # `item()` does not convert a longdouble


def is_float(dtype: np.dtype) -> bool:
    """Whether values of this dtype can carry a gradient."""
    return dtype.kind == "f" or is_bfloat16(dtype)


def is_bfloat16(dtype: np.dtype) -> bool:
    """Whether this is bfloat16 of the package ml_dtypes, which is not a dtype of NumPy's own and has the kind "V"."""
    return dtype.char == "E"  # `dtype.name` would be clearer, but takes many times as long


def at_least_float32(x: Any) -> Any:
    """An array or a Tensor in a dtype to compute in: float16 and bfloat16 become float32, others stay (no copy)."""
    return x.astype(np.float32) if x.dtype.itemsize < 4 and is_float(x.dtype) else x


def in_dtype_of(a: Array, x: Any) -> Array:
    """`a` in the dtype of the array or Tensor `x` if that is a float: what was computed in float32 for float16."""
    return a.astype(x.dtype) if a.dtype != x.dtype and is_float(x.dtype) else a


def is_number(dtype: np.dtype) -> bool:
    """Whether a tensor can hold values of this dtype. Complex numbers have no gradient here."""
    # Dtypes that are not NumPy's own, such as bfloat16, have the kind "V"; so have records, whose type is np.void.
    return dtype.kind in "biuf" or dtype.kind == "V" and dtype.type is not np.void


def _device_number(device: str) -> int:
    """The N of "cuda:N"; 0 for "cuda"."""
    name, _, number = device.partition(":")
    if name != "cuda" or not (number or "0").isdigit():
        raise ValueError(f"unknown device {device!r}; use 'cpu', 'cuda', 'cuda:N' or 'auto'")
    return int(number or 0)


def cupy_module() -> ModuleType:
    """CuPy. Raises ImportError where it is missing."""
    import cupy  # here and not at the top: most machines have no CuPy

    return cupy


def _gpu_count() -> int:
    """How many GPUs CuPy can use; 0 where CuPy, the driver or the device is missing."""
    try:
        return int(cupy_module().cuda.runtime.getDeviceCount())
    except Exception:  # CuPy has error classes of its own, which can be named only where CuPy can be imported
        return 0
