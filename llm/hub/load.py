"""Read a model of somebody else, or of ours: config.json, weights and tokenizer become a GPT and a tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np

from llm.hub.adapters.files import load_adapter
from llm.hub.errors import HubError
from llm.hub.read import Weights, load_either, load_tokenizer, load_weights
from llm.hub.source import RUN, open_model
from llm.hub.tuned import is_tuned, load_run
from llm.model.gpt import GPT
from llm.runs.run import Run
from minigrad.backend import pick_device
from tokenizer import BaseTokenizer


def load(
    path: str | Path,
    dtype: Any = np.float32,
    weights: Weights = "widened",
    *,
    tokenizer: str | Path | None = None,
    adapter: str | Path | None = None,
) -> tuple[Any, BaseTokenizer | None]:
    """The model, a GPT or a Classifier, and the tokenizer at `path`, or None if there are no files of a tokenizer.

    `path`: a folder of Hugging Face, a run of train.py, a GGUF file, or a .bin file of llama2.c.
    `dtype`: of the weights in memory. `weights`: "widened" converts them all to it at once. "stored" keeps bf16, f16
    and q8 as they are in the file, and converts a block of rows at each use: less memory, slower.
    `tokenizer`: a file or folder of a tokenizer, to be used instead of the model's own. `adapter`: the folder of an
    adapter, as PEFT saves it, which is attached to the model; with that of a classifier, the result is a Classifier.
    The model is in evaluation mode. Raises HubError, a ValueError, or OSError if it cannot be read.
    """
    source = open_model(path)
    found = load_tokenizer(source, tokenizer)  # before the weights, which take longer
    if is_tuned(source):
        if weights != "widened":
            raise HubError(f"{path} is a run that tunes another model, whose weights must be widened")
        model = load_run(source.where)[0].astype(dtype)
    else:
        model = load_either(source, dtype, weights)
    if adapter is not None:
        model = load_adapter(model, adapter)
    return model, found


def load_any(
    path: Run | str | Path,
    which: Literal["last", "best"] = "last",
    device: str = "cpu",
    *,
    weights: Weights = "widened",
    tokenizer: str | Path | None = None,
) -> tuple[GPT, BaseTokenizer]:
    """The model at `path`, ready to write on `device`, and its tokenizer. `llm.load` is this function.

    `path`: the folder of a run, such as "runs/default-1", or what `load` takes. `which`: the "last" checkpoint of a
    run, or the "best" one by validation loss. `weights` and `tokenizer`: as in `load`, for models of others. Raises
    ValueError (RunError, HubError) or OSError for what cannot be used, and for a model without a tokenizer.
    """
    source = None if isinstance(path, Run) else open_model(path)
    if source is None or source.family == RUN:
        if tokenizer is not None or weights != "widened":
            raise ValueError(f"{path} is a run, with float32 weights and a tokenizer; leave weights and tokenizer out")
        return load_run(path, which, device)
    found = load_tokenizer(source, tokenizer)
    if found is None:
        raise HubError(f"{path} has no tokenizer; give the path of one with tokenizer=, or use llm.hub.load")
    model = load_weights(source, weights=weights)
    if device != "cpu":
        model.to(pick_device(device))
    return model, found
