"""A strict stand-in for CuPy 14 over NumPy: what runs on it, without a GPU, has a good chance to run on one.

    with installed() as cupy:           # now `import cupy` finds the stand-in
        x = Tensor(cupy.asarray([1.0, 2.0]), requires_grad=True)
        with no_sync():                 # a hidden wait for the GPU is an error in here
            x.exp().sum().backward()

It computes with NumPy and refuses what CuPy refuses: NumPy arrays as operands, conversion by `np.asarray`, options and
functions that CuPy does not have. It wraps indices out of range around, as CuPy does without a word, and it writes down
each host sync and each silent upload (traffic.py). Signatures and rules are those of CuPy 14.2; test_fake_cupy.py
compares them where CuPy is installed.

Kernels of one's own run too, without threads (kernels.py). Not played: `ElementwiseKernel`, `fuse`, `cupy.random`,
`cupy.linalg`, streams, more than one device; that scatter-adds sum in any order; that writing twice to one index leaves
either value; the speed of anything.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from tests.fake_cupy import cuda, functions, kernels, special, ufuncs  # noqa: F401  (each puts its part into the module `cupy`)
from tests.fake_cupy.array import cupy, ndarray
from tests.fake_cupy.traffic import HostSync, no_sync, reset, syncs, uploads

__all__ = ["HostSync", "cupy", "install", "installed", "ndarray", "no_sync", "reset", "syncs", "uninstall", "uploads"]

_MODULES = {"cupy": cupy, "cupy.cuda": cupy.cuda}
_hidden: list[dict[str, ModuleType]] = []


def install() -> ModuleType:
    """Make `import cupy` find the stand-in, with no traffic counted yet; a real CuPy is hidden until `uninstall`."""
    _hidden.append({name: module for name, module in sys.modules.items() if name == "cupy" or name.startswith("cupy.")})
    for name in _hidden[-1]:
        del sys.modules[name]
    sys.modules.update(_MODULES)
    reset()
    return cupy


def uninstall() -> None:
    """Undo the last `install`."""
    for name in _MODULES:
        sys.modules.pop(name, None)
    sys.modules.update(_hidden.pop())


@contextmanager
def installed() -> Iterator[ModuleType]:
    """`install()` for the length of a with-block, or of a pytest fixture that yields inside one."""
    install()
    try:
        yield cupy
    finally:
        uninstall()
