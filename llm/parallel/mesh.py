"""The ranks as a grid with three axes: which rank works together with which others, and for what.

For 8 ranks, split in 2 x 2 x 2 (torch.distributed calls this a DeviceMesh):

                     pipeline 0                pipeline 1
                 tensor 0  tensor 1        tensor 0  tensor 1
       data 0       0         1     data 0    4         5
       data 1       2         3     data 1    6         7

Each rank belongs to one group along each axis. Rank 5 computes each layer with rank 4 (tensor), adds up gradients with
rank 7 (data), and gets activations from rank 1 (pipeline). Tensor ranks are neighbours, because they send most: mpiexec
puts neighbours on the same machine. Pipeline ranks send least, so they are the farthest from each other.

Ranks that divide the tokens of a text (context) have the same weights too, and add up gradients as those of other rows
do. So they are members of the group `data`, and neighbours in it.
"""

from __future__ import annotations

import math

from llm.parallel.communicators.alone import Alone
from llm.parallel.communicators.communicator import Communicator


class Mesh:
    """The groups of this rank: `world` has all ranks; `data`, `tensor` and `pipeline` those along one axis.

    `model`: the ranks that have one model together, along both axes `pipeline` and `tensor`, in this order. `context`:
    those of `data` that have the same rows.

    `data`, `tensor`, `pipeline`, `context`: how many ranks along each axis. `data` may be None: what is left. Raises
    ValueError if the product is not the number of ranks. All ranks must make their mesh together.
    """

    def __init__(
        self, world: Communicator, *, data: int | None = None, tensor: int = 1, pipeline: int = 1, context: int = 1
    ):
        data, tensor, pipeline = complete(world.size // context, data, tensor, pipeline)
        data *= context  # those with the same rows are among them
        self.world = world
        rank, self.tensor_rank = divmod(world.rank, tensor)
        self.pipeline_rank, self.data_rank = divmod(rank, data)
        # The ranks of a group have the same coordinates along the other two axes. These give the group its number.
        self.tensor = _group(world, tensor, self.pipeline_rank * data + self.data_rank)
        self.data = _group(world, data, self.pipeline_rank * tensor + self.tensor_rank)
        self.pipeline = _group(world, pipeline, self.data_rank * tensor + self.tensor_rank)
        self.model = _group(world, pipeline * tensor, self.data_rank)
        self.context = Alone() if context == 1 else self.data.split(self.data_rank // context)

    @classmethod
    def alone(cls) -> Mesh:
        """The mesh of one process."""
        return cls(Alone())

    @property
    def is_first(self) -> bool:
        """Whether this is the rank that prints and writes files."""
        return self.world.rank == 0

    def __repr__(self) -> str:
        if self.context.size > 1:
            return f"{self.data.size // self.context.size} data x {self.context.size} context"
        return f"{self.data.size} data x {self.tensor.size} tensor x {self.pipeline.size} pipeline"


def complete(ranks: int, data: int | None, tensor: int | None, pipeline: int | None) -> tuple[int, int, int]:
    """The number of ranks along each axis. Raises ValueError if `ranks` cannot be split in this way.

    Of those that are None, the first gets what is left: usually data, otherwise tensor. The others are 1.
    """
    axes = [data, tensor, pipeline]
    given = math.prod(1 if size is None else size for size in axes)
    if None in axes and given > 0:
        axes[axes.index(None)] = ranks // given
    data, tensor, pipeline = found = tuple(1 if size is None else size for size in axes)
    if min(found) < 1 or math.prod(found) != ranks:
        raise ValueError(
            f"{ranks} ranks cannot be split into {data} (data) x {tensor} (tensor) x {pipeline} (pipeline); the "
            "product must be the number of ranks"
        )
    return data, tensor, pipeline


def _group(world: Communicator, size: int, number: int) -> Communicator:
    return Alone() if size == 1 else world.split(number)
