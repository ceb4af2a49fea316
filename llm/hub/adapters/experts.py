"""Updates of experts as newer versions of transformers have them: those of all experts of a layer in one tensor.

A (E r, in) has the rows of the first expert first. B (out, r E) has columns for rank 0 of all experts first, then for
rank 1. The gate and the up-projection are one matrix there (`gate_up_proj`), and have one A. Here each expert, gate and
up-projection get an update of their own, with the same numbers, as older files have them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from llm.hub.adapters.matrices import Matrix, matrices_of
from llm.hub.adapters.settings import LoRASettings, read_settings
from llm.hub.adapters.targets import chosen, value_for
from llm.hub.errors import HubError
from llm.hub.stored import Stored
from llm.model.gpt import GPT

FIELD = "target_parameters"
KEY = re.compile(r"(base_model\.model\.)(.*\.(\d+)\..*?(?:experts|gate))((?:\.base_layer)*)\.lora_A\.weight")


def split_experts(
    model: GPT, data: Mapping[str, Any], tensors: Mapping[str, Stored], where: str
) -> tuple[dict[str, Any], dict[str, Stored]]:
    """The fields of adapter_config.json and the tensors, with an update for each matrix of each expert."""
    settings = read_settings({**data, FIELD: None}, where)
    matrices, left = matrices_of(model), dict(tensors)
    if not isinstance(settings, LoRASettings) or not model.config.experts:
        raise HubError(f"{where}: {FIELD} are those of experts, which the model has not")
    named = [m for m in matrices if settings.targets and m in chosen(matrices, settings)]
    ranks, alphas = dict[str, int](), dict[str, float]()
    for key in [key for key in tensors if KEY.fullmatch(key)]:
        for matrix, a, b, parameter in _updates(model, matrices, key, tensors):
            left |= {
                f"base_model.model.{matrix.name}.lora_{n}.weight": Stored.from_array(x) for n, x in (("A", a), ("B", b))
            }
            name = re.escape(matrix.name)
            ranks[name], alphas[name] = len(a), value_for(parameter, settings.alpha_pattern, settings.alpha)
            named.append(matrix)
        left.pop(key), left.pop(key.replace("lora_A", "lora_B"))
    fields = {
        "target_modules": [m.name for m in named],
        FIELD: None,
        "layers_to_transform": None,
        "exclude_modules": None,
    }
    patterns = {
        "rank_pattern": ranks | dict(settings.rank_pattern),
        "alpha_pattern": alphas | dict(settings.alpha_pattern),
    }
    return {**data, **fields, **patterns}, left


def _updates(
    model: GPT, matrices: list[Matrix], key: str, tensors: Mapping[str, Stored]
) -> Iterator[tuple[Matrix, np.ndarray, np.ndarray, str]]:
    """Each of our matrices with its A and B, and the name of the parameter of transformers."""
    match = KEY.fullmatch(key)
    assert match is not None
    module, layer = match[2], match[3]
    a, b = (tensors[key.replace("lora_A", f"lora_{n}")].widen(np.float32) for n in "AB")
    if module.endswith("gate"):
        yield next(m for m in matrices if m.layer == f"blocks.{layer}.mlp.router"), a, b, f"{module}.weight"
        return
    E = model.config.experts or 1
    kind, name = (
        ("down", "down_proj")
        if len(b) == model.config.dim and a.shape[1] != model.config.dim
        else ("up", "gate_up_proj")
    )
    by_expert_a, by_expert_b = a.reshape(E, -1, a.shape[1]), b.reshape(len(b), -1, E)  # (E, r, in), (out, r, E)
    for expert in range(E):
        for m in (m for m in matrices if m.layer == f"blocks.{layer}.mlp.experts.{expert}.{kind}"):
            yield m, by_expert_a[expert], by_expert_b[m.rows, :, expert], f"{module}.{name}"
