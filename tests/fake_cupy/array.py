"""`cupy.ndarray`: a NumPy array inside an object that gives it away only through `get`.

As in CuPy, operators call NumPy's ufuncs, which call `__array_ufunc__`. Methods that need only a signature are listed
in functions.py and attached there.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from tests.fake_cupy.indexing import host_index, wrapped_around
from tests.fake_cupy.launches import launch
from tests.fake_cupy.traffic import sync, upload

cupy = ModuleType("cupy", "A stand-in for CuPy, see tests/fake_cupy.")  # the other files add their functions to it

DTYPES = "?bBhHiIlLqQefdFD"  # the type codes CuPy has kernels for
SCALARS = (bool, int, float, complex, np.generic)


class ndarray:
    """An array on the device. As in CuPy there are no scalars: a sum over everything is an array of shape ()."""

    __array_priority__ = 100
    __hash__ = None  # type: ignore[assignment]
    __slots__ = ("_host", "__weakref__")

    def __init__(self, shape: Any, dtype: Any = float):
        self._host = np.empty(shape, checked_dtype(dtype))

    shape = property(lambda self: self._host.shape)
    dtype = property(lambda self: self._host.dtype)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    itemsize = property(lambda self: self._host.itemsize)
    nbytes = property(lambda self: self._host.nbytes)
    strides = property(lambda self: self._host.strides)
    device = property(lambda self: cupy.cuda.Device(0))
    T = property(lambda self: wrap(self._host.T))
    mT = property(lambda self: wrap(self._host.mT))

    @property
    def flags(self) -> SimpleNamespace:
        """Only what CuPy's flags have; a CuPy array cannot be made read-only."""
        flags = self._host.flags
        return SimpleNamespace(c_contiguous=flags.c_contiguous, f_contiguous=flags.f_contiguous, owndata=flags.owndata)

    @property
    def __cuda_array_interface__(self) -> dict:
        return {"shape": self.shape, "typestr": self.dtype.str, "data": (self._host.ctypes.data, False), "version": 3}

    # --- to the host ---

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. "
            "Please use `.get()` to construct a NumPy array explicitly."
        )

    def get(self) -> np.ndarray:
        sync("get()")
        return self._host.copy()

    def item(self) -> Any:
        sync("item()")
        return self._host.item()

    def tolist(self) -> list:
        sync("tolist()")
        return self._host.tolist()

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ValueError(
                "The truth value of an array with more than one element is ambiguous. Use a.any() or a.all()"
            )
        sync("bool()")
        return bool(self._host)

    def __int__(self) -> int:
        sync("int()")
        return int(self._host)

    def __float__(self) -> float:
        sync("float()")
        return float(self._host)

    def __repr__(self) -> str:
        sync("repr()")
        return repr(self._host)

    def __format__(self, spec: str) -> str:
        sync("format()")
        return format(self._host, spec)

    # --- indexing ---

    def __getitem__(self, index: Any) -> ndarray:
        index = host_index(self, index)
        if any(isinstance(i, np.ndarray) for i in index):
            return wrap(launch("take", lambda: self._host[wrapped_around(self._host, index)]))
        # With an ellipsis, NumPy gives an array of shape () and no number: a view, as in CuPy.
        return wrap(self._host[index if ... in index else (*index, ...)])

    def __setitem__(self, index: Any, value: Any) -> None:
        index = host_index(self, index)
        host = self._host
        advanced = any(isinstance(i, np.ndarray) for i in index)
        if isinstance(value, (ndarray, *SCALARS)):
            if isinstance(value, ndarray) and not advanced and _same_memory(value._host, self._host[index]):
                return  # after a[i] += b the sum is in its place already, and CuPy sees that
            number = unwrap(value)
            launch("setitem", lambda: host.__setitem__(wrapped_around(host, index), number), writes=[host])
        elif advanced:
            upload("a host value in an indexed assignment")
            launch("setitem", lambda: host.__setitem__(wrapped_around(host, index), value), writes=[host])
        else:
            wrap(self._host[index]).fill(value)

    def fill(self, value: Any) -> None:
        if isinstance(value, (list, tuple, np.ndarray)) and np.ndim(value):
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        number = value._host if isinstance(value, ndarray) else value
        launch("fill", lambda: self._host.__setitem__(..., number), writes=[self._host])

    def __iter__(self) -> Iterator[ndarray]:
        if self.ndim == 0:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self)))

    def __len__(self) -> int:
        return len(self._host)

    # --- NumPy's functions, called on device arrays ---

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, out: tuple = (), **options: Any) -> Any:
        ours = getattr(cupy, ufunc.__name__, None)
        known = (ndarray, np.ndarray, *SCALARS)  # NumPy arrays are refused later, in `operand`
        if ours is None or not all(isinstance(x, known) for x in inputs + out):
            return NotImplemented
        if out:
            (options["out"],) = out
        return (ours if method == "__call__" else getattr(ours, method))(*inputs, **options)

    def __array_function__(self, function: Callable, types: tuple, args: tuple, options: dict) -> Any:
        ours: Any = cupy
        for name in [*function.__module__.split(".")[1:], function.__name__]:
            ours = getattr(ours, name, None)
        if ours is None or not all(issubclass(t, (ndarray, np.ndarray)) for t in types):
            return NotImplemented  # NumPy turns this into a TypeError
        return ours(*args, **options)


