"""Which model writes: a run of ours, or the model of somebody else; and how its next token is best chosen."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from llm.hub.adapters.files import load_adapter
from llm.hub.errors import HubError
from llm.hub.generation_defaults import FILE_NAME, GenerationDefaults
from llm.hub.read import Weights, load_either, load_tokenizer
from llm.hub.source import open_model
from llm.hub.stored_model import stored_in
from llm.hub.tuned import is_tuned
from llm.hub.tuned import load_run as load_tuned
from llm.inference.sampling import Sampling
from llm.inference.text import end_ids_of
from llm.model.adapters.attach import sharing_weights
from llm.model.adapters.merge import LoRAOn, merge
from llm.model.adapters.virtual import VirtualTokens
from llm.model.classifier import Classifier
from llm.model.gpt import GPT
from llm.model.transformer import Transformer
from llm.runs.run import Run
from minigrad.backend import pick_device
from tokenizer import BaseTokenizer


@dataclass(frozen=True)
class LoadedModel:
    """A model with its name and its tokenizer, ready to write, or to classify."""

    name: str
    model: Any  # a GPT; with --classify, a Classifier
    tokenizer: BaseTokenizer
    end_ids: Collection[int] = ()  # tokens that end a text, besides those of which the tokenizer says so
    adapters: Mapping[str, GPT] = field(default_factory=dict)  # the same weights, with an adapter each, by its name

    @property
    def all_end_ids(self) -> set[int]:
        """The tokens that end a text."""
        return {*end_ids_of(self.tokenizer), *self.end_ids}


def load_run(run: Run, checkpoint: Any, device: str) -> LoadedModel:
    """The model of a run at its "last" or "best" checkpoint."""
    return LoadedModel(str(run), *load_tuned(run, checkpoint, device))


def load_other(path: str, tokenizer_path: str | None, weights: Weights, device: str) -> LoadedModel:
    """The model at `path`, of any kind that hub.load takes. Raises HubError if it has no tokenizer."""
    source = open_model(path)
    tokenizer = load_tokenizer(source, tokenizer_path)
    if tokenizer is None:
        raise HubError(f"{path} has no tokenizer; give the file or folder of one with --tokenizer")
    ends = source.read_defaults(tokenizer).end_tokens
    model = load_tuned(path)[0] if is_tuned(source) else load_either(source, weights=weights)
    return LoadedModel(path, move(model, device, weights), tokenizer, ends)


def in_bf16(loaded: LoadedModel) -> LoadedModel:
    """The model with matrices in half of the memory; updates of LoRA are added to them before they are rounded.

    Raises ValueError if it is a model of another kind.
    """
    model = loaded.model
    kinds = {Classifier: "is a classifier", Transformer: "is a translator", VirtualTokens: "has a prefix or a prompt"}
    for kind, what in kinds.items():
        if isinstance(model, kind):
            raise ValueError(f"{loaded.name} {what}, which does not go with --precision bf16; leave that out")
    if isinstance(model, LoRAOn):
        merge(model)
    return replace(loaded, model=stored_in(model))


def check_kind(loaded: LoadedModel, *, classify: bool) -> None:
    """Raise ValueError if the model is not of the kind that is wanted."""
    is_classifier = isinstance(loaded.model, Classifier)
    if isinstance(loaded.model, Transformer) and classify:
        raise ValueError(f"{loaded.name} is a translator; leave --classify out")
    if is_classifier and not classify:
        raise ValueError(f"{loaded.name} is a classifier, which writes no text; add --classify")
    if classify and not is_classifier:
        raise ValueError(
            f"{loaded.name} is no classifier; leave --classify out, or train one: python train.py --objective classify"
        )


def with_adapter(loaded: LoadedModel, given: str) -> LoadedModel:
    """The model with an adapter, a folder of PEFT: NAME=FOLDER, or FOLDER alone."""
    _, folder = name_and_folder(given)
    return replace(loaded, model=load_adapter(loaded.model, folder))


def with_adapters(loaded: LoadedModel, given: Sequence[str]) -> LoadedModel:
    """The model, and beside it the same weights with each of these adapters, for requests that choose one by name."""
    adapters: dict[str, GPT] = {}
    for name, folder in map(name_and_folder, given):
        if name in adapters or name in (loaded.name, Path(loaded.name).name):
            raise ValueError(f"two models are called {name}; give the adapter {folder} another name: NAME={folder}")
        adapted = load_adapter(sharing_weights(loaded.model), folder)
        if isinstance(adapted, Classifier):
            raise ValueError(f"{folder} is the adapter of a classifier, which writes no text; leave it out")
        adapters[name] = adapted
    return replace(loaded, adapters=adapters)


def name_and_folder(given: str) -> tuple[str, str]:
    """The value of --adapter: NAME=FOLDER, or FOLDER, whose last part is the name then."""
    name, equals, folder = given.partition("=")
    return (name, folder) if equals and not Path(given).is_dir() else (Path(given).name, given)


def move(model: GPT | Classifier, device: str, weights: Weights) -> GPT | Classifier:
    """The model on the device. Stored weights stay on the CPU, which "auto" means for them."""
    if weights == "widened":
        model.to(pick_device(device))
    elif device not in ("auto", "cpu"):
        raise HubError(f"stored weights stay on the CPU; leave --device {device} out, or --weights stored")
    return model


def sampling_of(path: str | None) -> Sampling:
    """How the model at `path` says that its next token is best chosen; our own defaults where it says nothing."""
    if path is None or not Path(path, FILE_NAME).is_file():
        return Sampling()
    defaults = GenerationDefaults.read(path)
    names = ("temperature", "top_k", "top_p", "min_p", "typical_p", "repetition_penalty")
    given = {name: value for name in names if (value := getattr(defaults, name)) is not None}
    if given.get("top_k") == 0:
        given["top_k"] = None  # all tokens
    others = Sampling()  # for the values that are not given
    if defaults.do_sample or given.keys() - {"repetition_penalty"}:
        others = Sampling(temperature=1.0, top_p=1.0)  # what the file leaves out changes nothing
    if defaults.do_sample is False:
        given["temperature"] = 0.0
    return replace(others, **given)
