"""CuPy's ufuncs: those of NumPy with the same name, without what CuPy lacks: some options and methods, host arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.fake_cupy.array import SCALARS, checked_dtype, cupy, ndarray, unwrap, wrap
from tests.fake_cupy.indexing import host_index, wrapped_around
from tests.fake_cupy.launches import launch

NAMES = """
abs absolute add arccos arccosh arcsin arcsinh arctan arctan2 arctanh bitwise_and bitwise_or bitwise_xor cbrt ceil
copysign cos cosh divide equal exp exp2 expm1 fabs float_power floor floor_divide fmax fmin fmod frexp greater
greater_equal heaviside hypot invert isfinite isinf isnan ldexp left_shift less less_equal log log10 log1p log2
logaddexp logaddexp2 logical_and logical_not logical_or logical_xor maximum minimum mod multiply negative nextafter
not_equal positive power reciprocal remainder rint right_shift sign signbit sin sinh sqrt square subtract tan tanh
true_divide trunc
"""

REDUCE = {"add": "sum", "multiply": "prod"}  # the only ufuncs with `reduce` and `accumulate`, and their functions
AT = {  # the only ufuncs with `at`, and the dtypes that have an atomic operation
    "add": "int32 int64 uint32 uint64 float16 float32 float64",
    "subtract": "int32 uint32",
    "maximum": "int32 int64 uint32 uint64 float32 float64",
    "minimum": "int32 int64 uint32 uint64 float32 float64",
}


class ufunc:
    def __init__(self, name: str):
        self.__name__ = name
        self._numpy: np.ufunc = getattr(np, name)
        self.nin = self._numpy.nin

    def __call__(
        self, *args: Any, out: Any = None, dtype: Any = None, casting: str = "same_kind", **options: Any
    ) -> Any:
        if options:
            raise TypeError(f"Wrong arguments {options}")
        if len(args) > self.nin:  # given without its name
            out = args[self.nin]
        hosts = [operand(x) for x in args[: self.nin]]
        dtype = None if dtype is None else checked_dtype(dtype)
        given = {} if out is None else {"out": output(out)}
        writes = given.values()
        result = launch(
            self.__name__, lambda: self._numpy(*hosts, **given, dtype=dtype, casting=casting), writes=writes
        )
        return wrap(result) if out is None else out

    def reduce(self, array: Any, axis: Any = 0, dtype: Any = None, out: Any = None, keepdims: bool = False) -> Any:
        return getattr(cupy, self._method("reduce", REDUCE))(array, axis=axis, dtype=dtype, out=out, keepdims=keepdims)

    def accumulate(self, array: Any, axis: int = 0, dtype: Any = None, out: Any = None) -> Any:
        return getattr(cupy, "cum" + self._method("accumulate", REDUCE))(array, axis=axis, dtype=dtype, out=out)

    def outer(self, a: Any, b: Any, **options: Any) -> Any:
        a, b = cupy.array(a), cupy.array(b)
        return self(a.reshape(a.shape + (1,) * b.ndim), b, **options)

    def at(self, array: Any, index: Any, value: Any = None) -> None:
        """`array[index] op= value` for every index, also for repeated ones. On a GPU their order is not defined."""
        dtypes = self._method("at", AT)
        if array.dtype.name not in dtypes.split():
            raise TypeError(f"cupy.{self.__name__}.at only supports {dtypes.replace(' ', ', ')} as data type")
        host = unwrap(array)
        value = unwrap(value if isinstance(value, (ndarray, *SCALARS)) else cupy.asarray(value))
        indices, value = host_index(array, index), np.asarray(value)
        add = lambda: self._numpy.at(host, wrapped_around(host, indices), value.astype(host.dtype))
        launch(f"{self.__name__}.at", add, writes=[host])

    def _method(self, name: str, supported: dict[str, str]) -> str:
        if self.__name__ not in supported:
            raise NotImplementedError(f"`cupy_{self.__name__}.{name}` is not supported yet")
        return supported[self.__name__]


def operand(x: Any) -> Any:
    """An input of a kernel: a device array or a scalar. A host array is refused, not silently copied."""
    if isinstance(x, (ndarray, *SCALARS)):
        return unwrap(x)
    raise TypeError(f"Unsupported type {type(x)}")


def output(x: Any) -> np.ndarray:
    if isinstance(x, ndarray):
        return unwrap(x)
    raise TypeError(f"Argument 'out' has incorrect type (expected cupy.ndarray, got {type(x)})")


for _name in NAMES.split():
    setattr(cupy, _name, ufunc(_name))
