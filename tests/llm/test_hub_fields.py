"""Each field of a config.json with another value: the folder is refused, or computes what transformers computes of it.

So a field that changes the results in transformers, and not here, cannot be overlooked, whatever its name is.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llm.hub import load
from llm.hub.errors import HubError
from minigrad import no_grad
from tests.llm.gpts import VOCAB
from tests.llm.test_hub_parity import BASE, GPT2_BASE, OPTIONS, TOLERANCE, T, relative_error, their_model

pytestmark = [pytest.mark.parity, pytest.mark.slow]

# Not looked at: what names the model, and what the results are for.
OTHERS = {"model_type", "architectures", "transformers_version", "dtype", "return_dict", "id2label", "label2id"}
ACTIVATIONS = ["gelu", "gelu_new", "relu", "silu", "gelu_pytorch_tanh", "gelu_fast", "quick_gelu"]


def other_values(value: Any) -> list[Any]:
    """Values of the same type, most of them possible ones."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, list):
        return [[], value[::-1]]
    kinds: dict[type, list[Any]] = {
        int: [0, 1, 2, 5],
        float: [0.0, 0.3, 2.0],
        str: ACTIVATIONS,
        type(None): [True, 2, 0.5],
    }
    return [other for other in kinds.get(type(value), []) if other != value]


def their_logits(folder: Path, family: str, ids: np.ndarray) -> np.ndarray | None:
    """What transformers computes; None if it cannot."""
    import torch
    import transformers

    more = {"experts_implementation": "eager"} if family in ("mixtral", "qwen3_moe") else {}
    kind: Any = transformers.AutoModelForCausalLM
    try:
        model = kind.from_pretrained(folder, attn_implementation="eager", dtype=torch.float64, **more)
        with torch.no_grad():
            return model.eval()(torch.tensor(ids)).logits.numpy()
    except Exception:  # any: its errors are of many kinds
        return None


# The default of Apertus is refused, those of the others do not fit the small sizes here.
LEFT_OUT = ("apertus", "gpt_neo", "gpt_neox", "gptj", "phi", "stablelm")


@pytest.mark.parametrize("family", [family for family in OPTIONS if family not in LEFT_OUT])
def test_no_field_is_overlooked(family: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.AutoConfig.for_model(family, **(GPT2_BASE if family == "gpt2" else BASE))
    their_model(config, seed=0).save_pretrained(tmp_path)
    path, ids = tmp_path / "config.json", np.random.default_rng(0).integers(3, VOCAB, (2, T))
    fields = transformers.AutoConfig.from_pretrained(tmp_path).to_dict() | json.loads(path.read_text())
    changes = [(name, other) for name in sorted(fields.keys() - OTHERS) for other in other_values(fields[name])]
    wrong, compared = [], 0
    for name, other in changes:
        path.write_text(json.dumps(fields | {name: other}))
        try:
            model, _ = load(tmp_path, np.float64)
        except HubError:
            continue
        expected = their_logits(tmp_path, family, ids)
        if expected is None:
            continue
        compared += 1
        with no_grad():
            found = model(ids).data
        if found.shape != expected.shape or not relative_error(found, expected) < TOLERANCE:
            wrong.append((name, other))
    assert wrong == []
    assert compared > 20
