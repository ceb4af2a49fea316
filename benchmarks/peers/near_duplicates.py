"""Near duplicates among texts: ours, and datasketch. Both get the texts of the file `texts.json` in the folder of the
task, and look for those that have a near duplicate before them.

The texts are words of ASCII in lower case, with one space between them. So datasketch need not simplify them; ours does
so in any case.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable
from typing import Any

from benchmarks.competitor import Work
from benchmarks.task import Task
from llm.data.lab.duplicates.plan import Plan

PLAN = Plan()


def ours(task: Task) -> Work:
    import numpy as np

    from llm.data.lab.duplicates.groups import pairs_of
    from llm.data.lab.duplicates.minhash import band_keys, signatures
    from llm.parallel.runtime import keep_freed_memory

    keep_freed_memory()
    texts = read_texts(task)
    numbers = np.arange(len(texts))

    def work() -> dict[str, float]:
        began = time.perf_counter()
        signed = signatures(texts, PLAN)
        signing = time.perf_counter() - began
        others = [pairs_of(keys, numbers)[1] for keys in band_keys(signed, PLAN)]
        return {"signing": signing, "found": len(np.unique(np.concatenate(others)))}

    return work


def datasketch(task: Task, **options: Any) -> Work:
    from datasketch import MinHash, MinHashLSH

    texts = read_texts(task)
    empty = MinHash(PLAN.hashes, seed=PLAN.seed, **options)

    def sign(text: str) -> MinHash:
        words, signature = text.split(), empty.copy()
        last = max(1, len(words) - PLAN.words + 1)
        signature.update_batch({" ".join(words[i : i + PLAN.words]).encode() for i in range(last)})
        return signature

    def work() -> dict[str, float]:
        began = time.perf_counter()
        signed = [sign(text) for text in texts]
        signing = time.perf_counter() - began
        index, found = MinHashLSH(num_perm=PLAN.hashes, params=(PLAN.bands, PLAN.rows)), 0
        for i, signature in enumerate(signed):
            found += bool(index.query(signature))
            index.insert(i, signature)
        return {"signing": signing, "found": found}

    return work


def datasketch_crc32(task: Task) -> Work:
    """With the fastest hash function that Python has, instead of SHA-1."""
    hash_function: Callable[[bytes], int] = zlib.crc32
    return datasketch(task, hashfunc=hash_function)


def read_texts(task: Task) -> list[str]:
    return json.loads((task.folder / "texts.json").read_text())
