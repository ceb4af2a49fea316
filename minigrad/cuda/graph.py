"""CUDA graphs: the work of a function is recorded once, and then started again as a whole by a single launch.

    graph, first = capture(work)    # work() has been done once, with this result, and is recorded
    batch[...] = next_batch         # the graph reads the same arrays, with whatever is in them
    graph.launch()
    graph.result                    # what work() returned: arrays that each launch writes

Starting an operation takes Python and CuPy 10 to 20 microseconds, and a training step has hundreds of them. A graph has
the addresses and numbers of all of them: so `work` must use the same arrays each time, must not wait for the GPU or
copy from the host, and Python numbers in it stay what they were.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from minigrad.backend import cupy_module
from minigrad.cuda.products import our_products

Result = TypeVar("Result")


class Graph(Generic[Result]):
    """A recorded function; made by `capture`. `result`: what the function returned while it was recorded."""

    def __init__(self, result: Result, graph: Any, pool: Any):
        # The pool has the memory of all arrays in between. While it lives, nothing else gets that memory.
        self.result, self._graph, self._pool = result, graph, pool

    def launch(self) -> None:
        """Do the work again; nothing waits for it. What it reads must have been written on the current stream."""
        self._graph.launch(cupy_module().cuda.get_current_stream())


def capture(work: Callable[[], Result]) -> tuple[Graph[Result], Result]:
    """Call `work` twice: the first call does the work, and its result is returned; the second only records it.

    The first call compiles kernels and makes the plans of products. What `work` does to objects of Python happens
    twice, but to arrays once. Products are computed by cublasLt (products.py): CuPy's own cannot be recorded.
    """
    cupy = cupy_module()
    stream, pool = cupy.cuda.Stream(non_blocking=True), cupy.cuda.MemoryPool()
    cupy.cuda.get_current_stream().synchronize()  # what `work` reads has been written, whatever stream wrote it
    with cupy.cuda.using_allocator(pool.malloc), stream, our_products():
        first = work()
        stream.synchronize()
        stream.begin_capture()
        try:
            result = work()
        finally:
            graph = stream.end_capture()
    return Graph(result, graph, pool), first
