"""What a family is: how its config.json and its tensors correspond to ours, as tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from llm.hub.families.rows import Row
from llm.hub.families.tensor_names import TensorNames, parts_of
from llm.hub.fields import Fields
from llm.hub.weights import Part
from llm.model.config import GPTConfig

Table = dict[str, Any]


@dataclass(frozen=True)
class Family:
    """One `model_type` of Hugging Face. A config of ours belongs to it if `read(write(config))` is the same config."""

    model_type: str
    architecture: str  # the class of transformers
    defaults: Table  # fields that are absent in config.json, as transformers has them
    rows: dict[str, Row]  # fields of config.json -> how each is read and written
    fixed: Table  # fields of GPTConfig that no field of config.json says
    tensor_names: TensorNames  # our names -> theirs
    only: Table = field(default_factory=dict)  # fields that have this value or are absent: others are refused
    spellings: Table = field(default_factory=dict)  # other names of fields -> those in `rows`
    prefix: str = "model."  # of all tensors but the head; some files leave it out
    renamed: Table = field(default_factory=dict)  # tensors that have another name in some files -> this one
    surplus: tuple[str, ...] = ()  # patterns of tensors in files that hold no weights, such as masks

    def variant(self, model_type: str, architecture: str, *, surplus: tuple[str, ...] = (), **tables: Table) -> Family:
        """A family whose tables differ from those of this one in the rows given."""
        merged = {name: getattr(self, name) | rows for name, rows in tables.items()}
        return replace(self, model_type=model_type, architecture=architecture, surplus=surplus, **merged)

    def fields(self, data: Mapping[str, Any], where: str = "config.json") -> Fields:
        """The fields of a config.json, under the names in `rows`."""
        renamed = {name: data[other] for other, name in self.spellings.items() if data.get(other) is not None}
        return Fields({**data, **renamed}, self.defaults, where)

    def read(self, fields: Fields) -> GPTConfig:
        fields.refuse_unless(**self.only)
        found = dict(self.fixed)
        for name, row in self.rows.items():
            found |= row.read(fields, name, found)
        return GPTConfig(**found)

    def write(self, config: GPTConfig) -> dict[str, Any]:
        """The fields of config.json, without model_type and architectures."""
        fields: dict[str, Any] = {}
        for name, row in self.rows.items():
            fields |= row.write(config, name)
        return fields

    def tensors(self, config: GPTConfig) -> dict[str, Part]:
        """Our names -> how each tensor is kept in the file."""
        return parts_of(self.tensor_names, config)
