"""Adapters of PEFT, of random models of each family: read here, they compute what they compute there, and written here,
PEFT reads them. Settings are drawn.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.hub.adapters.files import save_adapter
from llm.hub.families import FAMILIES
from llm.hub.load import load
from llm.model.adapters.merge import merge
from minigrad import no_grad
from tests.llm.gpts import SEEDS, VOCAB, token_ids
from tests.llm.test_hub_parity import TOLERANCE, plain, their_configs, their_model

pytestmark = [pytest.mark.parity, pytest.mark.slow]

# transformers keeps experts as one tensor, so PEFT changes the targets that name their matrices.
ATTENTION = {"mixtral": "qkvo", "qwen3_moe": "qkvo"}


@st.composite
def lora_settings(draw: st.DrawFn, model: Any) -> dict[str, Any]:
    """Arguments of PEFT's LoraConfig for a model of transformers."""
    names = sorted({name.rsplit(".", 1)[-1] for name, module in model.named_modules() if is_linear(module)})
    heads = {name for name in names if model.get_output_embeddings() is model.get_submodule(name_of(model, name))}
    if model.config.model_type in ATTENTION:
        names = [f"{letter}_proj" for letter in ATTENTION[model.config.model_type]] + sorted(heads)
    some = draw(st.sets(st.sampled_from(sorted(set(names) - heads)), min_size=1))
    everything = [] if model.config.model_type in ATTENTION else ["all-linear"]
    targets = draw(st.sampled_from([sorted(some), *everything, rf".*\.({'|'.join(sorted(some))})"]))
    found: dict[str, Any] = {
        "r": draw(st.integers(1, 3)), "lora_alpha": draw(st.sampled_from([1, 3, 8])),
        "use_rslora": draw(st.booleans()), "use_dora": draw(st.booleans()), "target_modules": targets,
        "rank_pattern": draw(st.sampled_from([{}, {sorted(some)[0]: 4}])),
        "alpha_pattern": draw(st.sampled_from([{}, {rf".*\.{sorted(some)[-1]}": 5}])),
        "fan_in_fan_out": model.config.model_type == "gpt2",
    }  # fmt: skip
    if isinstance(targets, list):
        found["layers_to_transform"] = draw(st.sampled_from([None, [0], [0, 2], 1]))
        table = next(name for name, m in model.named_modules() if m is model.get_input_embeddings())
        if found["layers_to_transform"] is None and not found["use_dora"] and draw(st.booleans()):
            targets.append(table.rsplit(".", 1)[-1])
        if found["layers_to_transform"] is None and draw(st.booleans()):
            targets += sorted(heads)
    return found


def is_linear(module: Any) -> bool:
    return type(module).__name__ in ("Linear", "Conv1D")


def name_of(model: Any, last: str) -> str:
    return next(name for name, _ in model.named_modules() if name.rsplit(".", 1)[-1] == last)


def their_logits(model: Any, ids: np.ndarray) -> np.ndarray:
    """Of the tokens of the text; with prompt tuning, PEFT gives those of virtual tokens before them too."""
    import torch

    with torch.no_grad():
        return model(input_ids=torch.tensor(ids)).logits[:, -ids.shape[1] :].numpy()


def with_adapter(model: Any, config: Any, seed: int) -> Any:
    """The model of PEFT, with random numbers that float32 can hold."""
    import peft
    import torch

    torch.manual_seed(seed)
    adapted = peft.get_peft_model(model, config).eval()
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if parameter.requires_grad and "original" not in name:
                parameter.copy_((parameter + 0.1 * torch.randn_like(parameter)).float())
    return adapted


def check_both_ways(model: Any, config: Any, ids: np.ndarray, seed: int, *, written: bool = True) -> None:
    import peft
    import transformers

    with tempfile.TemporaryDirectory() as folder:
        base, theirs, ours = (Path(folder, name) for name in ("base", "theirs", "ours"))
        model.float().save_pretrained(base)
        adapted = with_adapter(model, config, seed)
        adapted.save_pretrained(theirs)
        expected = their_logits(adapted.double(), ids)
        loaded, _ = load(base, np.float64, adapter=theirs)
        with no_grad():
            logits = loaded(ids).data
        scale = np.abs(expected).max()
        difference = float(np.abs(logits - expected).max() / scale)
        assert difference < TOLERANCE, difference
        if not written:
            return
        save_adapter(loaded, ours)
        again = transformers.AutoModelForCausalLM.from_pretrained(base, **plain(model.config.model_type))
        read = peft.PeftModel.from_pretrained(again, ours).eval()
        assert np.abs(their_logits(read.double(), ids) - expected).max() < TOLERANCE * scale
        if isinstance(config, peft.LoraConfig):
            merge(loaded)
            with no_grad():
                assert np.abs(loaded(ids).data - logits).max() < 1e-11 * scale  # float64, other orders of sums


