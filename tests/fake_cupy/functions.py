"""CuPy's functions and methods: those of NumPy with the same name, called through CuPy's narrower signatures.

A call is first bound to the signature below, which is that of CuPy 14. So an option that only NumPy has is a TypeError.
An argument marked `Array` must be a device array, `Arrays` a list of them, `Value` a device array or a scalar. An
argument without a mark (a shape, an axis, a count) is needed on the host, and a device array is refused. NumPy arrays
are refused everywhere.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tests.fake_cupy.array import checked_dtype, cupy, ndarray, unwrap, wrap
from tests.fake_cupy.launches import launch, launch_unless_view, new_memory, refuse_in_capture

FUNCTIONS = """
all(a: Array, axis=None, out: Value=None, keepdims=False)
amax(a: Array, axis=None, out: Value=None, keepdims=False)
amin(a: Array, axis=None, out: Value=None, keepdims=False)
any(a: Array, axis=None, out: Value=None, keepdims=False)
argmax(a: Array, axis=None, *, out: Value=None, keepdims=False)
argmin(a: Array, axis=None, *, out: Value=None, keepdims=False)
argpartition(a: Array, kth, axis=-1)
argsort(a: Array, axis=-1, kind=None)
array_split(ary: Array, indices_or_sections, axis=0)
astype(x: Array, dtype, /, *, copy=True)
around(a: Array, decimals=0, out: Value=None)
broadcast_to(array: Array, shape)
clip(a: Array, a_min: Value, a_max: Value, out: Value=None)
concatenate(tup: Arrays, axis=0, out: Value=None, *, dtype=None, casting='same_kind')
copy(a: Array, order='K')
copyto(dst: Array, src: Value, casting='same_kind', where: Value=None)
count_nonzero(a: Array, axis=None)
cumprod(a: Array, axis=None, dtype=None, out: Value=None)
cumsum(a: Array, axis=None, dtype=None, out: Value=None)
diagonal(a: Array, offset=0, axis1=0, axis2=1)
diff(a: Array, n=1, axis=-1, prepend: Value=None, append: Value=None)
dot(a: Array, b: Array, out: Value=None)
empty_like(prototype: Array, dtype=None, order='K', subok=None, shape=None)
expand_dims(a: Array, axis)
flip(a: Array, axis=None)
full_like(a: Array, fill_value: Value, dtype=None, order='K', subok=None, shape=None)
inner(a: Array, b: Array)
max(a: Array, axis=None, out: Value=None, keepdims=False)
mean(a: Array, axis=None, dtype=None, out: Value=None, keepdims=False)
min(a: Array, axis=None, out: Value=None, keepdims=False)
moveaxis(a: Array, source, destination)
nan_to_num(x: Array, copy=True, nan=0.0, posinf=None, neginf=None)
ones_like(a: Array, dtype=None, order='K', subok=None, shape=None)
outer(a: Array, b: Array, out: Value=None)
pad(array: Array, pad_width, mode='constant', **kwargs: Value)
partition(a: Array, kth, axis=-1)
permute_dims(a: Array, axes=None)
prod(a: Array, axis=None, dtype=None, out: Value=None, keepdims=False)
ravel(a: Array, order='C')
reshape(a: Array, newshape, order='C', *, copy=None)
roll(a: Array, shift: Value, axis=None)
round(a: Array, decimals=0, out: Value=None)
searchsorted(a: Array, v: Value, side='left', sorter: Value=None)
sort(a: Array, axis=-1, kind=None)
split(ary: Array, indices_or_sections, axis=0)
squeeze(a: Array, axis=None)
stack(tup: Arrays, axis=0, out: Value=None, *, dtype=None, casting='same_kind')
std(a: Array, axis=None, dtype=None, out: Value=None, ddof=0, keepdims=False)
sum(a: Array, axis=None, dtype=None, out: Value=None, keepdims=False)
swapaxes(a: Array, axis1, axis2)
tensordot(a: Array, b: Array, axes=2)
tile(A: Array, reps)
trace(a: Array, offset=0, axis1=0, axis2=1, dtype=None, out: Value=None)
transpose(a: Array, axes=None)
tril(m: Array, k=0)
triu(m: Array, k=0)
var(a: Array, axis=None, dtype=None, out: Value=None, ddof=0, keepdims=False)
zeros_like(a: Array, dtype=None, order='K', subok=None, shape=None)
arange(start, stop=None, step=1, dtype=None)
empty(shape, dtype=float, order='C')
eye(N, M=None, k=0, dtype=float, order='C')
full(shape, fill_value: Value, dtype=None, order='C')
linspace(start, stop, num=50, endpoint=True, retstep=False, dtype=None, axis=0)
ones(shape, dtype=float, order='C')
tri(N, M=None, k=0, dtype=float)
zeros(shape, dtype=float, order='C')
"""

METHODS = """
all(self, axis=None, out: Value=None, keepdims=False)
any(self, axis=None, out: Value=None, keepdims=False)
argmax(self, axis=None, out: Value=None, *, keepdims=False)
argmin(self, axis=None, out: Value=None, *, keepdims=False)
argsort(self, axis=-1, kind=None)
astype(self, dtype, order='K', *, copy=True)
clip(self, min: Value=None, max: Value=None, out: Value=None)
copy(self, order='C')
cumprod(self, axis=None, dtype=None, out: Value=None)
cumsum(self, axis=None, dtype=None, out: Value=None)
diagonal(self, offset=0, axis1=0, axis2=1)
dot(self, b: Array, out: Value=None)
flatten(self, order='C')
max(self, axis=None, out: Value=None, keepdims=False)
mean(self, axis=None, dtype=None, out: Value=None, keepdims=False)
min(self, axis=None, out: Value=None, keepdims=False)
prod(self, axis=None, dtype=None, out: Value=None, keepdims=None)
ravel(self, order='C')
reshape(self, *shape, order='C', copy=None)
round(self, decimals=0, out: Value=None)
sort(self, axis=-1, kind=None)
squeeze(self, axis=None)
std(self, axis=None, dtype=None, out: Value=None, ddof=0, keepdims=False)
sum(self, axis=None, dtype=None, out: Value=None, keepdims=False)
swapaxes(self, axis1, axis2)
trace(self, offset=0, axis1=0, axis2=1, dtype=None, out: Value=None)
transpose(self, *axes)
var(self, axis=None, dtype=None, out: Value=None, ddof=0, keepdims=False)
view(self, dtype=None)
"""

# Functions of shapes and dtypes, which the host knows, and names that are NumPy's own.
HOST_FUNCTIONS = """broadcast_shapes can_cast iscomplexobj isscalar may_share_memory ndim promote_types result_type
shape shares_memory size"""
HOST_NAMES = """bool_ dtype e finfo float16 float32 float64 floating iinfo inexact inf int8 int16 int32 int64 integer
issubdtype nan newaxis number pi uint8 uint16 uint32 uint64"""


EMPTY = {"empty", "empty_like"}  # start nothing on the device
PRODUCTS = {"dot", "inner", "tensordot"}  # by cuBLAS


def signatures(text: str) -> Iterator[tuple[str, inspect.Signature]]:
    """The name and the signature in each line."""
    for line in text.split("\n")[1:-1]:
        space: dict[str, Any] = {kind: kind for kind in ("Array", "Arrays", "Value")}
        exec(f"def {line}: pass", space)
        name = line.split("(")[0]
        yield name, inspect.signature(space[name])


def through_signature(name: str, signature: inspect.Signature, function: Callable) -> Callable:
    """The `function` of NumPy as CuPy's `name`: it takes only the arguments of CuPy's signature."""

    def call(*args: Any, **options: Any) -> Any:
        given = signature.bind(*args, **options).arguments
        if name.endswith("_like") and given.get("shape") == ():  # CuPy ignores it
            del given["shape"]
        positional, keywords = [], {}
        for parameter, value in given.items():
            declared = signature.parameters[parameter]
            _check(name, parameter, declared.annotation, value)
            if declared.kind is declared.VAR_POSITIONAL:
                positional += map(unwrap, value)
            elif declared.kind is declared.VAR_KEYWORD:
                keywords |= {key: unwrap(x) for key, x in value.items()}
            elif declared.default is declared.empty:  # NumPy may have another name for it
                positional.append(unwrap(value))
            elif value is not declared.default:
                keywords[parameter] = unwrap(value)
        if name in PRODUCTS:
            refuse_in_capture(name)
        compute = lambda: function(*positional, **keywords)
        if given.get("out") is not None:
            launch(name, compute, writes=[unwrap(given["out"])])
            return given["out"]
        if name == "copyto":
            return launch(name, compute, writes=positional[:1])
        return wrap(new_memory(compute()) if name in EMPTY else launch_unless_view(name, compute, _flat(positional)))

    return call


def _check(name: str, parameter: str, mark: Any, value: Any) -> None:
    wrong = f"cupy.{name} does not take {_described(value)} as {parameter!r}"
    if mark == "Array" and not isinstance(value, ndarray):
        raise TypeError(f"{wrong}, only a cupy.ndarray")
    if mark == "Arrays" and not (isinstance(value, (list, tuple)) and all(isinstance(x, ndarray) for x in value)):
        raise TypeError(f"{wrong}, only a list or tuple of cupy.ndarray")
    if mark is inspect.Parameter.empty and parameter != "self" and _on_device(value):
        raise TypeError(f"{wrong}: it is needed on the host")
    if parameter == "out" and not (value is None or isinstance(value, ndarray)):
        raise TypeError(f"{wrong}, only a cupy.ndarray")
    if parameter == "axis" and isinstance(value, list):
        raise TypeError(f"{wrong}, only an int or a tuple")
    if parameter == "kind" and value not in (None, "stable"):
        raise ValueError("kind can only be None or 'stable'")
    if parameter == "dtype" and value is not None:
        checked_dtype(value)


def _on_device(value: Any) -> bool:
    return isinstance(value, ndarray) or isinstance(value, (list, tuple)) and any(map(_on_device, value))


def _described(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"{type(value).__name__} of {[type(x).__name__ for x in value]}"
    return repr(type(value))


def _flat(values: list) -> list:
    """The values, and those in lists among them."""
    return [x for value in values for x in (value if isinstance(value, (list, tuple)) else [value])]


def _on_host(function: Callable) -> Callable:
    return lambda *args: function(*map(unwrap, args))


for _name, _signature in signatures(FUNCTIONS):
    setattr(cupy, _name, through_signature(_name, _signature, getattr(np, _name)))
for _name, _signature in signatures(METHODS):
    setattr(ndarray, _name, through_signature(_name, _signature, getattr(np.ndarray, _name)))
for _name in HOST_FUNCTIONS.split():
    setattr(cupy, _name, _on_host(getattr(np, _name)))
for _name in HOST_NAMES.split():
    setattr(cupy, _name, getattr(np, _name))
