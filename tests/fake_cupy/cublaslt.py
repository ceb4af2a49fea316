"""cublasLt on the CPU: its functions with their arguments by ctypes, and products that NumPy computes.

It reads nothing but what cublasLt would read: descriptors, leading dimensions and addresses. So a wrong layout gives a
wrong product, or one that is refused. Like the library, it refuses an epilogue whose pointer was not given.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from minigrad.cuda import cublaslt
from tests.fake_cupy.launches import launch

NAMES = {0: "float32", 1: "float64", 2: "float16", 14: "bfloat16"}
INVALID = 7  # CUBLAS_STATUS_INVALID_VALUE
NO_EPILOGUE, BIAS, GELU_AUX, GELU_AUX_BIAS = 1, 4, 160, 164


class CublasLt:
    """The library. `refuses`: it has no algorithm for any product."""

    def __init__(self, *, refuses: bool = False):
        self.refuses, self.objects = refuses, [{}]  # type: ignore[var-annotated]

    def __getattr__(self, name: str) -> Any:
        if name.endswith("SetAttribute"):
            return self._set
        if name.startswith("cublasLt") and name.endswith("Create"):
            return lambda made, *arguments: self._create(made, arguments)
        raise AttributeError(name)

    def _create(self, made: Any, arguments: tuple) -> int:
        self.objects.append({f"argument {i}": x.value for i, x in enumerate(arguments)})
        made._obj.value = len(self.objects) - 1
        return 0

    def _set(self, descriptor: Any, attribute: Any, value: Any, size: Any) -> int:
        assert ctypes.sizeof(value._obj) == size.value
        self.objects[descriptor.value][attribute.value] = value._obj.value
        return 0

    def cublasLtMatmulAlgoGetHeuristic(self, *arguments: Any) -> int:
        # What the algorithm may take for granted: 256 bytes, unless the preference says less.
        preference, description = self.objects[arguments[6].value], self.objects[arguments[1].value]
        description["alignments"] = [preference.get(attribute, 256) for attribute in (5, 6, 7, 8)]
        arguments[-1]._obj.value = 0 if self.refuses else 1
        return 0

    def cublasLtMatmul(
        self, handle: Any, description: Any, alpha: Any, a: Any, la: Any, b: Any, lb: Any, beta: Any, c: Any, lc: Any,
        d: Any, ld: Any, *others: Any,
    ) -> int:  # fmt: skip
        options, beta = dict(self.objects[description.value]), beta._obj.value
        assert not any(x.value % n for x, n in zip((a, b, c, d), options["alignments"])), "misaligned address"
        A, B, C, D = (self._matrices(address, layout) for address, layout in ((a, la), (b, lb), (c, lc), (d, ld)))
        epilogue = options[7]
        has_bias, has_gelu = epilogue in (BIAS, GELU_AUX_BIAS), epilogue in (GELU_AUX, GELU_AUX_BIAS)
        if not (has_bias or has_gelu or epilogue == NO_EPILOGUE) or has_bias and not options.get(8):
            return INVALID
        if has_gelu and (not options.get(11) or options[11] % 16 or options.get(12, 0) % 8 or len(D) > 1):
            return INVALID
        if A.dtype != B.dtype or D.dtype not in (A.dtype, np.float32) or C.dtype != D.dtype:
            return INVALID
        left, right = (x.swapaxes(1, 2) if options[i] else x for x, i in ((A, 3), (B, 4)))
        if left.shape[2] != right.shape[1] or (left.shape[1], right.shape[2]) != D.shape[1:]:
            return INVALID

        def run() -> None:
            wide = np.float64 if D.dtype == np.float64 else np.float32
            z = left.astype(wide) @ right.astype(wide) + (beta * C.astype(wide) if beta else 0)
            if has_bias:
                z = z + _at(options[8], D.dtype, D.shape[1:2], D.strides[1:2]).astype(wide)[:, None]
            if has_gelu:
                before[...] = z
                z = z * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3))) / 2
            D[...] = z

        writes = [D]
        if has_gelu:  # laid out as D, with a leading dimension of its own
            size = D.dtype.itemsize
            before = _at(options[11], D.dtype, D.shape, (0, size, options[12] * size))
            writes.append(before)
        launch("cublasLtMatmul", run, writes=writes)
        return 0

    def _matrices(self, address: Any, layout: Any) -> np.ndarray:
        """(batch, rows, columns), as cublasLt counts them."""
        about = self.objects[layout.value]
        dtype, rows, columns, leading = (about[f"argument {i}"] for i in range(4))
        assert leading >= rows
        dtype = _dtype(dtype)
        shape = (about.get(5, 1), rows, columns)
        return _at(
            address.value, dtype, shape, (about.get(6, 0) * dtype.itemsize, dtype.itemsize, leading * dtype.itemsize)
        )


LIBRARY = CublasLt()
_real = cublaslt.library


def use_cublaslt(library: CublasLt | None) -> None:
    """From now on, minigrad calls this library; None: the real one."""
    cublaslt.library = _real if library is None else lambda: library
    for function in (cublaslt.plan, cublaslt._handle):  # which belong to the library before
        function.cache_clear()


def _dtype(number: int) -> np.dtype:
    name = NAMES[number]
    if name != "bfloat16":
        return np.dtype(name)
    import ml_dtypes

    return np.dtype(ml_dtypes.bfloat16)


def _at(address: int, dtype: np.dtype, shape: tuple, strides: tuple) -> np.ndarray:
    """The array that lies at an address."""
    size = sum((n - 1) * stride for n, stride in zip(shape, strides)) + dtype.itemsize
    memory = (ctypes.c_char * size).from_address(address)
    return np.ndarray(shape, dtype, memory, strides=strides)