@pytest.mark.parametrize("family", FAMILIES)
@given(data=st.data(), seed=SEEDS)
@settings(max_examples=5)
def test_lora(family: str, data: st.DataObject, seed: int) -> None:
    peft = pytest.importorskip("peft")
    model = their_model(data.draw(their_configs(family)), seed % 2**31)
    config = peft.LoraConfig(task_type="CAUSAL_LM", **data.draw(lora_settings(model)))
    check_both_ways(model, config, token_ids(np.random.default_rng(seed), 2, 12), seed % 2**31)


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe"])
@given(data=st.data(), seed=SEEDS)
@settings(max_examples=5)
def test_lora_of_experts(family: str, data: st.DataObject, seed: int) -> None:
    """transformers keeps the experts of a layer as one tensor, and newer files of PEFT their updates too."""
    peft = pytest.importorskip("peft")
    model = their_model(data.draw(their_configs(family)), seed % 2**31)
    parameters = data.draw(
        st.sampled_from([["gate_up_proj", "down_proj"], ["down_proj"], ["mlp.experts.gate_up_proj"]])
    )
    config = peft.LoraConfig(
        task_type="CAUSAL_LM", r=data.draw(st.integers(1, 3)), lora_alpha=4, target_parameters=parameters,
        target_modules=data.draw(st.sampled_from([["q_proj"], r".*\.[qo]_proj"])),
        rank_pattern=data.draw(st.sampled_from([{}, {r".*\.down_proj": 2}])),
        alpha_pattern=data.draw(st.sampled_from([{}, {r".*\.gate_up_proj": 5}])),
    )  # fmt: skip
    check_both_ways(model, config, token_ids(np.random.default_rng(seed), 2, 12), seed % 2**31, written=False)


@pytest.mark.parametrize("kind", ["PrefixTuningConfig", "PromptTuningConfig"])
@pytest.mark.parametrize("family", FAMILIES)
@given(data=st.data(), seed=SEEDS)
@settings(max_examples=3)
def test_virtual_tokens(family: str, kind: str, data: st.DataObject, seed: int) -> None:
    peft = pytest.importorskip("peft")
    model = their_model(data.draw(their_configs(family)), seed % 2**31)
    if family in ("gpt_neox", "opt"):  # a field of BASE that these do not have, but PEFT looks at it
        del model.config.num_key_value_heads
    config = getattr(peft, kind)(task_type="CAUSAL_LM", num_virtual_tokens=data.draw(st.integers(1, 5)))
    check_both_ways(model, config, token_ids(np.random.default_rng(seed), 2, 12), seed % 2**31)


@pytest.mark.parametrize("family", FAMILIES)
@given(data=st.data(), seed=SEEDS)
@settings(max_examples=2)
def test_classifiers(family: str, data: st.DataObject, seed: int) -> None:
    """A folder has the head too. It makes a classifier of a model that has none."""
    peft, transformers = pytest.importorskip("peft"), pytest.importorskip("transformers")
    model, classes = their_model(data.draw(their_configs(family)), seed % 2**31).float(), data.draw(st.integers(1, 4))
    with tempfile.TemporaryDirectory() as folder:
        base, theirs, ours = (Path(folder, name) for name in ("base", "theirs", "ours"))
        model.save_pretrained(base)
        read = transformers.AutoModelForSequenceClassification.from_pretrained

        def their_base() -> Any:
            found = read(base, num_labels=classes, **plain(family))
            found.config.pad_token_id = 0
            return found

        try:
            classifier = their_base()
        except ValueError:  # transformers has no classifier of this family
            return
        targets = ["q_proj", "v_proj"] if family in ATTENTION else "all-linear"
        config = peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=targets)
        adapted = with_adapter(classifier, config, seed % 2**31)
        adapted.save_pretrained(theirs)
        ids = np.random.default_rng(seed).integers(1, VOCAB, (2, 12))  # without the id of padding, 0
        expected = their_logits(adapted.double(), ids)
        loaded, _ = load(base, np.float64, adapter=theirs)
        with no_grad():
            assert np.abs(loaded(ids).data - expected).max() < TOLERANCE * np.abs(expected).max()
        save_adapter(loaded, ours)
        again = peft.PeftModel.from_pretrained(their_base(), ours).eval()
        assert np.abs(their_logits(again.double(), ids) - expected).max() < TOLERANCE * np.abs(expected).max()
