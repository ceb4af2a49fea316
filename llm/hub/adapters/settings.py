"""What an adapter_config.json says.

Fields that change nothing in the results are not looked at. A field that is not known here, and has another value than
null, false or nothing, would change them: it is refused by its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llm.hub.errors import HubError, shown

Targets = str | tuple[str, ...]
NOTHING: tuple[Any, ...] = (None, False, "", [], {}, "none")
IGNORED = {  # about the origin of an adapter, its initial values, or the shape of files
    "auto_mapping", "base_model_name_or_path", "fan_in_fan_out", "inference_mode", "megatron_core", "peft_type",
    "peft_version", "qalora_group_size", "revision", "runtime_config", "task_type", "encoder_hidden_size",
    "init_weights", "num_attention_heads", "num_layers", "prefix_projection", "prompt_tuning_init",
    "prompt_tuning_init_text", "token_dim", "tokenizer_kwargs", "tokenizer_name_or_path",
}  # fmt: skip
HEADS = ["classifier", "score"]  # modules_to_save of a classifier: the names that its head has in transformers
# With others (pissa, olora, corda, loftq) the weights of the model are changed too before training.
USUAL_INITIAL_VALUES = (True, False, "gaussian", "eva", "orthogonal", *NOTHING)


@dataclass(frozen=True)
class LoRASettings:
    """LoRA, in PEFT's terms."""

    rank: int = 8
    alpha: float = 8.0
    targets: Targets = ()
    """Names of matrices, or the ends of names; a regular expression for whole names; or "all-linear"."""
    dropout: float = 0.0
    rslora: bool = False
    dora: bool = False
    exclude: Targets = ()
    layers: tuple[int, ...] | None = None
    """Only in these layers. None: in all."""
    layers_pattern: tuple[str, ...] = ()
    rank_pattern: Mapping[str, int] = field(default_factory=dict)
    """Other ranks for some matrices: a regular expression for the end of the name -> rank."""
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, rank in {"the rank": self.rank, **self.rank_pattern}.items():
            if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
                raise ValueError(f"a rank is a whole number of at least 1, and {name} is {shown(rank)}")
        for alpha in (self.alpha, *self.alpha_pattern.values()):
            if not isinstance(alpha, (int, float)) or isinstance(alpha, bool):
                raise ValueError(f"alpha is a number, not {shown(alpha)}")
        if not isinstance(self.dropout, (int, float)) or not 0 <= self.dropout < 1:
            raise ValueError(f"the dropout of an adapter is a number from 0 to less than 1, not {shown(self.dropout)}")

    FIELDS = {
        "r": "rank", "lora_alpha": "alpha", "target_modules": "targets", "lora_dropout": "dropout",
        "use_rslora": "rslora", "use_dora": "dora", "exclude_modules": "exclude", "layers_to_transform": "layers",
        "layers_pattern": "layers_pattern", "rank_pattern": "rank_pattern", "alpha_pattern": "alpha_pattern",
    }  # fmt: skip


@dataclass(frozen=True)
class PrefixSettings:
    """Prefix tuning."""

    tokens: int
    FIELDS = {"num_virtual_tokens": "tokens"}


@dataclass(frozen=True)
class PromptSettings:
    """Prompt tuning."""

    tokens: int
    FIELDS = {"num_virtual_tokens": "tokens"}


Settings = LoRASettings | PrefixSettings | PromptSettings
KINDS: dict[str, type[Settings]] = {
    "LORA": LoRASettings,
    "PREFIX_TUNING": PrefixSettings,
    "PROMPT_TUNING": PromptSettings,
}


def read_settings(data: Mapping[str, Any], where: str) -> Settings:
    """The settings in an adapter_config.json. Raises HubError for what is not possible here."""
    kind = data.get("peft_type")
    if kind not in KINDS:
        raise HubError(f"{where}: peft_type={shown(kind)} is not possible; the kinds known are {', '.join(KINDS)}")
    made = KINDS[kind]
    refuse_others(data, where, made.FIELDS)
    # What is null or absent has the default of the dataclass.
    given = {ours: data[theirs] for theirs, ours in made.FIELDS.items() if data.get(theirs) is not None}
    try:
        return made(**{name: _plain(name, value) for name, value in given.items()})
    except (TypeError, ValueError) as error:
        raise HubError(f"{where}: {error}") from None


def refuse_others(data: Mapping[str, Any], where: str, known: Mapping[str, str]) -> None:
    """Raise HubError for the first field that would change the results, and is not known."""
    for name, value in data.items():
        if name == "init_lora_weights" and value in USUAL_INITIAL_VALUES:
            continue
        if name == "num_transformer_submodules" and value in (None, 1):
            continue
        if name == "modules_to_save" and isinstance(value, list) and all(module in HEADS for module in value):
            continue
        if name not in known and name not in IGNORED and value not in NOTHING:
            raise HubError(f"{where}: {name}={shown(value)} is not supported; leave it out, or use PEFT")


def _plain(name: str, value: Any) -> Any:
    """A value of a file as the dataclass has it. Raises ValueError if it has another type."""
    if name == "layers":
        value = [value] if isinstance(value, int) else value
        if not isinstance(value, list) or not all(isinstance(n, int) for n in value):
            raise ValueError(f"layers_to_transform={shown(value)} must be numbers of layers")
        return tuple(value) or None
    if name in ("targets", "exclude", "layers_pattern"):
        listed = [value] if name == "layers_pattern" and isinstance(value, str) else value
        if isinstance(listed, str):
            return listed
        if not isinstance(listed, list) or not all(isinstance(n, str) for n in listed):
            raise ValueError(f"{shown(value)} must be names of modules, or a regular expression")
        return tuple(listed)
    if name in ("rank_pattern", "alpha_pattern") and not isinstance(value, dict):
        raise ValueError(f"{name}={shown(value)} must be a table")
    if name == "tokens" and (not isinstance(value, int) or value < 1):
        raise ValueError(f"num_virtual_tokens={shown(value)} must be a whole number of at least 1")
    return value


def written(settings: Settings) -> dict[str, Any]:
    """The fields of an adapter_config.json."""
    kind = next(name for name, made in KINDS.items() if type(settings) is made)
    fields = {theirs: getattr(settings, ours) for theirs, ours in settings.FIELDS.items()}
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}
    return {"peft_type": kind, **{name: None if value == [] else value for name, value in plain.items()}}
