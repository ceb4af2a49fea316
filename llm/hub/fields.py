"""Reading a config.json of Hugging Face, field by field.

A field that is absent has the default of its family, as in transformers. What would change the results of the model,
and is not supported, is refused by its name and value. Fields that change nothing (names of classes, token ids, the
version of transformers) are not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm.hub.errors import HubError, shown

NUMBERS = (int, float)
MOST_LAYERS = 1 << 12  # many times those of any model: lists with an item for each layer are made


class Fields:
    """The fields of a config.json, and the defaults of the family for those that are absent."""

    def __init__(self, data: Mapping[str, Any], defaults: Mapping[str, Any], where: str = "config.json"):
        self.data, self.defaults, self.where = data, defaults, where

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a field; `default` if the field is absent and has none, or is null."""
        value = self.data.get(name, self.defaults.get(name))
        return default if value is None else value

    def number(self, name: str, default: float | None = None) -> Any:
        """The value of a field that must be a number."""
        return self._checked(name, self.get(name, default), NUMBERS, "a number")

    def count(self, name: str, default: int | None = None) -> Any:
        """The value of a field that must be a whole number of at least 1."""
        value = self._checked(name, self.get(name, default), (int,), "a whole number")
        if value < 1:
            raise self.error(name, value, "a whole number of at least 1")
        return value

    def layers(self, name: str) -> int:
        """The value of the field with the number of layers."""
        value: int = self.count(name)
        if value > MOST_LAYERS:
            raise self.error(name, value, f"up to {MOST_LAYERS:,} layers")
        return value

    def flag(self, name: str) -> bool:
        """The value of a field that must be true or false; null counts as false."""
        return self._checked(name, self.get(name, False), (bool,), "true or false")

    def choice(self, name: str, choices: Mapping[str, Any]) -> Any:
        """What `choices` has for the value of a field. Other values are refused."""
        value = self.get(name)
        if not isinstance(value, str) or value not in choices:
            raise self.error(name, value, " or ".join(choices))
        return choices[value]

    def refuse_unless(self, **supported: Any) -> None:
        """Refuse the configuration unless each of these fields has this value, or is absent or null."""
        for name, value in supported.items():
            if self.get(name, value) != value:
                raise self.error(name, self.get(name), f"{value!r} only")

    def error(self, name: str, value: Any, supported: str) -> HubError:
        return HubError(f"{self.where}: {name}={shown(value)} is not supported; this program reads {supported}")

    def _checked(self, name: str, value: Any, kinds: tuple[type, ...], wanted: str) -> Any:
        if not isinstance(value, kinds) or isinstance(value, bool) and bool not in kinds:
            raise HubError(f"{self.where}: {name}={shown(value)} is not possible; it must be {wanted}")
        return value
