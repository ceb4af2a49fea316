"""Going through a large flat array in blocks, and in parallel.

An update of AdamW is a dozen NumPy operations, each of which goes through its arrays from one end to the other. With
arrays larger than the cache, every operation would read them from memory again. So all operations are done on one
block, while it is in the cache, and then on the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from minigrad.backend import Array, array_module

# Elements in a block. On the CPU: 1 MiB of float32, and AdamW works on five arrays. Smaller blocks would fit better
# into the cache, but mean more operations; between two of them, threads wait for each other at Python's global lock.
CPU_BLOCK = 262_144
# A GPU wants few and large operations. The limit is there for the scratch array, which is as large as a block.
GPU_BLOCK = 16_777_216

# parallel(work, size) calls work(slice) with slices that together make up range(size), at once in several threads or
# one after the other.
Parallel = Callable[[Callable[[slice], object], int], None]


def run_serially(work: Callable[[slice], object], size: int) -> None:
    """The `Parallel` of one thread: the caller does all the work at once."""
    work(slice(0, size))


def block_size(array: Array) -> int:
    """How many elements of this array make a block."""
    return CPU_BLOCK if array_module(array) is np else GPU_BLOCK


def blocks(array: Array) -> Iterator[slice]:
    """The slices of a flat array that are its blocks."""
    size = block_size(array)
    # The last block is shorter if the size is not a multiple.
    return (slice(start, min(start + size, array.size)) for start in range(0, array.size, size))
