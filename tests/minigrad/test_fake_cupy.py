"""The stand-in for CuPy refuses what CuPy refuses, accepts what it accepts, and counts the traffic to the host."""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad import backend
from tests.fake_cupy import HostSync, functions, install, installed, no_sync, reset, syncs, uninstall, uploads
from tests.fake_cupy import cupy as cp

HOST = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture(autouse=True)
def counters() -> Iterator[None]:
    reset()
    yield
    reset()


@pytest.fixture
def a() -> cp.ndarray:
    return cp.array(HOST)


REFUSED = {
    "host array on the right": (TypeError, lambda a: a + HOST),
    "host array on the left": (TypeError, lambda a: HOST + a),
    "host array in a ufunc": (TypeError, lambda a: np.maximum(a, HOST)),
    "host array of shape ()": (TypeError, lambda a: a * np.array(2.0)),
    "host array in place": (TypeError, lambda a: a.__iadd__(HOST)),
    "host array in matmul": (TypeError, lambda a: a @ HOST.T),
    "host array in concatenate": (TypeError, lambda a: np.concatenate([a, HOST])),
    "host array in where": (TypeError, lambda a: np.where(a > 0, a, HOST)),
    "host condition in where": (TypeError, lambda a: np.where(HOST > 0, a, a)),
    "host array in a reduction": (TypeError, lambda a: cp.sum(HOST)),
    "host indices in take_along_axis": (TypeError, lambda a: np.take_along_axis(a, np.zeros((2, 1), int), 1)),
    "list as an operand": (TypeError, lambda a: a + [1.0, 2.0, 3.0]),
    "None as an operand": (TypeError, lambda a: a + None),
    "number as a factor of matmul": (TypeError, lambda a: a @ 2.0),
    "conversion by asarray": (TypeError, lambda a: np.asarray(a)),
    "conversion of a list": (TypeError, lambda a: np.array([a, a])),
    "index into a host array": (TypeError, lambda a: HOST[a.astype(np.int64)]),
    "out= on the host": (TypeError, lambda a: np.exp(a, out=HOST.copy())),
    "out= on the device, inputs on the host": (TypeError, lambda a: np.add(HOST, HOST, out=a)),
    "out= of a reduction on the host": (TypeError, lambda a: np.sum(a, axis=0, out=np.zeros(3, np.float32))),
    "ufunc(where=)": (TypeError, lambda a: np.exp(a, where=a > 0)),
    "ufunc(order=)": (TypeError, lambda a: cp.exp(a, order="C")),
    "sum(where=)": (TypeError, lambda a: np.sum(a, where=a > 0)),
    "sum(initial=)": (TypeError, lambda a: np.sum(a, initial=1.0)),
    "max(initial=)": (TypeError, lambda a: np.max(a, initial=0.0)),
    "std(correction=)": (TypeError, lambda a: np.std(a, correction=1)),
    "take(mode=)": (TypeError, lambda a: np.take(a, 0, mode="clip")),
    "clip(min=)": (TypeError, lambda a: np.clip(a, min=0, max=1)),
    "reshape(shape=)": (TypeError, lambda a: np.reshape(a, shape=(3, 2))),
    "broadcast_to(subok=)": (TypeError, lambda a: np.broadcast_to(a, (2, 2, 3), subok=True)),
    "argsort(stable=)": (TypeError, lambda a: np.argsort(a, stable=True)),
    "another kind of sort": (ValueError, lambda a: np.argsort(a, kind="quicksort")),
    "einsum(out=)": (TypeError, lambda a: np.einsum("ij->ji", a, out=a)),
    "zeros(device=)": (TypeError, lambda a: cp.zeros(3, device=None)),
    "astype(casting=)": (TypeError, lambda a: a.astype(np.int32, casting="unsafe")),
    "a ufunc that CuPy lacks": (TypeError, lambda a: np.spacing(a)),
    "vecdot": (TypeError, lambda a: np.vecdot(a, a)),
    "a function that CuPy lacks": (TypeError, lambda a: np.insert(a, 0, 1.0)),
    "an attribute that CuPy lacks": (AttributeError, lambda a: cp.erf),
    "subtract.reduce": (NotImplementedError, lambda a: np.subtract.reduce(a)),
    "maximum.accumulate": (NotImplementedError, lambda a: np.maximum.accumulate(a)),
    "divide.at": (NotImplementedError, lambda a: np.divide.at(a, 0, 2.0)),
    "add.at of NumPy, index a tuple": (TypeError, lambda a: np.add.at(a, (cp.arange(2), cp.arange(2)), 1.0)),
    "axes in a list": (TypeError, lambda a: np.expand_dims(a, [0, 1])),
    "add.at for int8": (TypeError, lambda a: np.add.at(a.astype(np.int8), 0, 1)),
    "add.at for bool": (TypeError, lambda a: np.add.at(a > 0, 0, True)),
    "assignment of a host array": (ValueError, lambda a: a.__setitem__(slice(None), HOST)),
    "assignment of a list": (ValueError, lambda a: a.__setitem__(0, [1.0, 2.0, 3.0])),
    "float array as an index": (IndexError, lambda a: a[a]),
    "integer out of range": (IndexError, lambda a: a[7]),
    "counts of repeat on the host": (TypeError, lambda a: np.repeat(a, np.array([1, 2]), axis=0)),
    "shape on the device": (TypeError, lambda a: a.reshape(cp.asarray([3, 2]))),
    "split points on the device": (TypeError, lambda a: np.split(a, cp.asarray([1]), axis=1)),
    "a generator of arrays": (TypeError, lambda a: cp.concatenate(x for x in [a, a])),
    "only one branch of where": (ValueError, lambda a: cp.where(a > 0, a)),
    "dtype object": (ValueError, lambda a: cp.zeros(3, object)),
    "dtype of strings": (ValueError, lambda a: cp.asarray(["a"])),
    "in place into a smaller dtype": (TypeError, lambda a: a.astype(np.int64).__iadd__(1.5)),
    "truth of several elements": (ValueError, lambda a: bool(a)),
    "setflags": (AttributeError, lambda a: a.setflags(write=False)),
    "hash": (TypeError, lambda a: hash(a)),
    "range of a device number": (TypeError, lambda a: range(a.astype(np.int64)[0, 0])),
    "a second device": (RuntimeError, lambda a: cp.cuda.Device(1).use()),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refuses(what: str, a: cp.ndarray) -> None:
    error, attempt = REFUSED[what]
    with pytest.raises(error):
        attempt(a)


def test_refuses_bfloat16_matrices_in_a_batch(a: cp.ndarray) -> None:
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    a = a.astype(bfloat16)
    assert (a @ a.T).dtype == bfloat16
    with pytest.raises(TypeError, match="bfloat16"):
        a[None] @ a.T


ACCEPTED = {
    "number": lambda a: a + 1,
    "number on the left": lambda a: 2**a,
    "NumPy scalar": lambda a: np.float32(2) * a,
    "out": lambda a: np.exp(a, out=cp.empty_like(a)),
    "casting": lambda a: np.exp(a, dtype=np.float64, casting="unsafe"),
    "matmul through NumPy": lambda a: np.matmul(a, a.T),
    "matmul into out": lambda a: cp.matmul(a, a.T, out=cp.zeros((2, 2), np.float32)),
    "device arrays in a list": lambda a: cp.array([a, a]),
    "add.reduce": lambda a: np.add.reduce(a, axis=1),
    "add.accumulate": lambda a: np.add.accumulate(a, axis=1),
    "add.at of CuPy, index a tuple": lambda a: cp.add.at(a, (cp.arange(2), cp.arange(2)), 1.0),
    "multiply.outer": lambda a: np.multiply.outer(a, a),
    "einsum": lambda a: np.einsum("ij,kj->ik", a, a),
    "zeros_like": lambda a: np.zeros_like(a, shape=(4,)),
    "take of a list": lambda a: np.take(a, [0, 1], axis=1),
    "list as an index": lambda a: a[[1, 0]],
    "fill": lambda a: a.fill(np.array(1.0)),
    "pad": lambda a: np.pad(a, ((0, 0), (1, 2)), constant_values=3.0),
    "roll": lambda a: np.roll(a, (1, 1), axis=(0, 1)),
}


@pytest.mark.parametrize("what", ACCEPTED)
def test_accepts_what_cupy_accepts(what: str, a: cp.ndarray) -> None:
    ACCEPTED[what](a)


def test_ignores_an_empty_shape_as_cupy_does(a: cp.ndarray) -> None:
    assert np.ones_like(a, shape=()).shape == a.shape


# --- kernels ----------------------------------------------------------------------------------------------------------

SOURCE = """
extern "C" __global__ void scale(const float* x, float* y, int n, float by) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) y[i] = by * x[i];
}
"""


def scale(x: Any, y: Any, n: Any, by: Any, blocks: tuple[int, ...] = (3,), threads: tuple[int, ...] = (32,)) -> Any:
    cp.RawModule(code=SOURCE, options=("-std=c++17",)).get_function("scale")(blocks, threads, (x, y, n, by))
    return y


def test_runs_a_kernel(a: cp.ndarray) -> None:
    result = scale(a, cp.zeros((2, 3), np.float32), np.int32(5), np.float32(2))
    assert result.get().ravel().tolist() == [*(2 * HOST.ravel()[:5]), 0], "the first five elements are scaled"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": 5}, "scale was given 5; a kernel takes"),
        ({"by": 2.0}, "scale was given 2.0; a kernel takes"),
        ({"y": np.zeros((2, 3), np.float32)}, "a kernel takes device arrays"),
        ({"y": cp.zeros((3, 2), np.float32).T}, "as if it were in C order"),
        ({"blocks": (0,)}, "cannot be started with"),
        ({"threads": (2048,)}, "cannot be started with"),
    ],
)
def test_refuses_arguments_that_a_kernel_would_misread(change: dict, message: str, a: cp.ndarray) -> None:
    arguments = {"x": a, "y": cp.zeros((2, 3), np.float32), "n": np.int32(5), "by": np.float32(2)}
    with pytest.raises((TypeError, ValueError), match=message):
        scale(**arguments | change)


