"""Worker processes end with their parent, also where it is killed and can tell them nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

ENCODE = """
from tokenizer.fast.processes import parallel_map
parallel_map(print_pid, range(1000), 2)
"""
COUNT = """
from tokenizer.training import word_counts
word_counts.count_group = print_pid
list(word_counts.count_in_processes(["a"] * 1000, None, 2, 1))
"""
COMMON = """
import os, time
def print_pid(*_):
    os.write(1, b"%d\\n" % os.getpid())  # one write: two processes share the pipe, and `print` may write in two parts
    time.sleep(0.2)
    return {}
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
@pytest.mark.parametrize("work", [ENCODE, COUNT])
def test_workers_end_when_their_parent_is_killed(work: str) -> None:
    # Errors of the killed process and of its workers are of no interest. This pipe ends when the last of them ends.
    process = subprocess.Popen(
        [sys.executable, "-c", COMMON + work], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    workers = {int(process.stdout.readline()) for _ in range(4)}
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while any(map(is_alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.02)
    left = list(filter(is_alive, workers))
    for worker in left:
        os.kill(worker, signal.SIGKILL)
    process.stdout.close()
    assert not left


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
