"""For tools/mutate.py, in each program of a run of tests: bound the memory, note the functions that are called.

Python loads a file of this name at the start of every program if its folder is in PYTHONPATH.
"""

import atexit
import contextlib
import os
import resource
import sys
import threading
from typing import Any

MEMORY = 6 << 30  # bytes of data that a process may hold
COPY, CALLS = os.environ["MUTATE_COPY"], os.environ["MUTATE_CALLS"]
seen: dict[int, Any] = {}  # the code of each function by its id, and kept: the id of one that is freed is used again


def trace(frame: Any, *_: Any) -> None:
    """Python calls this function whenever another one is called."""
    code = frame.f_code
    if id(code) not in seen:
        seen[id(code)] = code
        if code.co_filename.startswith(COPY):
            function = code.co_qualname.replace(".<locals>", "")
            with contextlib.suppress(OSError), open(CALLS, "a") as file:  # this program may not be allowed to write
                print(code.co_filename.removeprefix(COPY), function, file=file)


resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
if CALLS:
    sys.settrace(trace)
    atexit.register(sys.settrace, None)  # what runs after that finds no `open`
    threading.settrace(trace)