# --- traffic ----------------------------------------------------------------------------------------------------------

SYNCS = {
    "float()": lambda a: float(a[0, 0]),
    "int()": lambda a: int(a[0, 0]),
    "bool()": lambda a: bool(a[0, 0]),
    "item": lambda a: a[0, 0].item(),
    "get": lambda a: a.get(),
    "asnumpy": lambda a: cp.asnumpy(a),
    "tolist": lambda a: a.tolist(),
    "format": lambda a: f"{a[0, 0]:.1f}",
    "repr": lambda a: repr(a),
    "mask": lambda a: a[a > 2],
    "mask in an assignment": lambda a: a.__setitem__(a > 2, 0.0),
    "nonzero": lambda a: np.nonzero(a),
    "where of one": lambda a: np.where(a > 1),
    "argwhere": lambda a: np.argwhere(a),
    "flatnonzero": lambda a: cp.flatnonzero(a),
    "unique": lambda a: np.unique(a),
    "bincount": lambda a: np.bincount(a.astype(np.int64)[0]),
    "repeat": lambda a: cp.repeat(a, cp.ones_like(a[0], np.int64), axis=1),
    "slice": lambda a: a[: a.astype(np.int64)[0, 1]],
    "an if": lambda a: 1 if np.array_equal(a, a) else 0,
    "max of Python": lambda a: max(a[0, 0], a[0, 1]),
    "synchronize": lambda a: cp.cuda.get_current_stream().synchronize(),
}


