"""What ranks exchange inside of a layer, as operations of the graph.

A layer is split so that each rank has some of its hidden units: some heads of attention, some columns of the MLP. All
ranks know x. Each computes its hidden units from x, and from these a part of the output y, a sum over hidden units:

    forward       x --copy--> x_r --> hidden_r --> y_r --reduce--> y = Σ y_r       r = rank 0, 1, ...
    backward     dx <--Σ dx_r---- dx_r <-- ... <-- dy_r <---------- dy

`reduce` adds up what the ranks have. As y = y_0 + y_1 + ..., the gradient of each y_r is that of y, which all ranks
know: nothing is sent. `copy` gives each rank the same x, which costs nothing. But each rank uses it for other hidden
units, and so finds only a part of its gradient: the gradient of x is the sum of these. So the rule of each is the
other. Between the layers all ranks know x and dx, with the same bits. These are f and g of Megatron-LM (Shoeybi et al.
2019, arXiv 1909.08053).

The other two pairs are for arrays that are divided along an axis, each rank with its part (`split_evenly`):

    own         takes a part of what all ranks know; its gradient is collected from all ranks
    collect     puts the parts together, for something that all ranks compute alike; its gradient is a part: own
    gather      puts the parts together, for a layer of which each rank computes a part, as after `copy`; the gradients
                of the ranks are added up, and each rank needs its part: scatter
    scatter     adds up what the ranks have, as `reduce` does, but each rank gets its part only; its gradient: gather

And `exchange` sends some rows to each rank. The gradients of the rows go the same way back: it is an exchange too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from llm.parallel.communicators.communicator import Communicator
from llm.parallel.shards import split_evenly
from minigrad.backend import Array
from minigrad.tensor import Tensor, as_tensor, record


def copy(x: Any, group: Communicator) -> Tensor:
    """x itself; the gradients of all ranks are added up."""
    x = as_tensor(x)
    return record(x.data, (x,), lambda g, out: (reduce(g, group),))


def reduce(x: Any, group: Communicator) -> Tensor:
    """The sum over the ranks; each gets its gradient."""
    x = as_tensor(x)
    return record(group.all_reduce(x.data), (x,), lambda g, out: (copy(g, group),))


def own(x: Any, group: Communicator, axis: int) -> Tensor:
    """The part of this rank."""
    x = as_tensor(x)
    total = x.shape[axis]
    return record(_parts(x.data, group, axis)[group.rank], (x,), lambda g, out: (collect(g, group, axis, total),))


def collect(x: Any, group: Communicator, axis: int, total: int) -> Tensor:
    """The whole, `total` long along the axis, from the parts of all ranks. All ranks go on alike."""
    x = as_tensor(x)
    return record(_whole(x.data, group, axis, total), (x,), lambda g, out: (own(g, group, axis),))


def gather(x: Any, group: Communicator, axis: int, total: int) -> Tensor:
    """The whole, `total` long along the axis, from the parts of all ranks. Each rank goes on with a part of a layer."""
    x = as_tensor(x)
    return record(_whole(x.data, group, axis, total), (x,), lambda g, out: (scatter(g, group, axis),))


def scatter(x: Any, group: Communicator, axis: int) -> Tensor:
    """The part of this rank of the sum over the ranks."""
    x = as_tensor(x)
    total = x.shape[axis]
    part = group.reduce_scatter(_parts(x.data, group, axis))
    return record(part, (x,), lambda g, out: (gather(g, group, axis, total),))


def exchange(x: Any, group: Communicator, sends: Sequence[int], receives: Sequence[int]) -> Tensor:
    """`sends[r]` of the rows of x go to rank r, which sends `receives[r]` rows: (Σ sends, C) -> (Σ receives, C)."""
    x = as_tensor(x)
    parts = np.split(x.data, np.cumsum(sends)[:-1])
    received = group.all_to_all(parts, [(n, *x.shape[1:]) for n in receives])
    return record(np.concatenate(received), (x,), lambda g, out: (exchange(g, group, receives, sends),))


def _parts(x: Array, group: Communicator, axis: int) -> list[Array]:
    """The parts of all ranks, as views."""
    ends = [split_evenly(x.shape[axis], rank, group.size).stop for rank in range(group.size)]
    return np.split(x, ends[:-1], axis=axis)


def _whole(part: Array, group: Communicator, axis: int, total: int) -> Array:
    lengths = [len(split_evenly(total, rank, group.size)) for rank in range(group.size)]
    axis %= part.ndim
    shapes = [(*part.shape[:axis], length, *part.shape[axis + 1 :]) for length in lengths]
    return np.concatenate(group.all_gather(part, shapes), axis=axis)
