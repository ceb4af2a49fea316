"""Functions that differ from NumPy's by more than a signature: conversions, selection, products, and what syncs."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from tests.fake_cupy.array import checked_dtype, cupy, ndarray, unwrap, wrap
from tests.fake_cupy.launches import launch, launch_unless_view, refuse_in_capture
from tests.fake_cupy.traffic import sync, upload
from tests.fake_cupy.ufuncs import operand, output


def offer(function: Callable) -> Callable:
    """A decorator: put the function into the module `cupy`."""
    setattr(cupy, function.__name__, function)
    return function


def method(function: Callable) -> Callable:
    """A decorator: the same, and make it a method of `cupy.ndarray`, too."""
    setattr(ndarray, function.__name__, function)
    return offer(function)


# --- conversions ------------------------------------------------------------------------------------------------------


@offer
def array(obj: Any, dtype: Any = None, copy: bool = True, order: str = "K", ndmin: int = 0) -> ndarray:
    """From the host, from a device array (copied), or from a list of device arrays, which are stacked."""
    if isinstance(obj, (list, tuple)) and any(isinstance(x, ndarray) for x in obj):
        obj = cupy.stack(obj)
    if isinstance(obj, ndarray):
        host = unwrap(obj)
    else:
        upload("a host array made a device array")
        host = np.asarray(obj)
    dtype = checked_dtype(host.dtype if dtype is None else dtype)
    if not isinstance(obj, ndarray):
        return wrap(np.array(host, dtype, copy=True, order=order, ndmin=ndmin))  # type: ignore[call-overload]
    make = lambda: np.array(host, dtype, copy=True if copy else None, order=order, ndmin=ndmin)  # type: ignore[call-overload]
    return wrap(launch_unless_view("copy", make, [host]))


@offer
def asarray(a: Any, dtype: Any = None, order: Any = None, *, copy: bool | None = None) -> ndarray:
    if isinstance(a, ndarray) and dtype in (None, a.dtype) and order is None and not copy:
        return a
    return array(a, dtype, copy=bool(copy), order=order or "K")


@offer
def ascontiguousarray(a: Any, dtype: Any = None) -> ndarray:
    return asarray(a, dtype, order="C")


@offer
def asnumpy(a: Any) -> np.ndarray:
    return a.get() if isinstance(a, ndarray) else np.asarray(a)


@offer
def get_array_module(*args: Any) -> ModuleType:
    return cupy if any(isinstance(x, ndarray) for x in args) else np


@offer
def broadcast_arrays(*args: ndarray) -> tuple:
    return tuple(wrap(x) for x in np.broadcast_arrays(*map(unwrap, args)))


# --- selection --------------------------------------------------------------------------------------------------------


@offer
def where(condition: Any, x: Any = None, y: Any = None) -> Any:
    if x is None and y is None:
        return nonzero(condition)
    if x is None or y is None:
        raise ValueError("Must provide both 'x' and 'y' or neither.")
    condition = condition if isinstance(condition, np.generic) else _device(condition)
    host, x, y = unwrap(condition), operand(x), operand(y)
    return wrap(launch("where", lambda: np.where(host.astype(bool), x, y)))


@method
def take(a: ndarray, indices: Any, axis: int | None = None, out: ndarray | None = None) -> ndarray:
    if not isinstance(indices, (ndarray, int, np.integer)):
        upload("a host array or list as indices of take")
    host_indices = unwrap(indices) if isinstance(indices, ndarray) else np.asarray(indices, dtype=int)
    host = unwrap(_device(a))
    work = lambda: np.take(host, host_indices, axis=axis, mode="wrap")
    if out is None:
        return wrap(launch("take", work))
    launch("take", lambda: output(out).__setitem__(..., work()), writes=[output(out)])
    return out


@offer
def take_along_axis(a: ndarray, indices: ndarray, axis: int | None) -> ndarray:
    _whole_numbers(indices)
    a, axis = (a.ravel(), 0) if axis is None else (a, axis)
    host, chosen, length = unwrap(_device(a)), unwrap(indices), max(a.shape[axis], 1)
    return wrap(launch("take_along_axis", lambda: np.take_along_axis(host, chosen % length, axis)))


@offer
def put_along_axis(arr: ndarray, indices: ndarray, values: Any, axis: int) -> None:
    _whole_numbers(indices)
    host, chosen, length, values = unwrap(_device(arr)), unwrap(indices), max(arr.shape[axis], 1), operand(values)
    work = lambda: np.put_along_axis(host, chosen % length, values, axis)
    launch("put_along_axis", work, writes=[host])


@method
def repeat(a: ndarray, repeats: Any, axis: int | None = None) -> ndarray:
    if isinstance(repeats, np.ndarray):
        raise TypeError("'repeats' does not accept numpy.ndarray; convert with cupy.array() first")
    if isinstance(repeats, ndarray):
        sync("repeat with counts on the device")
    host, counts = unwrap(_device(a)), unwrap(repeats)
    return wrap(launch("repeat", lambda: np.repeat(host, counts, axis)))


# --- functions whose results have a shape that depends on values: the host waits for it -------------------------------


@method
def nonzero(a: ndarray) -> tuple:
    sync("nonzero")
    return wrap(np.nonzero(unwrap(_device(a))))


@offer
def argwhere(a: ndarray) -> ndarray:
    sync("argwhere")
    return wrap(np.argwhere(unwrap(_device(a))))


@offer
def flatnonzero(a: ndarray) -> ndarray:
    sync("flatnonzero")
    return wrap(np.flatnonzero(unwrap(_device(a))))


@offer
def unique(
    ar: ndarray,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: int | None = None,
) -> Any:
    sync("unique")
    return wrap(np.unique(unwrap(_device(ar)), return_index, return_inverse, return_counts, axis))


@offer
def bincount(x: ndarray, weights: ndarray | None = None, minlength: int | None = None) -> ndarray:
    sync("bincount")
    return wrap(np.bincount(unwrap(_device(x)), unwrap(weights), minlength or 0))


# --- comparison of whole arrays: the result is an array on the device -------------------------------------------------


@offer
def isclose(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> ndarray:
    x, y = operand(a), operand(b)
    return wrap(launch("isclose", lambda: np.isclose(x, y, rtol, atol, equal_nan)))


@offer
def allclose(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> ndarray:
    return isclose(a, b, rtol, atol, equal_nan).all()


@offer
def array_equal(a1: ndarray, a2: ndarray, equal_nan: bool = False) -> ndarray:
    x, y = unwrap(_device(a1)), unwrap(_device(a2))
    return wrap(launch("array_equal", lambda: np.bool_(np.array_equal(x, y, equal_nan))))


# --- products ---------------------------------------------------------------------------------------------------------


@offer
def matmul(a: ndarray, b: ndarray, *, out: ndarray | None = None, dtype: Any = None) -> ndarray:
    """`a @ b`. There is no kernel for bfloat16 with more than two dimensions."""
    refuse_in_capture("matmul")
    x, y = unwrap(_device(a)), unwrap(_device(b))
    if max(x.ndim, y.ndim) > 2 and "bfloat16" in (x.dtype.name, y.dtype.name):
        raise TypeError("cupy.matmul does not support bfloat16 arrays of more than two dimensions")
    for host in (x, y):  # with more than two dimensions, CuPy copies what is not in C order
        if max(x.ndim, y.ndim) > 2 and not host.flags.c_contiguous:
            launch("copy for matmul", host.copy)
    if out is None:
        result_dtype = np.result_type(x, y) if dtype is None else dtype
        return wrap(launch("matmul", lambda: np.matmul(x, y, dtype=dtype).astype(result_dtype, copy=False)))
    launch("matmul", lambda: np.matmul(x, y, out=output(out), dtype=dtype), writes=[output(out)])
    return out


@offer
def einsum(*operands: Any, dtype: Any = None, optimize: Any = False) -> ndarray:
    """Takes the subscripts as a string, then arrays, but not NumPy's `out`, `order` and `casting`."""
    refuse_in_capture("einsum")
    hosts = [unwrap(_device(x)) for x in operands[1:]]
    return wrap(launch("einsum", lambda: np.einsum(operands[0], *hosts, dtype=dtype, optimize=optimize)))


def _device(x: Any) -> ndarray:
    if isinstance(x, ndarray):
        return x
    raise TypeError(f"a cupy.ndarray is expected, not {type(x)}")


def _whole_numbers(indices: ndarray) -> None:
    if _device(indices).dtype.kind not in "iu":
        raise IndexError("`indices` must be an integer array")
