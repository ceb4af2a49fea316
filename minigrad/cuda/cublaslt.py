"""cublasLt, NVIDIA's library of matrix products, called by ctypes: plans for products, and the product itself.

CuPy has products too. These are here for what CuPy's cannot do: add a bias and apply gelu before the result is written,
write the product of half types in float32, read a transposed batch where it is, and be captured in a CUDA graph (CuPy
refuses its cuBLAS there). All is done with a handle of our own. Inputs may be float64, float32, float16 or bfloat16;
the last three are added up in float32. The result has the dtype of the inputs, or float32.

cublasLt counts in columns: what is the array a (r, c) in C order to us is a matrix of c rows and r columns to it. So it
is asked for dᵀ = bᵀ aᵀ. The reference is https://docs.nvidia.com/cuda/cublas/#using-the-cublaslt-api; the numbers below
are those of cublasLt.h, library_types.h and cublas_api.h.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from ctypes import byref, c_double, c_float, c_int, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p, sizeof
from functools import cache
from typing import Any, NamedTuple

DATA_TYPES = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 14}
COMPUTE_32F, COMPUTE_64F = 68, 70
TRANSPOSE_A, TRANSPOSE_B, EPILOGUE, BIAS_POINTER, BIAS_TYPE = 3, 4, 7, 8, 26  # attributes of a product
AUX_POINTER, AUX_LEADING = 11, 12  # of the second result of gelu
BATCH_COUNT, BATCH_STRIDE = 5, 6  # attributes of a layout
MAX_WORKSPACE, ALIGNMENTS = 1, (5, 6, 7, 8)  # attributes of a preference; the latter for a, b, c and d
WORKSPACE = 32 << 20  # bytes: what NVIDIA recommends for Hopper

# What is done to a product before it is written: cublasLtEpilogue_t, whose numbers are also listed in
# https://docs.nvidia.com/cuda/nvmath-python/latest/bindings/generated/nvmath.bindings.cublasLt.Epilogue.html.
# GELU is the tanh form; GELU_AUX also writes what it is applied to, which the backward pass needs.
NO_EPILOGUE, BIAS, GELU_AUX = 1, 4, 160
AUX_MULTIPLE = 8  # the leading dimension of that second result must be a multiple of this


class Failed(RuntimeError):
    """cublasLt is missing, or has no way to compute a product."""


class Matrices(NamedTuple):
    """How an operand or result lies in memory: columns of `rows` numbers, each `leading` numbers after the last."""

    dtype: str
    rows: int
    columns: int
    leading: int
    batch: int = 1
    stride: int = 0  # numbers from one matrix of a batch to the next


class Product(NamedTuple):
    """d = op(a) op(b) and an epilogue, in cublasLt's order."""

    a: Matrices
    b: Matrices
    d: Matrices
    transpose_a: bool
    transpose_b: bool
    epilogue: int = NO_EPILOGUE
    alignments: tuple[int, ...] = (16, 16, 16)  # of the addresses of a, b and d, in bytes

    @property
    def has_bias(self) -> bool:
        """Whether one is added, a number for each row of d."""
        return bool(self.epilogue & BIAS)


def epilogue(*, bias: bool, gelu: bool) -> int:
    return (BIAS * bias | GELU_AUX * gelu) or NO_EPILOGUE


class _Algorithm(ctypes.Structure):
    _fields_ = [("data", c_uint64 * 8)]


class _Heuristic(ctypes.Structure):
    _fields_ = [
        ("algorithm", _Algorithm),
        ("workspace", c_size_t),
        ("state", c_int),
        ("waves", c_float),
        ("reserved", c_int * 4),
    ]


@cache
def library() -> Any:
    """cublasLt. Raises Failed where it is missing."""
    with suppress(ImportError):
        import cupy.cublas  # noqa: F401    loads the libraries of CUDA, also those that were installed by pip
    for version in (13, 12):
        with suppress(OSError):
            return ctypes.CDLL(f"libcublasLt.so.{version}")
    raise Failed("libcublasLt was not found")


def is_available() -> bool:
    try:
        library()
    except Failed:
        return False
    return True


def call(name: str, *arguments: Any) -> None:
    status = getattr(library(), name)(*arguments)
    if status:
        raise Failed(f"{name} returned {status}")


@cache
def _handle(device: int) -> c_void_p:
    return _created("cublasLtCreate")