def _operator(name: str, *, reflected: bool = False) -> Callable:
    function = getattr(np, name)

    def operate(self: ndarray, other: Any) -> Any:
        if getattr(other, "__array_ufunc__", ()) is None:  # how a class says that it handles arrays itself (NEP 13)
            return NotImplemented
        return function(other, self) if reflected else function(self, other)

    return operate


def _operator_in_place(name: str) -> Callable:
    return lambda self, other: getattr(cupy, name)(self, other, self)


# The operators of Python, and the ufuncs that compute them.
# fmt: off
_ARITHMETIC = {"add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "floordiv": "floor_divide",
               "mod": "remainder", "pow": "power", "lshift": "left_shift", "rshift": "right_shift",
               "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor"}
_COMPARISON = {"lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal", "eq": "equal",
               "ne": "not_equal"}
# fmt: on
_UNARY = {"neg": "negative", "pos": "positive", "abs": "absolute", "invert": "invert"}
for _symbol, _name in (_ARITHMETIC | _COMPARISON | {"matmul": "matmul"}).items():
    setattr(ndarray, f"__{_symbol}__", _operator(_name))
for _symbol, _name in (_ARITHMETIC | {"matmul": "matmul"}).items():
    setattr(ndarray, f"__r{_symbol}__", _operator(_name, reflected=True))
for _symbol, _name in _ARITHMETIC.items():
    setattr(ndarray, f"__i{_symbol}__", _operator_in_place(_name))
for _symbol, _name in _UNARY.items():
    _method = functools.partialmethod(lambda self, function: function(self), getattr(np, _name))
    setattr(ndarray, f"__{_symbol}__", _method)


def _same_memory(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether both are the same view."""
    described = (x.__array_interface__["data"] for x in (a, b))
    return next(described) == next(described) and (a.shape, a.strides, a.dtype) == (b.shape, b.strides, b.dtype)


# --- between host and device, for the files of this package only ------------------------------------------------------


def checked_dtype(dtype: Any) -> np.dtype:
    dtype = np.dtype(dtype)
    if dtype.char not in DTYPES and dtype.name != "bfloat16":
        raise ValueError(f"Unsupported dtype {dtype}")
    return dtype


def wrap(result: Any) -> Any:
    """NumPy's result as CuPy's: arrays and scalars become device arrays, tuples and lists keep their kind."""
    if isinstance(result, (tuple, list)):
        return type(result)(map(wrap, result))
    if not isinstance(result, (np.ndarray, np.generic, int)):  # count_nonzero of older NumPys gives an int
        return result
    out = ndarray.__new__(ndarray)
    out._host = np.asarray(result)
    checked_dtype(out.dtype)
    return out


def unwrap(x: Any) -> Any:
    """An argument on the host. A NumPy array is refused: CuPy wants one of its own, and does not convert."""
    if isinstance(x, ndarray):
        return x._host
    if isinstance(x, (tuple, list)):
        return type(x)(map(unwrap, x))
    if isinstance(x, np.ndarray):
        raise TypeError(f"Unsupported type {type(x)}")
    return x


cupy.ndarray = ndarray  # type: ignore[attr-defined]