@pytest.mark.parametrize("what", SYNCS)
def test_counts_syncs_and_can_forbid_them(what: str, a: cp.ndarray) -> None:
    SYNCS[what](a)
    assert len(syncs) == 1
    with no_sync(), pytest.raises(HostSync, match="makes the host wait"):
        SYNCS[what](a)


def test_ordinary_work_costs_no_sync(a: cp.ndarray) -> None:
    with no_sync():
        ((np.exp(a) @ a.T).sum(axis=-1, keepdims=True) / a.size)[cp.asarray([0, 1])].astype(np.float64).reshape(2)
        assert len(a) == 2
        assert (a.shape, a.device.id) == ((2, 3), 0)
        assert [row.shape for row in a] == [(3,), (3,)]
        np.allclose(a, a)  # the result stays on the device
    assert not syncs
    a.get()  # outside of no_sync(), it is allowed


UPLOADS = {
    "asarray": lambda a: cp.asarray(HOST),
    "array of a list": lambda a: cp.array([1.0, 2.0]),
    "list as an index": lambda a: a[[0, 1]],
    "host array as an index": lambda a: a[np.array([0, 1])],
    "take": lambda a: np.take(a, np.array([0, 1]), axis=1),
    "assignment": lambda a: a.__setitem__(cp.arange(2), HOST),
    "add.at": lambda a: np.add.at(a, cp.arange(2), HOST),
}


