"""Which workers a model gets: processes if it is small and the system can fork, otherwise threads."""

from __future__ import annotations

import multiprocessing
import sys
from contextlib import suppress

from llm.model.gpt import GPT
from llm.parallel.objective import Objective
from llm.parallel.processes import Processes
from llm.parallel.threads import Threads
from llm.parallel.workers import Workers

MAX_PARAMETERS_FOR_PROCESSES = 1 << 22  # 16 MB of float32 for the gradient of each worker


def make_workers(model: GPT, objective: Objective, count: int) -> Workers:
    """`count` workers of the faster kind. To be called before the optimizer is made: see `Processes`."""
    if processes_are_faster(model.num_parameters(), count):
        # OSError: there is no memory for another process, or the system does not allow one. Then threads are used.
        with suppress(OSError):
            return Processes(model, objective, count)
    return Threads(model, objective, count)


def processes_are_faster(parameters: int, count: int) -> bool:
    """Whether `count` workers on a model of this size are faster as processes, and this process can fork them."""
    # A process of a multiprocessing pool is a daemon, and daemons may have no children.
    can_fork = sys.platform == "linux" and not multiprocessing.current_process().daemon
    return count > 1 and parameters <= MAX_PARAMETERS_FOR_PROCESSES and can_fork
