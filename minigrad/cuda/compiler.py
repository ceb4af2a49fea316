"""kernels.cu compiled when first needed, once for each dtype (CuPy keeps the result on disk), and started on arrays."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from minigrad.backend import array_module

SOURCE = Path(__file__).with_name("kernels.cu")
REALS = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}
NULL = np.uintp(0)  # in the place of an array that is not there
MOST = 512  # threads of a block
BLOCKS = 4096  # at most, where they stride through all elements: several for each multiprocessor there is


def has_kernels(a: Any) -> bool:
    """Whether the kernels are for arrays like this one."""
    return array_module(a) is not np and a.dtype in REALS


def in_order(first: Any, *others: Any) -> tuple:
    """The arrays in C order and the dtype of the first, as kernels take them; None stays None."""
    xp = array_module(first)
    return tuple(None if a is None else xp.ascontiguousarray(a, first.dtype) for a in (first, *others))


def start_rows(name: str, a: Any, *arguments: Any) -> None:
    """Start a kernel on the array (N, C) and the rest of its arguments, with a block for each row."""
    N, C = a.shape
    threads = min(MOST, max(32, 1 << (C // 4).bit_length()))
    if N:
        _kernel(array_module(a), name, a.dtype)((N,), (threads,), (a, *arguments))


def start_elements(name: str, a: Any, *arguments: Any) -> None:
    """Start a kernel on the array, of any shape, and the rest of its arguments; it strides through all elements."""
    if a.size:
        _kernel(array_module(a), name, a.dtype)((min(BLOCKS, -(-a.size // 256)),), (256,), (a, *arguments))


@cache
def _kernel(cupy: ModuleType, name: str, dtype: Any) -> Any:
    return _module(cupy, dtype).get_function(name)


@cache
def _module(cupy: ModuleType, dtype: Any) -> Any:
    return cupy.RawModule(code=SOURCE.read_text("utf-8"), options=options(dtype))


def options(dtype: Any) -> tuple[str, ...]:
    """What the compiler is told."""
    lowest = repr(float(np.finfo(dtype).min)) + ("f" if dtype.itemsize == 4 else "")
    return "-std=c++17", f"-Dreal={REALS[dtype]}", f"-DLOWEST={lowest}"