@pytest.mark.parametrize("what", UPLOADS)
def test_counts_uploads(what: str, a: cp.ndarray) -> None:
    reset()
    UPLOADS[what](a)
    assert len(uploads) == 1
    assert not syncs


# --- installing -------------------------------------------------------------------------------------------------------


def test_import_cupy_finds_it_only_while_it_is_installed() -> None:
    before = sys.modules.get("cupy")
    with installed() as module:
        import cupy
        import cupy.cuda

        assert cupy is module is cp
        assert cupy.cuda.runtime.getDeviceCount() == 1
        install()
        uninstall()
        assert sys.modules["cupy"] is cp
    assert sys.modules.get("cupy") is before


def test_the_engine_takes_it_for_cupy() -> None:
    with installed():
        a = backend.to_device(HOST, "cuda")
        assert isinstance(a, cp.ndarray)
        assert backend.array_module(a) is cp
        assert backend.device_of(a) == "cuda:0"
        assert backend.pick_device("auto") == "cuda"
        assert np.array_equal(backend.to_device(a, "cpu"), HOST)


@given(st.integers(0, 3), st.integers(0, 4))
def test_a_gpu_can_be_asked_for_by_number_if_it_is_there(count: int, number: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend, "_gpu_count", lambda: count)
        assert backend.pick_device("auto") == ("cuda" if count else "cpu")
        for device, is_there in ((f"cuda:{number}", number < count), ("cuda", count > 0)):
            with contextlib.nullcontext() if is_there else pytest.raises(RuntimeError, match=f"but {count} GPUs are"):
                assert backend.pick_device(device) == device


# --- compared with the real CuPy, where it is installed: reading signatures needs no GPU ------------------------------


def defaults(signature: inspect.Signature) -> dict:
    return {name: parameter.default for name, parameter in signature.parameters.items()}


def test_signatures_are_those_of_cupy() -> None:
    real = pytest.importorskip("cupy")
    for name, ours in functions.signatures(functions.FUNCTIONS):
        theirs = defaults(inspect.signature(getattr(real, name)))
        assert theirs | defaults(ours) == theirs, f"cupy.{name} takes less"


def test_signatures_of_methods_are_those_of_cupy() -> None:
    real = pytest.importorskip("cupy")
    for name, ours in functions.signatures(functions.METHODS):
        documented = getattr(real.ndarray, name).__doc__.split("\n")[0]  # the signature of a compiled function
        for parameter, default in defaults(ours).items():
            assert (parameter if default is inspect.Parameter.empty else f"{parameter}={default!r}") in documented


def test_every_name_exists_in_cupy() -> None:
    real = pytest.importorskip("cupy")
    assert [name for name in dir(cp) if not name.startswith("__") and not hasattr(real, name)] == []
    assert [name for name in dir(cp.ndarray) if not name.startswith("_") and not hasattr(real.ndarray, name)] == []
