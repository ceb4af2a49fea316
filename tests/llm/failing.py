"""A program of which one rank fails: mpiexec -n 3 python failing.py HOW RANK (-1: all ranks)"""

from __future__ import annotations

import os
import signal
import sys
import time

from llm.console import errors_as_sentences
from llm.parallel.ending import ending_together


def main(how: str, rank: int) -> None:
    import numpy as np

    from llm.parallel.communicators.mpi import Processes

    world = Processes()
    world.patience = 1.0 if how == "hang" else 30.0
    world.all_reduce(np.ones(5))
    if rank in (world.rank, -1):
        fail(how)
    world.all_reduce(np.ones(5))


def fail(how: str) -> None:
    match how:
        case "raise":
            raise ValueError("the disk is on fire")
        case "bug":
            raise KeyError("x")
        case "exit":
            sys.exit(3)
        case "_exit":
            os._exit(4)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "hang":
            time.sleep(30)


if __name__ == "__main__":
    with ending_together("failing.py"), errors_as_sentences("failing.py", ""):
        main(sys.argv[1], int(sys.argv[2]))
