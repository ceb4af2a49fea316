"""A published model that writes with a key-value cache: ours and transformers. How it writes: decoding.py.

The folder of the task holds the model in `model`, as a folder of Hugging Face.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.competitor import Skipped, Work
from benchmarks.peers.decoding import decoder
from benchmarks.task import Task


def ours(task: Task) -> Work:
    from llm.hub import load
    from llm.model.kv_cache import KVCache
    from llm.parallel.runtime import keep_freed_memory, set_blas_threads
    from minigrad import no_grad

    keep_freed_memory()
    set_blas_threads(task.threads)
    model, _ = load(task.folder / "model")

    def read(ids: np.ndarray, cache: Any) -> np.ndarray:
        with no_grad():
            x = model.hidden(ids, cache=cache)  # (B, T, C)
            return model.logits(x[:, -1]).numpy()  # (B, V)

    return decoder(task, lambda: KVCache(model.config), read)


def transformers(task: Task) -> Work:
    try:
        import torch
        import transformers
    except ImportError as error:
        raise Skipped(f"{error.name} is not installed") from None

    torch.set_num_threads(task.threads)
    model = transformers.AutoModelForCausalLM.from_pretrained(task.folder / "model", dtype=torch.float32).eval()

    def read(ids: np.ndarray, cache: Any) -> np.ndarray:
        with torch.inference_mode():
            return model(torch.from_numpy(ids), cache=cache, use_cache=True, logits_to_keep=1).logits[:, -1].numpy()

    return decoder(task, lambda: transformers.DynamicCache(config=model.config), read)
