"""Launches the kernels of flash.cu: causal attention of half types on tensor cores."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from minigrad.backend import Array, array_module
from minigrad.cuda.compiler import compiled

SOURCES = [Path(__file__).with_name(name) for name in ("half_types.cu", "tensor_cores.cu", "flash.cu")]
TILE, THREADS = 64, 128  # as in flash.cu
HEADS = (16, 32, 48, 64)  # the sizes of a head that its registers have room for
ALIGNED = 16  # bytes that are read at once


def fits(q: Array, k: Array, v: Array, dtype: Any) -> bool:
    """Whether there are kernels for q (B, H, T, D), k and v (B, K, T, D) on a GPU, as arrays of `dtype`, a half type.

    The GPU must compile them; if it cannot, a warning says so once.
    """
    if array_module(q) is np or dtype.name not in ("float16", "bfloat16") or not q.size:
        return False
    same = k.dtype == v.dtype == q.dtype and k.shape == v.shape and q.shape[2] == k.shape[2]
    if not same or q.shape[3] not in HEADS:
        return False
    return _kernels(array_module(q), dtype.name, q.shape[3], wide=dtype != q.dtype) is not None


def forward(q: Array, k: Array, v: Array, scale: float, dtype: Any) -> tuple[Array, Array]:
    """The result (B, H, T, D) of this dtype, that of q or float32, in memory (B, T, H, D); lse (B, H, T) in float32."""
    xp, (B, H, T, D) = array_module(q), q.shape
    out, lse = xp.empty((B, T, H, D), dtype), xp.empty((B, H, T), np.float32)
    views = [_aligned(a) for a in (q, k, v)]
    arguments = [*map(_address, views), out, lse, *_sizes(views, T, scale)]
    _launch("flash_forward", q, out, (-(-T // TILE), H, B), arguments)
    return out.transpose(0, 2, 1, 3), lse


def backward(
    g: Array, q: Array, k: Array, v: Array, out: Array, lse: Array, scale: float
) -> tuple[Array, Array, Array]:
    """dq, dk and dv in the shapes of q, k and v and the dtype of `out`; g: the gradient of `out`."""
    xp, (B, H, T, D), K = array_module(q), q.shape, k.shape[1]
    # (B, T, H, D); dout is a factor
    out, dout = (xp.ascontiguousarray(a.transpose(0, 2, 1, 3), t) for a, t in ((out, out.dtype), (g, q.dtype)))
    delta, rows = xp.empty((B, H, T), np.float32), B * T * H
    _launch("flash_delta", q, out, (-(-rows // (THREADS // 32)),), [out, dout, delta, *map(np.int32, (rows, H, T))])
    gradients = [xp.empty((B, T, heads, D), out.dtype) for heads in (H, K, K)]
    views = [_aligned(a) for a in (q, k, v)]
    arguments = [*map(_address, views), dout, lse, delta, *gradients, *_sizes(views, T, scale)]
    _launch("flash_backward", q, out, (2 * -(-T // TILE), H, B), arguments)
    dq, dk, dv = (a.transpose(0, 2, 1, 3) for a in gradients)
    return dq, dk, dv


def _aligned(a: Array) -> Array:
    """A view whose rows are contiguous and begin where 16 bytes can be read at once; else a copy."""
    steps = a.strides[:3] + (_address(a),)
    good = a.strides[3] == a.itemsize and all(int(step) % ALIGNED == 0 for step in steps)
    return a if good else array_module(a).ascontiguousarray(a)


def _address(a: Array) -> np.uintp:
    """For an array that is not in C order."""
    return np.uintp(a.__cuda_array_interface__["data"][0])


def _sizes(views: list[Array], T: int, scale: float) -> list[Any]:
    """The last arguments of both kernels."""
    strides = [np.int64(step // a.itemsize) for a in views for step in a.strides[:3]]
    heads, key_heads = views[0].shape[1], views[1].shape[1]
    return [*strides, *map(np.int32, (heads, heads // key_heads, T)), np.float32(scale)]


def _launch(name: str, q: Array, out: Array, blocks: tuple[int, ...], arguments: list[Any]) -> None:
    kernels = _kernels(array_module(q), q.dtype.name, q.shape[3], wide=out.dtype != q.dtype)
    kernels.get_function(name)(blocks, (THREADS,), tuple(arguments))


@cache
def _kernels(cupy: ModuleType, dtype: str, head: int, *, wide: bool) -> Any:
    """The compiled kernels; None, after a warning, if they cannot be compiled. `wide`: results are float32."""
    code = "".join(path.read_text("utf-8") for path in SOURCES)

    def compile_kernels() -> Any:
        module = cupy.RawModule(code=code, options=compiler_options(dtype, head, wide=wide))
        module.get_function("flash_forward")  # this compiles it
        return module

    return compiled(compile_kernels, "attention is computed without flash.cu, which does not compile")


def compiler_options(dtype: str, head: int, *, wide: bool) -> tuple[str, ...]:
    return (
        "-std=c++17",
        f"-DHEAD={head}",
        f"-DRESULT={'float' if wide else 'half16'}",
        *(["-DFLOAT16"] if dtype == "float16" else []),
    )
