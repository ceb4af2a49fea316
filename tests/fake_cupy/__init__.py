"""A strict stand-in for CuPy 14.2: it computes with NumPy and refuses what CuPy refuses. README.md has the account.

    with installed() as cupy:           # from here on, `import cupy` finds the stand-in
        x = Tensor(cupy.asarray([1.0, 2.0]), requires_grad=True)
        with no_sync():                 # inside, it is an error to wait for the GPU
            x.exp().sum().backward()

Reading order: array.py, indexing.py, ufuncs.py, functions.py, special.py, cuda.py, kernels.py, launches.py, traffic.py.
Each of the files puts its functions into the module `cupy` when it is imported.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from tests.fake_cupy import cuda, functions, kernels, special, traffic, ufuncs  # noqa: F401
from tests.fake_cupy.array import cupy, ndarray
from tests.fake_cupy.cublaslt import LIBRARY, use_cublaslt
from tests.fake_cupy.launches import launches
from tests.fake_cupy.traffic import HostSync, no_sync, syncs, uploads

# fmt: off
__all__ = ["HostSync", "cupy", "install", "installed", "launches", "ndarray", "no_sync", "reset", "syncs", "uninstall",
           "uploads"]
# fmt: on

_MODULES = {"cupy": cupy, "cupy.cuda": cupy.cuda}
_hidden: list[dict[str, ModuleType]] = []


def reset() -> None:
    """Forget what was counted."""
    traffic.reset()
    launches.clear()


def install() -> ModuleType:
    """Make `import cupy` find the stand-in, with no syncs and uploads; a real CuPy is hidden until `uninstall`."""
    _hidden.append({name: module for name, module in sys.modules.items() if name == "cupy" or name.startswith("cupy.")})
    for name in _hidden[-1]:
        del sys.modules[name]
    sys.modules.update(_MODULES)
    use_cublaslt(LIBRARY)
    reset()
    return cupy


def uninstall() -> None:
    """Undo the last `install`."""
    for name in _MODULES:
        sys.modules.pop(name, None)
    sys.modules.update(_hidden.pop())
    use_cublaslt(LIBRARY if _hidden else None)


@contextmanager
def installed() -> Iterator[ModuleType]:
    """The stand-in is installed inside the block."""
    install()
    try:
        yield cupy
    finally:
        uninstall()
