"""A program in which ranks use all that a communicator can do: mpiexec -n 3 python talking.py"""

from __future__ import annotations

import numpy as np

from llm.parallel.communicators.communicator import Communicator
from llm.parallel.mesh import Mesh


def talk(world: Communicator) -> list:
    """Results that are the same with ranks that are threads and with ranks that are processes."""
    rank, size = world.rank, world.size
    random = np.random.default_rng(rank)
    matrix = np.asfortranarray(random.standard_normal((4, 3)))  # MPI would send it in the wrong order
    found = [
        world.all_reduce(matrix),
        world.all_reduce(matrix, "max"),
        *world.all_gather(matrix[:, ::2]),
        *world.all_to_all([np.full((rank + 1, to), rank, np.float16) for to in range(size)]),
        world.reduce_scatter([np.arange(to + 2.0) * rank for to in range(size)]),
        world.broadcast(matrix if rank == 1 else None, root=1),
        np.array(world.broadcast_object({"rank": rank}, root=2)["rank"]),
    ]
    world.send(matrix, (rank + 1) % size)
    found.append(world.receive((rank - 1) % size, (4, 3), matrix.dtype))
    pair = world.split(rank % 2)
    found.append(pair.all_reduce(matrix))
    mesh = Mesh(world, tensor=size)
    found += [mesh.tensor.all_reduce(matrix), np.array([world.sent, pair.sent, mesh.tensor.sent, mesh.data.sent])]
    world.barrier()
    return found


if __name__ == "__main__":
    import pickle
    import sys

    from llm.parallel.communicators.mpi import Processes

    world = Processes()
    with open(f"{sys.argv[1]}/{world.rank}", "wb") as file:
        pickle.dump(talk(world), file)
