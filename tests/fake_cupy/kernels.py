"""`cupy.RawModule`: CUDA kernels, compiled for the CPU by its C++ compiler with cuda_on_cpu.h in front.

Blocks run one after the other. A block has a single thread here, whatever number was asked for, so a kernel must be
correct with any number of threads, and barriers and shuffles are only compiled. But kernels for tensor cores, which the
threads of a warp use together, run with all their threads and barriers (cuda_threads_on_cpu.h), a hundred times slower.
Without a C++ compiler the test is skipped.

This is stricter than CuPy, which passes on whatever it is given: arrays must be in C order, and numbers must be NumPy
scalars, whose width is known.
"""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fake_cupy.array import cupy, ndarray
from tests.fake_cupy.launches import launch

HALF, PRELUDE, PRELUDE_OF_THREADS = (
    Path(__file__).with_name(f"cuda_{name}.h").read_text() for name in ("half_on_cpu", "on_cpu", "threads_on_cpu")
)
C_TYPES = {
    "int32": ctypes.c_int,
    "int64": ctypes.c_longlong,
    "float32": ctypes.c_float,
    "float64": ctypes.c_double,
    "uint64": ctypes.c_void_p,
}


class RawModule:
    """The kernels in `code`, which is CUDA C++; `options` are those of the compiler."""

    with_all_threads = False  # a test may want them of all kernels

    def __init__(self, *, code: str, options: Sequence[str] = ()):
        self._with_threads = self.with_all_threads or "multiply_add(" in code  # of tensor cores
        self._library = library(code, tuple(options), with_threads=self._with_threads)

    def get_function(self, name: str) -> RawKernel:
        return RawKernel(self._library, name, with_threads=self._with_threads)


class RawKernel:
    """A kernel: `kernel((blocks,), (threads,), arguments)`. With threads, blocks may have three axes."""

    def __init__(self, library: ctypes.CDLL, name: str, *, with_threads: bool):
        self._library, self.name, self._with_threads = library, name, with_threads
        self._function = getattr(library, f"on_threads_{name}" if with_threads else name)

    def __call__(self, grid: tuple[int, ...], block: tuple[int, ...], arguments: Sequence[Any]) -> None:
        if not all(n > 0 for n in (*grid, *block)) or np.prod(block) > 1024:
            raise ValueError(f"{self.name} cannot be started with {grid} blocks of {block} threads")
        converted = [self._argument(x) for x in arguments]
        arrays = [x._host for x in arguments if isinstance(x, ndarray)]  # which of them it writes is not known

        def run() -> None:
            if self._with_threads:
                self._library.set_launch(*(*grid, 1, 1)[:3], block[0])
                return self._function(*converted)
            for number in range(grid[0]):
                self._library.set_block(number, grid[0])
                self._function(*converted)

        launch(self.name, run, writes=arrays or [np.empty(0)])

    def _argument(self, x: Any) -> Any:
        if isinstance(x, ndarray):
            if not x._host.flags.c_contiguous:
                layout = f"shape {x.shape} and strides {x.strides}"
                raise ValueError(f"{self.name} would read an array of {layout} as if it were in C order")
            return ctypes.c_void_p(x._host.ctypes.data)
        if not isinstance(x, np.generic) or x.dtype.name not in C_TYPES:
            expected = "device arrays and NumPy scalars of the width that it expects"
            raise TypeError(f"{self.name} was given {x!r}; a kernel takes {expected}")
        return C_TYPES[x.dtype.name](x.item())


@cache
def library(code: str, options: tuple[str, ...], *, with_threads: bool) -> ctypes.CDLL:
    """The compiled code."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("needs a C++ compiler, to run CUDA kernels on the CPU")
    with tempfile.TemporaryDirectory() as folder:
        source, built = Path(folder) / "kernels.cpp", Path(folder) / "kernels.so"
        source.write_text(HALF + (PRELUDE_OF_THREADS + code + wrappers(code) if with_threads else PRELUDE + code))
        subprocess.run([compiler, *options, "-O1", "-fPIC", "-shared", "-o", built, source], check=True)
        return ctypes.CDLL(str(built))


def wrappers(code: str) -> str:
    """For each kernel a function that starts it in all threads of all blocks."""
    code = re.sub(r"#define (?:.*\\\n)*.*\n", "", code)  # what is a macro is no kernel yet
    kernels = re.findall(r"__global__ void (\w+)\((.*?)\)", code, re.DOTALL)
    return "".join(
        f'extern "C" void on_threads_{name}({parameters}) {{ on_threads([=] {{ {name}({_names(parameters)}); }}); }}\n'
        for name, parameters in kernels
    )


def _names(parameters: str) -> str:
    return ", ".join(re.findall(r"(\w+)(?:,|$)", parameters))


cupy.__dict__.update(RawModule=RawModule, RawKernel=RawKernel)
