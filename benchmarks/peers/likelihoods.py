"""Log-likelihoods of many pairs of texts with a published model: ours, and lm-eval's class HFLM on transformers.

The folder of the task holds the model in `model`, as a folder of Hugging Face, and `pairs.json`, a list of [context,
continuation]. From texts to log-likelihoods all is measured. The batch of the task is that of lm-eval.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from benchmarks.competitor import Work
from benchmarks.task import Task


def ours(task: Task) -> Work:
    from llm.evaluation.batched import log_likelihoods
    from llm.hub import load
    from llm.parallel.runtime import keep_freed_memory, set_blas_threads

    keep_freed_memory()
    set_blas_threads(task.threads)
    model, tokenizer = load(task.folder / "model")
    pairs = read_pairs(task)
    return lambda: by_number(each.total for each in log_likelihoods(model, tokenizer, pairs))


def lm_eval(task: Task) -> Work:
    import torch
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    torch.set_num_threads(task.threads)
    folder: Any = str(task.folder / "model")
    model = HFLM(folder, device="cpu", dtype="float32", batch_size=task.batch)
    requests = [Instance("loglikelihood", {}, pair, 0) for pair in read_pairs(task)]
    return lambda: by_number(total for total, _ in model.loglikelihood(requests, disable_tqdm=True))


def read_pairs(task: Task) -> list[tuple[str, str]]:
    return [(context, continuation) for context, continuation in json.loads((task.folder / "pairs.json").read_text())]


def by_number(totals: Iterable[float]) -> dict[str, float]:
    return {str(number): total for number, total in enumerate(totals)}
