"""What the model at --from says about pairs of completions, computed once and kept in the folder of the run.

The losses of losses.py compare the model in training with the one that it was at the beginning. Its
log-probabilities never change. So they are computed before the first step, for the pairs that the steps will use, and
the model at --from need not be in memory. With adapters, it is the model with these switched off.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from llm.inference.classify import batches_by_length
from llm.model.adapters.attach import adapter_off
from llm.model.gpt import GPT
from llm.model.no_dropout import no_dropout
from llm.parallel.blas import limited_blas_threads
from llm.parallel.threads import map_in_threads
from llm.runs.errors import RunError
from llm.tuning.chat.packing import Tokens
from llm.tuning.preferences.completions import completion_logps, ids_and_targets
from minigrad import no_grad
from minigrad.backend import to_device
from tokenizer.formats.atomic import new_file

Pair = tuple[Tokens, Tokens]  # chosen, rejected
Progress = Callable[[str, int, int | None], None]


def reference_logps(
    model: GPT, pairs: Sequence[Pair], report: Progress | None = None, *, threads: int = 1
) -> np.ndarray:
    """The log-probabilities of both completions of each pair without the model's adapters, (pairs, 2) float32.

    They have the same bits with any number of threads: each batch is computed by one, which BLAS does not divide.
    """

    def logps_of(rows: Sequence[int]) -> np.ndarray:  # (rows, 2)
        ids, targets = ids_and_targets([text for row in rows for text in pairs[row]])  # (2 rows, T)
        with no_grad(), adapter_off(model):  # of this thread
            logps = completion_logps(model, *(to_device(array, model.device) for array in (ids, targets)))
        return to_device(logps.data, "cpu").reshape(len(rows), 2)

    found, done = np.empty((len(pairs), 2), np.float32), 0
    batches = list(batches_by_length([2 * max(len(text.ids) for text in pair) for pair in pairs]))
    with no_dropout(model), limited_blas_threads(1):
        for rows, logps in zip(batches, map_in_threads(logps_of, batches, threads), strict=True):
            found[rows] = logps
            done += len(rows)
            if report:
                report("reference", done, len(pairs))
    return found


# --- the file ---------------------------------------------------------------------------------------------------------

SHA256 = "sha256"  # the checksum of the numbers, beside those of the examples
Reference = dict[str, np.ndarray]  # "train", "val": (pairs, 2) float32, NaN where nothing was computed


def empty(train: int, val: int) -> Reference:
    return {"train": np.full((train, 2), math.nan, np.float32), "val": np.full((val, 2), math.nan, np.float32)}


def write_reference(path: Path, reference: Reference, data: dict[str, str]) -> None:
    """`data`: checksums of the examples to which the numbers belong."""
    about = json.dumps({**data, SHA256: checksum(reference)}, sort_keys=True)
    with new_file(path) as partial:
        save_file(reference, partial, {"data": about})  # one key: safetensors writes several in any order


def read_reference(path: Path, data: dict[str, str]) -> Reference:
    """The inverse of `write_reference`. Raises RunError if the file is damaged, or belongs to other examples."""
    try:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            about = json.loads(metadata.get("data", "{}"))
            reference = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no dict
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise RunError(f"{path} cannot be read ({error}); delete it to have it computed again from --from") from None
    if about.pop(SHA256, metadata.get(SHA256)) != checksum(reference):  # before 2026-12-01 it had a key of its own
        raise RunError(f"{path} is damaged; delete it to have it computed again from the model at --from")
    if about != data:
        raise RunError(f"{path} belongs to other examples; give the --data that the run was begun with")
    return reference


def checksum(reference: Reference) -> str:
    parts = [f"{name} {array.dtype} {array.shape}".encode() + array.tobytes() for name, array in
             sorted(reference.items())]  # fmt: skip
    return hashlib.sha256(b"".join(parts)).hexdigest()
