"""Runs of train.py that tune another model: that model, and what the run has trained beside it.

A run with an adapter (--lora-rank ...) saves only the adapter. Its config.json remembers the model at --from, by its
absolute path and by the checksum of its weights, "base". When the run is opened, this model is read, and checked to be
the same. All other runs hold all of their weights.
"""

from __future__ import annotations

import hashlib
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from llm.hub.adapters.attach import attach_lora, attach_prefix, attach_prompt, embedded, initial_values, prefix_width
from llm.hub.adapters.settings import LoRASettings
from llm.hub.classes import no_text
from llm.hub.errors import HubError, shown
from llm.hub.read import load_either
from llm.hub.source import RUN, Source, open_model
from llm.model.adapters.merge import merge
from llm.model.classifier import Classifier
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.model.transformer import Transformer
from llm.runs.checkpoints import MODEL
from llm.runs.errors import RunError
from llm.runs.files import digest
from llm.runs.load import load_model, read_checkpoint, read_config, read_tokenizer
from llm.runs.run import CONFIG, Run
from llm.runs.trained import load_trained
from minigrad.backend import pick_device
from tokenizer import BaseTokenizer

if TYPE_CHECKING:  # it imports tyro, the library for command lines
    from llm.runs.tuning_options import TuningOptions

# What a model computes does not depend on these.
CHANGEABLE = {"dropout", "balance_loss", "balance_by_layer"}
MOST_NEW = 1 << 16  # tokens that are added to a vocabulary, at most

# --- the model at --from ----------------------------------------------------------------------------------------------


def base_model(path: str | Path, config: GPTConfig) -> GPT:
    """The model at `path`, with the context, the dropout and the balancing loss of `config`.

    If the tokenizer has got more tokens (a chat template), the model has more embeddings.
    """
    source = open_model(path)
    check_shape(source, config)  # before a model is built, which may need much memory
    loaded = plain_model(source)
    state: dict[str, Any] = loaded.state_dict(copy=False)
    model = GPT(config, rng=None)
    if "positions.weight" in state:
        state["positions.weight"] = state["positions.weight"][: config.context]
    if config.vocab_size > source.config.vocab_size:
        tokenizer = source.load_tokenizer()
        state = grown(state, config.vocab_size, None if tokenizer is None else tokenizer.end_of_text)
    take_arrays(model, state)
    model.family, model.path = loaded.family, loaded.path
    return model


def take_arrays(model: GPT, state: dict[str, np.ndarray]) -> None:
    """As `load_state_dict`, but the arrays become those of the model: a copy would take as much memory again."""
    parameters = dict(model.named_parameters())
    if {name: p.shape for name, p in parameters.items()} != {name: array.shape for name, array in state.items()}:
        model.load_state_dict(state)  # says what does not fit
    for name, p in parameters.items():
        p.data = state[name]


def check_shape(source: Source, config: GPTConfig) -> None:
    """Raise HubError if the configuration is that of another model. A context may be shorter, and tokens be added."""
    for name in (field.name for field in fields(GPTConfig) if field.name not in CHANGEABLE):
        theirs, ours = getattr(source.config, name), getattr(config, name)
        if name == "context" and ours < theirs or name == "vocab_size" and theirs < ours < theirs + MOST_NEW:
            continue
        if ours != theirs:
            raise HubError(f"a model with {name}={shown(ours)} is asked for, and {source.where} has {theirs}")


def is_tuned(source: Source) -> bool:
    """Whether the model is that of a run which `load_weights` does not know: with an adapter, or a classifier."""
    if source.family != RUN:
        return False
    run = Run(source.where)
    return run.has_adapter or "classes" in run.task or "translates" in run.task


def plain_model(source: Source) -> GPT:
    """A model without an adapter: that of a run is merged into the weights."""
    model = merged_model(source)
    if isinstance(model, Classifier):
        raise no_text(source.where)
    return model


def merged_model(source: Source) -> GPT | Classifier:
    """As `plain_model`, also for classifiers."""
    if not is_tuned(source):
        return load_either(source)
    model, _ = load_run(run := Run(source.where))
    if isinstance(model, Transformer):
        raise HubError(f"{source.where} is a translator, with an encoder; this is not possible with it")
    if not run.has_adapter:
        return model
    try:
        merge(model.model if isinstance(model, Classifier) else model)
    except ValueError as error:
        raise HubError(f"{source.where} cannot be a plain model: {error}") from None
    return model


