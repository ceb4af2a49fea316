"""Writing with a key-value cache, in the same way for every library.

`read(ids, cache)` takes ids (B, T), adds their keys and values to the cache, and returns the logits (B, V) of the token
after the last one, as a NumPy array. The next token comes from the task and not from the logits: otherwise two
libraries might write different texts after a tie between two tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.competitor import Work
from benchmarks.task import Task

PROMPT, WRITTEN = 16, 64  # tokens
READ = 512  # tokens of a prefill, or the context if it is shorter

NewCache = Callable[[], Any]
Read = Callable[[np.ndarray, Any], np.ndarray]


def decoder(task: Task, new_cache: NewCache, read: Read) -> Work:
    """A call reads a prompt, which is not timed, and writes WRITTEN tokens in each of the B rows."""
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
