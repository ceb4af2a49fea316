"""Writing with a key-value cache, the same for every library: which tokens are read, and what is checked.

The next token read is given, not the one that was chosen, so that a tie between two tokens does not lead to two texts.
`read(ids, cache)` takes ids (B, T), adds them to the cache and returns the logits of what follows the last, (B, V), as
a NumPy array.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.contestant import Work
from benchmarks.task import Task

PROMPT, WRITTEN = 16, 64  # tokens
READ = 512  # tokens of a prefill, if the context has so many

NewCache = Callable[[], Any]
Read = Callable[[np.ndarray, Any], np.ndarray]


def decoder(task: Task, new_cache: NewCache, read: Read) -> Work:
    """A call writes WRITTEN tokens in each of the B rows, after a prompt that is not timed."""
    import time

    ids = task.ids()[0]

    def write() -> dict[str, float]:
        cache = new_cache()
        read(ids[:, :PROMPT], cache)
        best, began = [], time.perf_counter()
        for t in range(PROMPT, PROMPT + WRITTEN):
            logits = read(ids[:, t : t + 1], cache)  # (B, V)
            best.append(logits[0, logits.argmax(-1)[0]])
        return {"seconds": time.perf_counter() - began, "logit": float(np.mean(best))}

    return write


def prefiller(task: Task, new_cache: NewCache, read: Read) -> Work:
    """A call reads one text into an empty cache."""
    ids = task.ids()[0][:, : min(READ, task.config.context)]
    return lambda: {"logit": float(read(ids, new_cache()).max(-1)[0])}
