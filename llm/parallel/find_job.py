"""Which job this process belongs to. One process imports nothing of what splits a model over ranks."""

from __future__ import annotations

from llm.parallel.ending import started_by_mpi
from llm.parallel.job import Job


def find_job() -> Job:
    """The job that this process belongs to. Raises ValueError if mpiexec has started it, and mpi4py is missing."""
    if not started_by_mpi():
        return Job()
    from llm.parallel.rank_job import job_of_ranks

    return job_of_ranks()