def _created(name: str, *arguments: Any) -> c_void_p:
    made = c_void_p()
    call(name, byref(made), *arguments)
    return made


def _set(kind: str, descriptor: c_void_p, attribute: int, value: Any) -> None:
    call(f"cublasLt{kind}SetAttribute", descriptor, c_int(attribute), byref(value), c_size_t(sizeof(value)))


def _layout(m: Matrices) -> c_void_p:
    sizes = c_uint64(m.rows), c_uint64(m.columns), c_int64(m.leading)
    layout = _created("cublasLtMatrixLayoutCreate", c_int(DATA_TYPES[m.dtype]), *sizes)
    if m.batch > 1:
        _set("MatrixLayout", layout, BATCH_COUNT, c_int32(m.batch))
        _set("MatrixLayout", layout, BATCH_STRIDE, c_int64(m.stride))
    return layout


class Plan:
    """A product that cublasLt knows how to compute, for any arrays of these shapes. Raises Failed if it does not."""

    def __init__(self, product: Product, device: int):
        double = product.d.dtype == "float64"
        self.number = c_double if double else c_float  # the type of alpha and beta
        types = (COMPUTE_64F, DATA_TYPES["float64"]) if double else (COMPUTE_32F, DATA_TYPES["float32"])
        self.handle = _handle(device)
        self.description = _created("cublasLtMatmulDescCreate", *map(c_int, types))
        self._describe(TRANSPOSE_A, c_int32(product.transpose_a))
        self._describe(TRANSPOSE_B, c_int32(product.transpose_b))
        self._describe(EPILOGUE, c_int32(product.epilogue))
        self.layouts = [_layout(m) for m in (product.a, product.b, product.d)]
        if product.has_bias:
            self._describe(BIAS_TYPE, c_int32(DATA_TYPES[product.d.dtype]))
        if product.epilogue & GELU_AUX == GELU_AUX:
            if product.d.leading % AUX_MULTIPLE:
                raise Failed(f"gelu needs rows whose length is a multiple of {AUX_MULTIPLE}")
            self._describe(AUX_LEADING, c_int64(product.d.leading))
        self.algorithm = self._fastest(product)

    def _describe(self, attribute: int, value: Any) -> None:
        _set("MatmulDesc", self.description, attribute, value)

    def _fastest(self, product: Product) -> _Algorithm:
        """The algorithm that cublasLt expects to be the fastest. Raises Failed if there is none."""
        preference, found, count = _created("cublasLtMatmulPreferenceCreate"), _Heuristic(), c_int()
        _set("MatmulPreference", preference, MAX_WORKSPACE, c_uint64(WORKSPACE))
        # Unless told otherwise, cublasLt takes it that all addresses are multiples of 256.
        for attribute, number in zip(ALIGNMENTS, (*product.alignments, product.alignments[2])):
            _set("MatmulPreference", preference, attribute, c_uint32(number))
        a, b, d = self.layouts
        arguments = self.handle, self.description, a, b, d, d, preference, c_int(1), byref(found), byref(count)
        call("cublasLtMatmulAlgoGetHeuristic", *arguments)
        if not count.value:
            raise Failed("cublasLt has no algorithm for such a product")
        return found.algorithm

    def run(
        self, a: int, b: int, d: int, *, beta: float, bias: int, before_gelu: int, workspace: int, stream: int
    ) -> None:
        """d = op(a) op(b) + bias + beta d, or gelu of it. Addresses of arrays on the GPU; 0: there is none."""
        if bias:
            self._describe(BIAS_POINTER, c_void_p(bias))
        if before_gelu:
            self._describe(AUX_POINTER, c_void_p(before_gelu))
        la, lb, ld = self.layouts
        one, beta_there = byref(self.number(1)), byref(self.number(beta))
        operands = one, c_void_p(a), la, c_void_p(b), lb, beta_there, c_void_p(d), ld, c_void_p(d), ld
        space = byref(self.algorithm), c_void_p(workspace), c_size_t(WORKSPACE), c_void_p(stream)
        call("cublasLtMatmul", self.handle, self.description, *operands, *space)


@cache
def plan(product: Product, device: int) -> Plan | Failed:
    """The plan for a product on a device, or why there is none: asked once, because the answer takes long."""
    try:
        return Plan(product, device)
    except Failed as failure:
        return failure
