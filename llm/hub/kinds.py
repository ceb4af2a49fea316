"""How the numbers of a tensor are stored in a file, how they become float32 again, and the way back.

Most kinds store a number alone, in 1 to 8 bytes. bfloat16 (BF16) is the upper half of a float32, and NumPy has no such
type. The kinds that begin with Q store *blocks*: 32 or 256 numbers of 4 to 8 bits, which share a scale. Their layout is
that of llama.cpp (ggml-quants.c). In a block of 32, with d and m in float16:

    Q8_0   d, 32 numbers q of 8 bits with a sign             value = d * q
    Q4_0   d, 32 numbers q of 4 bits                         value = d * (q - 8)
    Q4_1   d, m, 32 numbers q of 4 bits                      value = d * q + m
    Q5_0   d, the fifth bits of 32 numbers q, 4 bits of each      value = d * (q - 16)
    Q5_1   d, m, the fifth bits of 32 numbers q, 4 bits of each   value = d * q + m

The kinds with blocks of 256 (Q4_K, Q5_K, Q6_K) have scales of scales; the package `gguf` reads them. It reads the
others too, and is the reference in the tests, but at a fifth of the speed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from llm.hub.errors import HubError

INSTALL_GGUF = "install it in the folder of this project: pip install -e '.[hub]'"


@dataclass(frozen=True)
class Kind:
    """One way to store numbers."""

    name: str
    numbers: int  # in a block: 1 where each number stands alone
    nbytes: int  # of a block
    dtype: np.dtype[Any]  # of an array that holds the file's bytes: of a number where it stands alone, else uint8
    # Writes the numbers of an array of `dtype` into a float32 array, C-contiguous. None: NumPy converts `dtype` itself
    to_float32: Callable[[np.ndarray, np.ndarray], None] | None = None

    def raw_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape, in `dtype`, of the bytes of a tensor. ValueError if a row is not a number of whole blocks."""
        if self.numbers == 1:
            return shape
        if not shape or shape[-1] % self.numbers:
            raise ValueError(
                f"a row of {self.name} holds a multiple of {self.numbers} numbers, not {shape[-1:]}; use F16"
            )
        return (*shape[:-1], shape[-1] // self.numbers * self.nbytes)

    def shape(self, raw_shape: tuple[int, ...]) -> tuple[int, ...]:
        """The inverse of `raw_shape`."""
        if self.numbers == 1:
            return raw_shape
        return (*raw_shape[:-1], raw_shape[-1] // self.nbytes * self.numbers)


def bfloat16(raw: np.ndarray, out: np.ndarray) -> None:
    bits = out.view(np.uint32)
    np.copyto(bits, raw)
    np.left_shift(bits, 16, out=bits)


def float16(raw: np.ndarray, out: np.ndarray) -> None:
    """Three times as fast as NumPy's own conversion, and equal to it."""
    if raw.size and (raw.view("<u2") & 0x7C00).max() == 0x7C00:  # infinite, or not a number: rare in weights
        np.copyto(out, raw)
        return
    # Move exponent (5 bits) and mantissa (10 bits) to the places where float32 has the end of its exponent and the
    # beginning of its mantissa. float16 counts exponents from -15 and float32 from -127, so the value that results is
    # 2^-112 of the right one. The multiplication is exact, also where the float32 before it is a denormal number.
    bits = out.view(np.int32)
    np.copyto(bits, raw.view("<i2"))  # to 32 bits: copies of the sign bit fill the left half
    np.left_shift(bits, 13, out=bits)
    np.bitwise_and(bits, ~0x70000000, out=bits)  # of the copies of the sign, only the first one stays
    np.multiply(out, np.float32(2.0**112), out=out)


def q8_0(raw: np.ndarray, out: np.ndarray) -> None:
    blocks = raw.reshape(-1, 34)  # (N, 2 + 32)
    np.multiply(blocks[:, 2:].view(np.int8), _halves(blocks, 0), out=out.reshape(-1, 32))


def q4_or_q5(raw: np.ndarray, out: np.ndarray, *, bits: int, with_minimum: bool) -> None:
    """Q4_0, Q4_1, Q5_0, Q5_1."""
    start = 4 if with_minimum else 2
    blocks = raw.reshape(-1, start + (bits - 4) * 4 + 16)
    q = _low_bits(blocks[:, -16:])  # (N, 32)
    if bits == 5:
        q |= np.unpackbits(blocks[:, start : start + 4], axis=1, bitorder="little") << 4
    out = out.reshape(-1, 32)
    if with_minimum:
        np.multiply(q, _halves(blocks, 0), out=out)
        np.add(out, _halves(blocks, 2), out=out)
    else:
        q -= 1 << (bits - 1)  # wraps around at 256, as numbers with a sign do
        np.multiply(q.view(np.int8), _halves(blocks, 0), out=out)


def _halves(blocks: np.ndarray, start: int) -> np.ndarray:
    """The float16 at byte `start` of each block, (N, 1), as float32."""
    return blocks[:, start : start + 2].view("<f2").astype(np.float32)


def _low_bits(packed: np.ndarray) -> np.ndarray:
    """(N, 16) bytes -> (N, 32) numbers of 4 bits: first the lower halves of all bytes, then the upper halves."""
    numbers = np.empty((len(packed), 32), np.uint8)
    np.bitwise_and(packed, 15, out=numbers[:, :16])
    np.right_shift(packed, 4, out=numbers[:, 16:])
    return numbers


def by_gguf(raw: np.ndarray, out: np.ndarray, *, name: str) -> None:
    gguf = import_gguf()
    np.copyto(out, gguf.dequantize(np.ascontiguousarray(raw), gguf.GGMLQuantizationType[name]))


def import_gguf() -> Any:
    try:
        import gguf
    except ImportError:
        raise HubError(f"GGUF files need the package gguf, which is not installed; {INSTALL_GGUF}") from None
    return gguf


def _alone(name: str, dtype: str, to_float32: Callable[[np.ndarray, np.ndarray], None] | None = None) -> Kind:
    return Kind(name, 1, np.dtype(dtype).itemsize, np.dtype(dtype), to_float32)


def _blocks(name: str, numbers: int, nbytes: int, to_float32: Callable[..., None], /, **options: Any) -> Kind:
    return Kind(name, numbers, nbytes, np.dtype(np.uint8), partial(to_float32, **options) if options else to_float32)


KINDS = {kind.name: kind for kind in (
    _alone("F64", "<f8"), _alone("F32", "<f4"), _alone("F16", "<f2", float16), _alone("BF16", "<u2", bfloat16),
    _alone("I64", "<i8"), _alone("I32", "<i4"), _alone("I16", "<i2"), _alone("I8", "i1"),
    _alone("U64", "<u8"), _alone("U32", "<u4"), _alone("U16", "<u2"), _alone("U8", "u1"), _alone("BOOL", "?"),
    _blocks("Q8_0", 32, 34, q8_0),
    _blocks("Q4_0", 32, 18, q4_or_q5, bits=4, with_minimum=False),
    _blocks("Q4_1", 32, 20, q4_or_q5, bits=4, with_minimum=True),
    _blocks("Q5_0", 32, 22, q4_or_q5, bits=5, with_minimum=False),
    _blocks("Q5_1", 32, 24, q4_or_q5, bits=5, with_minimum=True),
    _blocks("Q4_K", 256, 144, by_gguf, name="Q4_K"),
    _blocks("Q5_K", 256, 176, by_gguf, name="Q5_K"),
    _blocks("Q6_K", 256, 210, by_gguf, name="Q6_K"),
)}  # fmt: skip


# --- the way back -----------------------------------------------------------------------------------------------------


def kind_of_dtype(dtype: Any) -> str:
    """The kind that stores arrays of that dtype as they are. (uint16 is U16, although BF16 has that dtype too.)"""
    names = [kind.name for kind in KINDS.values() if kind.dtype == dtype and kind.numbers == 1 and kind.name != "BF16"]
    if not names:
        raise ValueError(f"arrays of {dtype} cannot be stored")
    return names[0]


def rounded(array: np.ndarray, kind: str) -> np.ndarray:
    """The raw array of the kind whose numbers are nearest to `array`; for kinds of blocks, as llama.cpp rounds them.

    ValueError when the kind cannot hold them.
    """
    if kind in ("F64", "F32"):
        return array.astype(KINDS[kind].dtype, copy=False)
    if kind == "F16":
        with np.errstate(over="ignore"):
            half = array.astype(KINDS[kind].dtype, copy=False)
        if (np.isinf(half) & np.isfinite(array)).any():
            raise ValueError("numbers over 65504 cannot be stored as F16; use BF16 or F32")
        return half
    if kind == "BF16":
        return _to_bfloat16(np.asarray(array, np.float32))
    if kind not in ("Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"):
        raise ValueError(f"{kind} is read, but not written; use F32, F16, BF16 or Q8_0")
    KINDS[kind].raw_shape(array.shape)  # ValueError for rows that are not whole blocks
    gguf = import_gguf()
    return gguf.quantize(np.ascontiguousarray(array, np.float32), gguf.GGMLQuantizationType[kind])


def _to_bfloat16(array: np.ndarray) -> np.ndarray:
    """The upper 16 bits, rounded to the nearest, of two that are equally near to the one that ends in a 0."""
    bits = array.view(np.uint32)
    upper = (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16
    return np.where(np.isnan(array), 0x7FC0, upper).astype("<u2")  # rounding could make an infinity of a NaN
