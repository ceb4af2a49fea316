"""The model that training begins with, if --from names one: its shape and its tokenizer.

llm/hub opens it, whatever kind of file it is in: for its shape, for its tokenizer, and at last for its weights
(llm/hub/tuned.py). The run that begins has a folder of its own: from its first checkpoint on, this has everything that
it needs, and the model at --from may be gone. Only a run with an adapter needs it as long as it exists.
"""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

from llm.data.learned import LEARNED
from llm.hub.source import open_model
from llm.hub.tuned import CHANGEABLE
from llm.model.config import GPTConfig
from llm.runs.errors import RunError
from llm.runs.options import FROM, Options, TrainOptions
from llm.runs.parsing import flag
from tokenizer import BaseTokenizer
from tokenizer import load as load_tokenizer

# The most that --context is unless it is given: a batch of texts as long as many a model reads fills no usual memory.
LONGEST_CONTEXT = 512


def base_options(path: str, training: TrainOptions = FROM) -> Options:
    """The defaults of the options with --from. Raises ValueError (HubError ...) or OSError if there is no model."""
    config = base_config(path)
    # The path as the tokenizer means: the one that comes with the model.
    training = replace(training, from_=path, tokenizer=path)
    return Options(training, replace(config, context=min(config.context, LONGEST_CONTEXT)))


def base_config(path: str) -> GPTConfig:
    """The shape of the model at --from."""
    return open_model(path).config


def base_name(path: str) -> str:
    """What a run is called that begins with the model at this path."""
    path = str(Path(path).resolve())
    return Path(path).stem if Path(path).suffix in (".gguf", ".bin") else Path(path).name


def check_shape(loaded: GPTConfig, given: GPTConfig, path: str | None) -> None:
    """Raise RunError if options ask for another shape than that of the loaded model. The context may be shorter."""
    for name in (field.name for field in fields(GPTConfig) if field.name not in CHANGEABLE):
        theirs, ours = getattr(loaded, name), getattr(given, name)
        if name == "context" and ours <= theirs:
            continue
        if ours != theirs:
            has = "none" if theirs is None else str(theirs)
            advice = "give a smaller one, or leave it out" if name == "context" else "leave that option out"
            raise RunError(
                f"{flag(name)} cannot be {ours}: the model in {path} has {has}, and its shape comes from there; "
                f"{advice}"
            )


def base_tokenizer(training: TrainOptions, vocab_size: int) -> BaseTokenizer:
    """The tokenizer of the model at --from, or the one of --tokenizer if the model comes without."""
    path, given = training.from_, training.tokenizer
    assert path is not None, "this is for --from"
    tokenizer = open_model(path).load_tokenizer()
    if given != path:
        tokenizer = _given_tokenizer(path, given, tokenizer)
    if tokenizer is None:
        raise RunError(
            f"{path} holds no tokenizer, only a model; give the one that the model was trained with, as --tokenizer "
            "and the path of its tokenizer.json"
        )
    if tokenizer.vocab_size > vocab_size:
        raise RunError(
            f"the tokenizer has {tokenizer.vocab_size:,} tokens, and the model in {path} knows only {vocab_size:,}; "
            "give the tokenizer that it was trained with"
        )
    return tokenizer


def _given_tokenizer(path: str, given: str, own: BaseTokenizer | None) -> BaseTokenizer:
    if own is not None:
        raise RunError(f"--tokenizer {given} is not possible: {path} has a tokenizer of its own; leave that option out")
    if given in LEARNED:
        raise RunError(
            f"--tokenizer {given} would learn new tokens, which the model in {path} does not know; give the path of "
            "the tokenizer.json that it was trained with"
        )
    return load_tokenizer(given)
