"""Folders of PEFT: those of the real data give what PEFT gives, what is written is read, what is wrong is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from safetensors.numpy import load_file, save_file

from llm.hub.adapters.files import CONFIG, TENSORS, load_adapter, save_adapter, updates_of
from llm.hub.adapters.matrices import matrices_of
from llm.hub.errors import HubError
from llm.hub.load import load
from llm.hub.save import save
from llm.hub.save_gguf import save_gguf
from llm.model.adapters.attach import adapter_off
from llm.model.adapters.merge import merge
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.model.kv_cache import KVCache
from llm.tuning import add_lora, add_prefix, add_prompt
from minigrad import no_grad
from tests.llm.adapted import ADAPTERS, adapt, adapted_gpt
from tests.llm.gpts import SEEDS, VOCAB, configs, random_gpt, token_ids

NAMES = ("lora_r4", "lora_all_r2", "rslora_r4", "dora_r4", "prefix_5", "prompt_5")
EXACT = {"rtol": 1e-10, "atol": 1e-12}  # float64 on both sides: other orders of sums
LLAMA = GPTConfig(
    vocab_size=VOCAB, context=24, layers=2, heads=2, kv_heads=1, dim=8, mlp_dim=6, positions="rope", norm="rmsnorm",
    mlp="swiglu", bias=False,
)  # fmt: skip


# --- the real data ----------------------------------------------------------------------------------------------------


@pytest.fixture(params=["gpt2", "llama_gqa_llama3"])
def base(request: pytest.FixtureRequest, shared_data: Path) -> Path:
    return shared_data / "hf_fixtures" / request.param


@pytest.fixture(params=NAMES)
def adapter(request: pytest.FixtureRequest, shared_data: Path, base: Path) -> Path:
    return shared_data / "tuning" / base.name / request.param


@pytest.mark.shared
def test_logits_loss_and_gradients_are_those_of_peft(base: Path, adapter: Path) -> None:
    reference, (model, _) = np.load(adapter / "ref.npz"), load(base, np.float64, adapter=adapter)
    ids = reference["input_ids"]
    # With prompt tuning, PEFT gives the logits of virtual tokens too, before those of the text.
    np.testing.assert_allclose(model(ids).data, reference["logits_f64"][:, -ids.shape[1] :], **EXACT)
    loss = model.loss(ids[:, :-1], ids[:, 1:])
    assert loss.item() == pytest.approx(float(reference["loss_f64"]), rel=1e-12)
    loss.backward()
    found = gradients_in_their_names(model)
    expected = {name.removeprefix("grad/"): reference[name] for name in reference if name.startswith("grad/")}
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        np.testing.assert_allclose(found[name], gradient, **EXACT, err_msg=name)


def gradients_in_their_names(model: Any) -> dict[str, np.ndarray]:
    if hasattr(model, "virtual_tokens"):
        parameter = model.prefix.weight if hasattr(model, "prefix") else model.embedding.prompt
        return {"prompt_encoder.default.embedding.weight": parameter.grad.data}
    found, matrices = {}, {matrix.name: matrix for matrix in matrices_of(model)}
    for name, update in updates_of(model).items():
        order = matrices[name].part.in_their_order
        name = f"base_model.model.{name}.lora_"
        found |= {f"{name}A.default.weight": update.A.grad.data, f"{name}B.default.weight": order(update.B.grad.data)}
        if update.magnitude is not None:
            found[f"{name}magnitude_vector.default.weight"] = order(update.magnitude.grad.data)
    return found


@pytest.mark.shared
@pytest.mark.parametrize("name", ["lora_r4", "lora_all_r2", "rslora_r4", "dora_r4"])
def test_merged_logits_are_those_of_peft(shared_data: Path, base: Path, name: str, tmp_path: Path) -> None:
    folder = shared_data / "tuning" / base.name / name
    reference, (model, _) = np.load(folder / "ref.npz"), load(base, np.float64, adapter=folder)
    merge(model)
    np.testing.assert_allclose(model(reference["input_ids"]).data, reference["merged_logits_f64"], **EXACT)
    save(model, None, tmp_path / "merged")
    again, _ = load(tmp_path / "merged", np.float64)
    np.testing.assert_array_equal(again(reference["input_ids"]).data, model(reference["input_ids"]).data)


@pytest.mark.shared
def test_what_is_read_is_written_as_it_was(base: Path, adapter: Path, tmp_path: Path) -> None:
    model, _ = load(base, adapter=adapter)
    save_adapter(model, tmp_path / "again")
    before, after = (load_file(folder / TENSORS) for folder in (adapter, tmp_path / "again"))
    assert before.keys() == after.keys()
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array, err_msg=name)
    ours, theirs = (json.loads((folder / CONFIG).read_text()) for folder in (tmp_path / "again", adapter))
    for name in ours.keys() - {"base_model_name_or_path", "target_modules"}:
        assert ours[name] == theirs[name] or (not ours[name] and not theirs[name]), name
    if "target_modules" in theirs:
        assert set(ours["target_modules"]) == set(theirs["target_modules"])


@pytest.mark.shared
def test_an_adapter_of_another_model_is_refused(shared_data: Path) -> None:
    for name in ("lora_r4", "prefix_5"):
        with pytest.raises(HubError, match=r"no matrix of the model fits|numbers for each token"):
            load(shared_data / "hf_fixtures/gpt2", adapter=shared_data / "tuning/llama_gqa_llama3" / name)


@pytest.mark.shared
@pytest.mark.control
def test_an_adapter_that_is_switched_off_is_noticed(base: Path, adapter: Path) -> None:
    reference, (model, _) = np.load(adapter / "ref.npz"), load(base, np.float64, adapter=adapter)
    ids = reference["input_ids"]
    with adapter_off(model):
        assert not np.allclose(model(ids).data, reference["logits_f64"][:, -ids.shape[1] :], **EXACT)


# --- models of ours ---------------------------------------------------------------------------------------------------


@given(configs(), ADAPTERS, SEEDS)
def test_what_is_saved_is_loaded(tmp_path_factory: Any, config: GPTConfig, adapter: Any, seed: int) -> None:
    """Also for models that no family of transformers has: then names are ours."""
    model, ids = adapted_gpt(config, adapter, seed, np.float32), token_ids(np.random.default_rng(seed), 2, 9)
    folder = tmp_path_factory.mktemp("adapters") / "one"
    save_adapter(model, folder)
    load_adapter(again := random_gpt(config, seed, np.float32), folder)
    with no_grad():
        np.testing.assert_array_equal(again(ids).data, model(ids).data)


def model_with(**options: Any) -> GPT:
    add_lora(model := random_gpt(LLAMA, 0), **options)
    return model


def names_of(model: GPT) -> set[str]:
    return {name.removeprefix("model.layers.") for name in updates_of(model)}


def test_targets_by_names_of_transformers_and_by_ours() -> None:
    both = {f"{layer}.self_attn.{m}_proj" for layer in (0, 1) for m in "qv"}
    assert names_of(model_with()) == names_of(model_with(targets=["q_proj", "v_proj"])) == both
    assert names_of(model_with(targets=r".*\.[qv]_proj")) == both
    assert names_of(model_with(targets=["qkv"])) == both | {f"{layer}.self_attn.k_proj" for layer in (0, 1)}
    assert names_of(model_with(targets="mlp.up", layers=[1])) == {"1.mlp.gate_proj", "1.mlp.up_proj"}
    everything = names_of(model_with(targets="all-linear"))
    for expression in ("all-linear", r".*_proj"):
        of_one = model_with(targets=expression, layers=[1])
        assert names_of(of_one) == {name for name in everything if name.startswith("1.")}
        assert not isinstance(of_one.settings.targets, str)  # PEFT refuses one beside layers_to_transform
    assert len(everything) == 14 and "lm_head" not in everything
    assert names_of(model_with(targets="all-linear", exclude=["k_proj", "mlp.down"])) == {
        name for name in everything if "k_proj" not in name and "down" not in name
    }
    assert names_of(model_with(targets=["lm_head", "embed_tokens"])) == {"lm_head", "model.embed_tokens"}
    with pytest.raises(HubError, match="no matrix of the model fits the target 'c_attn'; there are embed_tokens, q_p"):
        model_with(targets=["q_proj", "c_attn"])


def test_a_whole_name_means_its_matrix_in_whichever_layer_it_is(tmp_path: Path) -> None:
    """As in PEFT. So a head has an update also beside those of some layers."""
    whole = "model.layers.0.self_attn.q_proj"
    model = model_with(targets=["v_proj", "lm_head", whole], layers=[1])
    assert names_of(model) == {"1.self_attn.v_proj", "lm_head", "0.self_attn.q_proj"}
    save_adapter(model, tmp_path / "adapter")
    again = random_gpt(LLAMA, 0)
    load_adapter(again, tmp_path / "adapter")
    assert names_of(again) == names_of(model)
    assert names_of(model_with(targets=["qkv", "head"], layers=[1])) == {
        "lm_head", *(f"1.self_attn.{m}_proj" for m in "qkv")
    }  # fmt: skip


def test_ranks_and_alphas_of_some_matrices() -> None:
    model = model_with(
        targets=["q_proj", "v_proj"],
        rank=2,
        alpha=4,
        rank_pattern={"q_proj": 3},
        alpha_pattern={r"1\.self_attn\.q_proj": 9},
    )
    found = {name: (u.A.shape[0], u.scale) for name, u in updates_of(model).items()}
    layers = "model.layers."
    assert found == {
        f"{layers}0.self_attn.q_proj": (3, 4 / 3), f"{layers}1.self_attn.q_proj": (3, 3.0),
        f"{layers}0.self_attn.v_proj": (2, 2.0), f"{layers}1.self_attn.v_proj": (2, 2.0),
    }  # fmt: skip


@pytest.mark.parametrize("add", [add_lora, add_prefix, add_prompt])
def test_a_model_with_an_adapter_is_not_saved_as_a_whole(add: Callable[..., None], tmp_path: Path) -> None:
    add(model := random_gpt(LLAMA, 0))
    with pytest.raises(HubError, match="the model has an adapter"):
        save(model, None, tmp_path / "model")
    with pytest.raises(HubError, match="the model has no adapter"):
        save_adapter(random_gpt(LLAMA, 0), tmp_path / "adapter")


@pytest.mark.parametrize("targets", ["all-linear", ["embed_tokens", "q_proj"]])
def test_stored_weights_can_have_an_adapter(targets: Any, tmp_path: Path) -> None:
    """Weights of 16 bits stay as they are in the file, and what is trained is in float32."""
    save_gguf(random_gpt(LLAMA, 0, np.float32), None, tmp_path / "model.gguf", "F16")
    ids, found = token_ids(np.random.default_rng(0), 2, 9), []
    for weights in ("widened", "stored"):
        model, _ = load(tmp_path / "model.gguf", weights=weights)
        adapt(model, (add_lora, {"targets": targets}), 1)
        model.loss(ids, ids).backward()
        gradients = {name: p.grad.data for name, p in model.named_trainable() if p.grad is not None}
        found.append((model(ids).data, gradients, logits_one_by_one(model, ids)))
    assert found[0][1].keys() == found[1][1].keys() != set()
    for one, other in ((found[0][0], found[1][0]), (found[0][0], found[1][2]), *zip(*(f[1].values() for f in found))):
        np.testing.assert_allclose(
            other, one, rtol=1e-3, atol=1e-4 * np.abs(one).max()
        )  # float32: other orders of sums
    with pytest.raises(ValueError, match="weights='widened'"):
        merge(model)
    with pytest.raises(HubError, match="weights='widened'"):
        add_lora(load(tmp_path / "model.gguf", weights="stored")[0], dora=True)


def logits_one_by_one(model: GPT, ids: np.ndarray) -> np.ndarray:
    cache = KVCache(model.config)
    with no_grad():
        return np.concatenate([model(ids[:, t : t + 1], cache=cache).data for t in range(ids.shape[1])], axis=1)


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_adapter(model_with(), tmp_path / "adapter")
    return tmp_path / "adapter"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("bias", "all"), ("modules_to_save", ["lm_head"]), ("target_parameters", ["experts.up"]), ("lora_bias", True),
        ("trainable_token_indices", [1]), ("layer_replication", [[0, 1]]), ("use_qalora", True),
        ("eva_config", {"a": 1}),
        ("alora_invocation_tokens", [1]), ("init_lora_weights", "pissa"), ("a_field_of_tomorrow", 1),
        ("peft_type", "IA3"), ("num_transformer_submodules", 2),
    ],
)  # fmt: skip
def test_what_would_change_the_results_is_refused_by_name(folder: Path, field: str, value: Any) -> None:
    refused_with(folder, {field: value}, field)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"r": 0}, "a rank is a whole number"), ({"r": "x"}, "a rank is a whole number"),
        ({"lora_alpha": []}, "alpha is a number"), ({"lora_dropout": 2}, "the dropout of an adapter"),
        ({"target_modules": ["nothing"]}, "no matrix of the model fits the target 'nothing'"),
        ({"target_modules": "("}, "is no regular expression"), ({"target_modules": 3}, "must be names of modules"),
        ({"r": 3}, "has the shape"), ({"target_modules": ["q_proj"]}, "which the target_modules do not ask for"),
        ({"target_modules": ["q_proj", "v_proj", "k_proj"]}, "lacks base_model.model.model.layers.0.self_attn.k_proj"),
        ({"layers_to_transform": ["1"]}, "must be numbers of layers"), ({"rank_pattern": 3}, "must be a table"),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_are_refused(folder: Path, fields: dict[str, Any], sentence: str) -> None:
    refused_with(folder, fields, sentence)


def refused_with(folder: Path, fields: dict[str, Any], sentence: str) -> None:
    path = folder / CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    model = random_gpt(LLAMA, 0)
    with pytest.raises(HubError) as error:
        load_adapter(model, folder)
    assert sentence in str(error.value) and str(folder) in str(error.value)
    assert type(model) is GPT and all(p.requires_grad for p in model.parameters()), "the model is as it was"


def test_an_adapter_that_is_given_as_a_model(folder: Path) -> None:
    with pytest.raises(HubError, match="is an adapter and no model"):
        load(folder)


def test_files_that_are_missing_or_surplus(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(HubError, match=f"has no {CONFIG}; give one of .*adapter"):
        load_adapter(random_gpt(LLAMA, 0), tmp_path)
    tensors = load_file(folder / TENSORS)
    save_file(tensors | {"base_model.model.surplus.lora_A.weight": np.zeros((1, 1), np.float32)}, folder / TENSORS)
    with pytest.raises(HubError, match="holds 'base_model.model.surplus.lora_A.weight', which"):
        load_adapter(random_gpt(LLAMA, 0), folder)
    (folder / TENSORS).unlink()
    with pytest.raises(HubError, match=f"has no {TENSORS}"):
        load_adapter(random_gpt(LLAMA, 0), folder)
    (folder / "adapter_model.bin").write_bytes(b"")
    with pytest.raises(HubError, match="only safetensors"):
        load_adapter(random_gpt(LLAMA, 0), folder)
