"""Mixed precision: matrix products in bfloat16 or float16, and everything else in float32.

The whole policy (Micikevicius et al. 2018, arXiv 1710.03740):

    float32                 weights ("masters"), gradients and their sums, moments, activations between the operations,
                            norms, softmax, losses, all reductions, the sums inside products and their results
    the half type           the factors of the products in `linear`, the head and attention, in both passes

That is the policy of torch.autocast, except that autocast rounds the results of products to the half type.

Why masters: bfloat16 has 8 significant bits. A weight of 1 that is changed by 0.001 is rounded back to 1, each time.
Why float32 results: a sum of bfloat16 numbers stands still as soon as it is 256 times as large as its terms. And on a
GPU, a product that is written in float32 needs no second pass that converts it.

On a GPU such products run on tensor cores, by cublasLt (cuda/products.py): CuPy multiplies half types well only as
matrices, and its products with more axes refuse bfloat16. NumPy has no fast product of half types: on the CPU the
factors are rounded and widened again, and multiplied in float32. This gives the same numbers, up to the order of sums,
but takes longer than float32: it is there to test the policy.

    with cast_weights(flats, BF16), products_in(BF16):      one cast of each flat array, in place of one in each product
        loss = model.loss(ids, targets)
        loss.backward()                                     as precise as the forward pass, also outside of the block

Weights that are not trained are cast once for all steps (`keep_halves`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import local
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from minigrad.backend import Array, array_module
from minigrad.cuda import products

if TYPE_CHECKING:
    from minigrad.nn.module import Parameter
    from minigrad.optim.flat import FlatParameters
    from minigrad.tensor import Tensor

Name = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class Precision:
    """How matrix products are computed. `dtype`: of the factors; None: no cast."""

    dtype: np.dtype | None = None

    def factor(self, a: Array) -> Array:
        """An array as a factor: float32 is rounded to the half type. Other dtypes stay as they are."""
        dtype = self.factor_dtype(a)
        return a if a.dtype == dtype else a.astype(dtype)

    def factor_dtype(self, a: Array) -> np.dtype:
        """The dtype of the array as a factor."""
        return a.dtype if self.dtype is None or a.dtype != np.float32 else self.dtype

    def weight(self, weight: Tensor) -> Array:
        """A weight as a factor: its copy of `cast_weights` or `keep_halves`, if there is one."""
        if self.dtype is None:
            return weight.data
        half = getattr(weight, "half", None)
        if half is not None and half.dtype == self.dtype:
            return half
        half = self.factor(weight.data)
        if getattr(weight, "keeps_half", False):
            weight.half = half  # type: ignore[attr-defined]  # it is a Parameter
        return half

    def matmul(self, a: Array, b: Array, out: Array | None = None) -> Array:
        """a @ b, in float32 if the factors are float32 or of the half type. Leading axes must be equal."""
        if self.dtype is None:
            return products.matmul(a, b, out)
        a, b = self.factor(a), self.factor(b)
        if a.dtype == b.dtype == self.dtype:
            return _half_product(a, b, out)
        y = a @ b
        if out is None:
            return y
        out[...] = y
        return out

    def add_product(self, a: Array, b: Array, out: Array) -> None:
        """out += a @ b."""
        if self.dtype is None:
            products.add_product(a, b, out)
            return
        a, b = self.factor(a), self.factor(b)
        if array_module(a) is not np and a.dtype == b.dtype == self.dtype and out.dtype == np.float32:
            products.half_product(a, b, out, add=True)
        else:
            out += self.matmul(a, b)


def _half_product(a: Array, b: Array, out: Array | None = None) -> Array:
    """The product of two arrays of the same half type, added up in float32: float32."""
    if array_module(a) is np:
        return np.matmul(a.astype(np.float32), b.astype(np.float32), out=out)
    return products.half_product(a, b, out)


# --- which precision is used ------------------------------------------------------------------------------------------

FP32 = Precision()
FP16 = Precision(np.dtype(np.float16))


def precision_named(name: Name) -> Precision:
    """The policy for "fp32", "bf16" or "fp16". Raises RuntimeError for bf16 without the package ml_dtypes."""
    if name != "bf16":
        return {"fp32": FP32, "fp16": FP16}[name]
    try:
        from ml_dtypes import bfloat16  # optional: NumPy has no bfloat16
    except ImportError:
        raise RuntimeError(
            "bf16 needs the package ml_dtypes; install it in the folder of this project: pip install -e '.[bf16]'"
        ) from None
    return Precision(np.dtype(bfloat16))


class _Chosen(local):
    precision: Precision = FP32  # the default of every thread


_chosen = _Chosen()


def current_precision() -> Precision:
    """That of this thread. An operation asks once, in its forward pass, and computes its gradients in the same."""
    return _chosen.precision


@contextmanager
def products_in(precision: Precision) -> Iterator[None]:
    """Inside, matrix products of this thread are computed in this precision."""
    before, _chosen.precision = _chosen.precision, precision
    try:
        yield
    finally:
        _chosen.precision = before


@contextmanager
def cast_weights(flats: Sequence[FlatParameters], precision: Precision) -> Iterator[None]:
    """Inside, all parameters have copies in the half type, for products: one cast of each flat array.

    The copies end with the block, so that none is left from before an update. All threads use the same ones.
    """
    parameters: list[Any] = []
    try:
        for flat in flats:
            flat.sync_views()  # a parameter that was replaced is copied into the flat array first
            if flat.data.size < flat.size:  # only a shard is here; the rest is cast where it is gathered
                continue
            for p, half in zip(flat.parameters, flat.views(precision.factor(flat.data))):
                p.half = half
                parameters.append(p)
        yield
    finally:
        for p in parameters:
            p.half = None


def keep_halves(parameters: Iterable[Parameter]) -> None:
    """Let those that are frozen keep the copy in the half type that the first product makes: 2 bytes for each number.

    What is read only by rows, such as an embedding, gets no copy. Their arrays must not be written to from now on.
    """
    for p in parameters:
        p.keeps_half = not p.requires_grad