def grown(state: dict[str, Any], vocab_size: int, end_of_text: int | None) -> dict[str, Any]:
    """The weights, with rows for more tokens in the embedding and the head.

    A new row is the mean of all others, as in transformers. But the last new token, which ends an answer, begins as a
    copy of the one that ends a text: the model knows already when to write that. And two equal rows could not become
    different while embedding and head are frozen beside adapters.
    """
    state = dict(state)
    for name in ("embedding.weight", "head.weight", "head.bias"):
        if name in state:
            old = state[name]  # (V, C), or (V,)
            new = np.empty((vocab_size, *old.shape[1:]), dtype=old.dtype)
            new[: len(old)], new[len(old) :] = old, old.mean(axis=0, dtype=np.float64)
            if end_of_text is not None:
                new[-1] = old[end_of_text]
            state[name] = new
    return state


def base_checksum(path: str | Path) -> str:
    """The SHA-256 of a file of weights; of the SHA-256 of all files, if there are several."""
    digests = [digest(file) for file in files_of_weights(open_model(path).where)]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def files_of_weights(where: Path) -> list[Path]:
    if not where.is_dir():
        return [where]
    own = where / MODEL  # of a run, or of a folder of Hugging Face that has one file
    return [own] if own.is_file() else sorted(where.glob("*.safetensors"))


def checked_base(run: Run, path: str) -> str:
    """The path of the model that a run with an adapter was begun with. Raises RunError if it is not there any more."""
    if not isinstance(run.base, str):
        raise RunError(f"{run.folder / CONFIG} does not say which model its adapter belongs to; put the right one back")
    again = f"{run.resume_command} --from PATH"
    if not Path(path).exists():
        raise RunError(
            f"{run} is an adapter of the model at {path}, which is not there any more; put it back, or give its new "
            f"place with: {again}"
        )
    if base_checksum(path) != run.base:
        raise RunError(
            f"{run} is an adapter of another model than that at {path}: its weights are not those that the adapter was "
            f"trained with; put them back, or say where they are with: {again}"
        )
    return path


# --- adapters ---------------------------------------------------------------------------------------------------------


def add_adapter(model: GPT, tuning: TuningOptions, seed: int) -> None:
    """Attach the adapter that the options ask for, if any. The weights of the model are frozen then."""
    rng = np.random.default_rng(np.random.SeedSequence((seed, 1)))  # other numbers than those of initial weights
    if tuning.lora_rank is not None:
        settings = LoRASettings(
            tuning.lora_rank,
            alpha=tuning.lora_rank if tuning.lora_alpha is None else tuning.lora_alpha,
            targets=targets_of(tuning.lora_targets),
            dropout=tuning.lora_dropout,
            rslora=tuning.rslora,
            dora=tuning.dora,
        )
        attach_lora(model, settings, initial_values(model, settings, rng))
    elif tuning.prefix_tokens:
        attach_prefix(model, rng.standard_normal((tuning.prefix_tokens, prefix_width(model.config))))
    elif tuning.prompt_tokens:
        ids = rng.integers(0, model.config.vocab_size, tuning.prompt_tokens)  # begins as embeddings of tokens
        attach_prompt(model, embedded(model, ids))


def targets_of(given: str) -> str | tuple[str, ...]:
    """--lora-targets: names with commas between them, "all-linear", or a regular expression for whole names."""
    names = tuple(name.strip() for name in given.split(","))
    is_list = all(name.replace("_", "").replace(".", "").isalnum() for name in names)
    return names if is_list else given


# --- opening a run ----------------------------------------------------------------------------------------------------


def load_run(
    run: Run | str | Path, which: Literal["last", "best"] = "last", device: str = "cpu"
) -> tuple[Any, BaseTokenizer]:
    """As `llm.runs.load.load_model`; also runs with an adapter, which stays one, and those of a Classifier or a
    Transformer.
    """
    run = run if isinstance(run, Run) else Run(run)
    config = read_config(run)
    labels, translates = run.task.get("classes"), "translates" in run.task
    if not run.has_adapter and labels is None and not translates:
        return load_model(run, which, device)
    tokenizer, options = read_tokenizer(run, config), run.options()
    checkpoint = read_checkpoint(run, config, which)  # before a model is built: it compares the sizes
    model: Any
    if run.has_adapter:
        model = base_model(checked_base(run, str(options.training.from_)), config)
        add_adapter(model, options.tuning, options.training.seed)
    else:
        model = Transformer(config, rng=None) if translates else GPT(config, rng=None)
    if labels is not None:
        model = Classifier(model, labels, rng=None, pad_id=run.task.get("pad_id"))
    try:
        load_trained(model, checkpoint.weights)
    except ValueError as error:
        raise run.misfit(checkpoint, f"{checkpoint.name(MODEL)}: {error}") from None
    return model.to(pick_device(device)).eval(), tokenizer
