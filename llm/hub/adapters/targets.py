"""Which matrices the settings of LoRA mean, by the rules of PEFT.

A list has names of modules, or the ends of names after a dot: "q_proj", "self_attn.q_proj". A string is a regular
expression for whole names. "all-linear" means all linear layers but the head. Besides the names of transformers, a list
may have ours: "qkv", "attention.out", "mlp.up", "embedding".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

from llm.hub.adapters.matrices import Matrix
from llm.hub.adapters.settings import LoRASettings, Targets
from llm.hub.errors import HubError, shown

V = TypeVar("V")
ALL_LINEAR = "all-linear"


def chosen(matrices: list[Matrix], settings: LoRASettings) -> list[Matrix]:
    """The matrices that get an update. Raises HubError if there are none, or a name fits none."""
    targets = settings.targets or default_targets(matrices)
    named = [m for m in matrices if is_target(m, targets) and not is_excluded(m, settings.exclude)]
    for target in () if isinstance(targets, str) else targets:
        if not any(is_target(m, (target,)) for m in matrices):
            raise no_such(target, matrices)
    # As in PEFT, a list that has the whole name of a matrix means it, in whichever layer it is.
    found = [m for m in named if {m.name, m.layer} & {*targets} or in_layers(m.name, settings)]
    if not found:
        raise no_such(targets, matrices)
    return found


def no_such(target: object, matrices: list[Matrix]) -> HubError:
    names = ", ".join(dict.fromkeys(m.last_name for m in matrices))
    return HubError(f"no matrix of the model fits the target {shown(target)}; there are {names}, and all-linear")


def is_target(matrix: Matrix, targets: Targets) -> bool:
    if targets == ALL_LINEAR:
        return not (matrix.is_embedding or matrix.is_head or matrix.is_router)
    if isinstance(targets, str):
        return matches(targets, matrix.name)
    return any(_ends_with(name, target) for name in (matrix.name, matrix.layer) for target in targets)


def is_excluded(matrix: Matrix, exclude: Targets) -> bool:
    return bool(exclude) and exclude != ALL_LINEAR and is_target(matrix, exclude)


def matches(pattern: str, name: str) -> bool:
    """Whether a regular expression fits the whole name."""
    try:
        return re.fullmatch(pattern, name) is not None
    except re.error as error:
        raise HubError(f"{shown(pattern)} is no regular expression ({error})") from None


def in_layers(name: str, settings: LoRASettings) -> bool:
    """Whether the settings want an update in the layer of this matrix."""
    if settings.layers is None:
        return True
    lists = "|".join(settings.layers_pattern) or r"[^.]*"
    found = re.match(rf"(?:^|.*?\.)(?:{lists})\.(\d+)\.", name)  # the first number is that of the layer
    return found is not None and int(found[1]) in settings.layers


def value_for(name: str, patterns: Mapping[str, V], usual: V) -> V:
    """The value of the first pattern that fits the end of the name."""
    return next((value for key, value in patterns.items() if matches(rf"(.*\.)?({key})", name)), usual)


def default_targets(matrices: list[Matrix]) -> tuple[str, ...]:
    """PEFT's: queries and values, or where one matrix has all three, this one; in Phi the MLP too."""
    first = next(m.layer for m in matrices if m.layer.endswith(".qkv"))
    names = [m.last_name for m in matrices if m.layer == first]
    usual = (names[0], names[-1]) if len(names) == 3 else tuple(names)
    mlp = {m.last_name for m in matrices if ".mlp." in m.layer}
    return (*usual, "fc1", "fc2") if {"fc1", "fc2"} <= mlp and names[0] == "q_proj" and is_phi(matrices) else usual


def is_phi(matrices: list[Matrix]) -> bool:
    """Whether these are of Phi 1 or 2, whose names are those of OPT but for this one."""
    return any(m.name.endswith(".self_attn.dense") for m in matrices)


def their_names(settings: LoRASettings, wanted: list[Matrix], matrices: list[Matrix]) -> Targets:
    """The targets as PEFT understands them, without names of ours: as given, as last names, or as whole names."""
    theirs = [replace(m, layer="") for m in matrices]  # without our names
    last_names = tuple(dict.fromkeys(m.last_name for m in wanted))
    for targets in (settings.targets or default_targets(matrices), last_names):
        with suppress(HubError):  # one of the names is ours
            found = chosen(theirs, replace(settings, targets=targets))
            # PEFT refuses a regular expression beside numbers of layers.
            is_possible = targets != ALL_LINEAR and not (settings.layers and isinstance(targets, str))
            if is_possible and [m.name for m in found] == [m.name for m in wanted]:
                return targets
    return tuple(m.name for m in wanted)


def _ends_with(name: str, target: str) -> bool:
    return name == target or name.endswith("." + target)
