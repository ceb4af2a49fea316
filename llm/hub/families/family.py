"""What a family is: how its config.json and its tensors correspond to ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from llm.hub.fields import Fields
from llm.hub.weights import Part
from llm.model.config import GPTConfig


@dataclass(frozen=True)
class Family:
    """One `model_type` of Hugging Face. A config of ours belongs to it if `read(write(config))` is the same config."""

    model_type: str
    architecture: str  # the class of transformers
    defaults: Mapping[str, Any]  # fields that are absent in config.json, as transformers has them
    read: Callable[[Fields], GPTConfig]
    write: Callable[[GPTConfig], dict[str, Any]]  # without model_type and architectures
    tensors: Callable[[GPTConfig], dict[str, Part]]  # our names -> how each is kept in the file
    surplus: tuple[str, ...] = ()  # patterns of tensors in files that hold no weights, such as masks
    prefix: str = "model."  # of all tensors but the head; some files leave it out
    renamed: Mapping[str, str] = field(default_factory=dict)  # tensors that have another name in some files -> this one
    spellings: Mapping[str, str] = field(default_factory=dict)  # other names of fields -> those that `read` looks for

    def fields(self, data: Mapping[str, Any], where: str = "config.json") -> Fields:
        """The fields of a config.json, under the names that `read` looks for."""
        renamed = {name: data[other] for other, name in self.spellings.items() if data.get(other) is not None}
        return Fields({**data, **renamed}, self.defaults, where)
