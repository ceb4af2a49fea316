"""Compiles kernels.cu when a kernel is first used, once for each dtype, and launches kernels on arrays.

CuPy keeps compiled kernels on disk, so a second process need not compile again.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from minigrad.backend import Array, array_module

SOURCES = [Path(__file__).with_name(name) for name in ("half_types.cu", "kernels.cu")]
# What `real`, the type of all arithmetic, stands for in kernels.cu, for arrays of these dtypes.
REALS = {"float32": "float", "float64": "double", "float16": "float", "bfloat16": "float"}
NULL = np.uintp(0)  # the null pointer: the argument for an optional array that is not given

MAX_THREADS_OF_ROW = 512
THREADS_OF_ELEMENTS = 256  # in a block, of a launch over all elements
MAX_BLOCKS = 4096  # of such a launch: several for each multiprocessor of the largest GPUs


def has_kernels(array: Array) -> bool:
    """Whether there are kernels for arrays like this one: on a GPU, in float32, float64 or a half type.

    Half types only where their kernels compile; if not, a warning says so once.
    """
    if array_module(array) is np or array.dtype.name not in REALS:
        return False
    return array.dtype.itemsize > 2 or _compiles(array_module(array), array.dtype)


def has_real_kernels(array: Array) -> bool:
    """The same for what has kernels in float32 and float64 only: scores of attention, and updates of parameters."""
    return array.dtype.itemsize > 2 and has_kernels(array)


def real_of(dtype: np.dtype) -> np.dtype:
    """The dtype of the arithmetic for arrays of this dtype."""
    return np.dtype(np.float32) if dtype.itemsize == 2 else dtype


def c_contiguous(first: Array, *others: Array | None) -> tuple:
    """The arrays in C order and in the dtype of the first, which is how kernels read them. None stays None."""
    xp = array_module(first)
    return tuple(None if a is None else xp.ascontiguousarray(a, first.dtype) for a in (first, *others))


def launch_rows(name: str, a: Array, *arguments: Any) -> None:
    """Launch a kernel on `a` (N, C) and the other arguments, with one block of threads for each row."""
    N, C = a.shape
    # A power of two from 32 to 512, so that a thread has about four elements of a short row.
    threads = min(MAX_THREADS_OF_ROW, max(32, 1 << (C // 4).bit_length()))
    if N:  # CUDA refuses a launch with no blocks
        kernel = _kernel(array_module(a), name, a.dtype)
        kernel((N,), (threads,), (a, *arguments))  # blocks, threads in a block, arguments


def launch_elements(name: str, a: Array, *arguments: Any) -> None:
    """Launch a kernel that goes through all elements of `a` (any shape), and give it the other arguments too."""
    if a.size:
        kernel = _kernel(array_module(a), name, a.dtype)
        kernel((blocks_of_elements(a),), (THREADS_OF_ELEMENTS,), (a, *arguments))


def launch_block(name: str, dtype: Any, a: Array, *arguments: Any) -> None:
    """Launch a kernel of the kind for `dtype` with a single block of threads."""
    _kernel(array_module(a), name, np.dtype(dtype))((1,), (THREADS_OF_ELEMENTS,), (a, *arguments))


def blocks_of_elements(a: Array) -> int:
    """How many blocks `launch_elements` starts."""
    return min(MAX_BLOCKS, -(-a.size // THREADS_OF_ELEMENTS))


@cache
def _kernel(cupy: ModuleType, name: str, dtype: Any) -> Any:
    return _module(cupy, dtype).get_function(name)


@cache
def _module(cupy: ModuleType, dtype: Any) -> Any:
    return cupy.RawModule(code=source(dtype), options=compiler_options(dtype))


@cache
def _compiles(cupy: ModuleType, dtype: Any) -> bool:
    failure = f"there are no kernels of {dtype.name}, because kernels.cu does not compile"
    return compiled(lambda: _kernel(cupy, "norm_forward", dtype), failure) is not None


def compiled(compile_kernels: Callable[[], Any], failure: str) -> Any:
    """What the function returns. If it cannot compile: None, after a warning, `failure` and the reason."""
    try:
        return compile_kernels()
    except Exception as error:  # CuPy's own classes, and those of the driver
        reason = f"{error}".partition("\n")[0]
        warnings.warn(f"{failure}: {reason}", RuntimeWarning, stacklevel=4)
        return None


def source(dtype: Any) -> str:
    """The code of all kernels for this dtype."""
    return "".join(path.read_text("utf-8") for path in (SOURCES if dtype.itemsize == 2 else SOURCES[1:]))


def compiler_options(dtype: Any) -> tuple[str, ...]:
    """The options of NVRTC, CUDA's run-time compiler, for kernels of this dtype."""
    real = REALS[dtype.name]
    lowest = repr(float(np.finfo(real_of(dtype)).min)) + ("f" if real == "float" else "")
    half = {"float16": ("-DHALF", "-DFLOAT16"), "bfloat16": ("-DHALF",)}.get(dtype.name, ())
    return "-std=c++17", f"-Dreal={real}", f"-DLOWEST={lowest}", *half
