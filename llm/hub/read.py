"""From an opened model to a GPT with its weights, and to its tokenizer.

Nothing is ever half-loaded: each tensor of the model is in the file, with the right shape, and each tensor of the file
is used.
"""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from llm.hub.classes import no_text
from llm.hub.errors import HubError
from llm.hub.source import Source
from llm.hub.stored_model import StoredGPT
from llm.hub.tokenizer_files import errors_of
from llm.model.classifier import Classifier
from llm.model.gpt import GPT
from tokenizer import BaseTokenizer
from tokenizer import load as tokenizer_at

# Files may hold masks in these, but numbers of weights in integers mean nothing without the scales of a quantization.
INTEGERS = ("I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL")
Weights = Literal["widened", "stored"]


def load_weights(source: Source, dtype: Any = np.float32, weights: Weights = "widened") -> GPT:
    """The model that writes, in evaluation mode. The arguments are those of `load`."""
    if source.classes is not None:
        raise no_text(source.where)
    model = load_either(source, dtype, weights)
    assert isinstance(model, GPT)
    return model


def load_either(source: Source, dtype: Any = np.float32, weights: Weights = "widened") -> GPT | Classifier:
    """The model or the classifier, in evaluation mode."""
    if weights not in get_args(Weights):
        raise ValueError(f"weights={weights!r} is not possible; use {' or '.join(get_args(Weights))}")
    model = empty_model(source, dtype, weights)
    if isinstance(model, StoredGPT):
        model.keep_matrices(source)
    for name, parameter in model.named_parameters():
        try:
            source.parts[name].fill(parameter.data, source.tensors.__getitem__)
        except HubError as error:
            raise HubError(f"{source.where}: {error}") from None
    model.family, model.path = source.family, str(source.where)
    model.eval()
    return model


def load_tokenizer(source: Source, path: str | Path | None = None) -> BaseTokenizer | None:
    """The tokenizer of the model, or instead the one at `path`, a file or folder."""
    if path is None:
        return source.load_tokenizer()
    with errors_of(path, named=True):
        tokenizer = tokenizer_at(path)
    # (The model's own may have a few ids more: tokens that were added and never used.)
    if tokenizer.vocab_size > source.config.vocab_size:
        raise HubError(
            f"the tokenizer {path} has {tokenizer.vocab_size} ids and the model {source.config.vocab_size}; "
            "give the tokenizer that the model was trained with"
        )
    return tokenizer


def empty_model(source: Source, dtype: Any = np.float32, weights: Weights = "widened") -> GPT | Classifier:
    """The model before its weights are read. Raises HubError if the file lacks tensors of it, or has others."""
    tensors = source.tensors  # before the model: a run whose configuration asks for far more than that is refused here
    if source.classes is not None and weights == "stored":
        raise HubError(f"{source.where} is a classifier, whose weights must be widened; use weights='widened'")
    # Without initial weights. Its zeros take no memory until they are written.
    body = (StoredGPT if weights == "stored" else GPT)(source.config, rng=None, dtype=dtype)
    model: GPT | Classifier = body
    if source.classes is not None:
        model = Classifier(body, source.classes.labels, rng=None, pad_id=source.classes.pad_id)
    needed = sorted({theirs for name, _ in model.named_parameters() for theirs in source.parts[name].names})
    if missing := [name for name in needed if name not in tensors]:
        raise HubError(f"{source.where} lacks {in_words(missing)}, which its configuration asks for")
    for name in needed:
        if (kind := tensors[name].kind) in INTEGERS:
            raise HubError(f"{source.where} holds {name} as {kind}, without scales; weights are BF16, F16 or F32")
    if surplus := sorted(name for name in tensors.keys() - {*needed} if not may_be_there(name, source)):
        raise HubError(f"{source.where} holds {in_words(surplus)}, for which its configuration has no place")
    return model


def may_be_there(name: str, source: Source) -> bool:
    """Whether the file may hold this tensor, although the model does not need it."""
    # With a tied head, some files hold the embedding a second time under the name of the head.
    head = source.parts["head.weight"].names if source.config.tied_head and "head.weight" in source.parts else ()
    return name in head or any(fnmatch(name, pattern) for pattern in source.surplus)


def in_words(names: list[str]) -> str:
    """The first names, for a message: the tensors a, b, c and 5 more."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"the tensor{'s' if len(names) > 1 else ''} {', '.join(names[:3])}{more}"
