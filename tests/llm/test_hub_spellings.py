"""A config.json as people find it: fields left out, null, in older spellings, or with values that are not supported.

And files in bf16 or f16, in shards, or without the prefix of their names. Transformers is asked what it makes of the
same folder.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from llm.hub.errors import HubError, shown
from llm.hub.families import FAMILIES
from llm.hub.load import load
from llm.hub.save import save
from llm.hub.source import read_family
from llm.model.config import GPTConfig
from tests.llm.gpts import random_gpt, token_ids
from tests.llm.test_hub_parity import BASE, BASES, TOLERANCE, logits_of, plain, relative_error, their_model

ABSENT = "absent"
OLD = {"rope_parameters": ABSENT}
ORIGINAL = {"original_max_position_embeddings": 10}
LLAMA3 = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, **ORIGINAL}
YARN = {"type": "yarn", "factor": 4.0}
LONGROPE = {"short_factor": [1, 1.1, 1.2], "long_factor": [2, 3, 4]}
THREE_KINDS = ["sliding_attention", "full_attention", "sliding_attention"]
NO_LIST = {"layer_types": ABSENT, "sliding_window": 4}

# family, fields of its config.json that are changed
READ: list[tuple[str, dict[str, Any]]] = [
    ("llama", {**OLD, "rope_theta": 500.0, "rope_scaling": {"type": "linear", "factor": 2.0}}),
    ("llama", {**OLD, "rope_theta": 500, "rope_scaling": None}),
    ("llama", {"rope_parameters": None}),
    ("llama", {**OLD, "rope_theta": 500.0, "rope_scaling": LLAMA3}),
    ("llama", {**OLD, "rope_theta": 500.0, "rope_scaling": YARN | ORIGINAL}),
    ("llama", {**OLD, "rope_theta": 500.0, "rope_scaling": YARN}),
    ("llama", {**OLD, "rope_scaling": YARN | {"original_max_position_embeddings": 20}, **ORIGINAL}),
    ("llama", {**OLD, "rope_scaling": {"type": "dynamic", "factor": 4.0}, "max_position_embeddings": 12}),
    ("llama", {"rope_parameters": {"rope_theta": 200.0, "rope_type": "yarn", "factor": None, **ORIGINAL}}),
    ("llama", {"rope_parameters": {"rope_theta": 200.0}}),
    ("llama", {"head_dim": ABSENT, "tie_word_embeddings": ABSENT, "hidden_act": "gelu_fast"}),
    ("llama", {"sliding_window": 3, "pretraining_tp": 2, "attention_dropout": 0.3}),  # nothing changes
    ("mistral", {"sliding_window": None}),
    ("mistral", {"sliding_window": 3, "head_dim": None}),
    ("mistral", {"sliding_window": 3, "layer_types": ["full_attention"] * 3}),
    ("qwen2", {**NO_LIST, "use_sliding_window": True, "max_window_layers": 1}),
    ("qwen2", {"sliding_window": 4, "use_sliding_window": True, "layer_types": THREE_KINDS}),
    ("qwen2", {**NO_LIST, "use_sliding_window": ABSENT}),
    ("smollm3", {"no_rope_layers": ABSENT, "no_rope_layer_interval": ABSENT}),
    ("smollm3", {**NO_LIST, "no_rope_layers": [1, 0, 0], "use_sliding_window": True}),
    ("smollm3", {"layer_types": THREE_KINDS, "use_sliding_window": False, "sliding_window": 3}),
    ("smollm3", {"rope_parameters": ABSENT, "tie_word_embeddings": ABSENT}),
    ("apertus", {"rope_parameters": ABSENT}),
    ("apertus", {**OLD, "rope_scaling": {"type": "linear", "factor": 2.0}}),
    ("olmo2", {**OLD, "rope_theta": 5e5, "rope_scaling": None, "rms_norm_eps": ABSENT}),
    ("phi3", {**OLD, "rope_scaling": {"type": "su", **LONGROPE, "original_max_position_embeddings": 30}, **ORIGINAL}),
    ("phi3", {**OLD, "rope_theta": 100.0, "partial_rotary_factor": 0.7, "resid_pdrop": 0.3}),
    ("gemma", {"hidden_act": "gelu"}),
    ("gemma", {"hidden_activation": None, "attention_bias": ABSENT, "tie_word_embeddings": ABSENT}),
    ("gemma2", {"layer_types": ABSENT, "query_pre_attn_scalar": 7, "hidden_act": "silu"}),
    ("gemma2", {"final_logit_softcapping": ABSENT, "attn_logit_softcapping": None}),
    ("gemma3_text", {**OLD, "rope_theta": 1e5, "rope_local_base_freq": 100.0, "rope_scaling": {
        "rope_type": "linear", "factor": 8.0}}),
    ("gemma3_text", {**NO_LIST, "sliding_window_pattern": 2, "attn_logit_softcapping": 1.5}),
    ("gemma3_text", {"rope_parameters": {"full_attention": {"rope_theta": 1e5}, "sliding_attention": None}}),
    ("starcoder2", {"tie_word_embeddings": ABSENT, "use_bias": ABSENT, "sliding_window": ABSENT}),
    ("gpt_neox", {**OLD, "rotary_pct": 0.4, "rotary_emb_base": 300}),
    ("gpt_neox", {**OLD, "rotary_pct": 1.0, "rope_scaling": {"type": "linear", "factor": 2.0}}),
    ("mixtral", {**OLD, "sliding_window": 4}),
    ("qwen3_moe", {"mlp_only_layers": None, "norm_topk_prob": ABSENT}),
    ("gpt2", {"n_layer": ABSENT, "n_head": ABSENT, "num_hidden_layers": 3, "num_attention_heads": 4}),
    ("bloom", {"n_layer": ABSENT, "hidden_size": ABSENT, "n_embed": 24, "num_hidden_layers": 3}),
    ("gpt_neo", {"attention_layers": ["local", "global", "local"]}),
    ("gpt_neo", {"attention_layers": ABSENT, "attention_types": [[["local"], 3]]}),
    ("phi", {**OLD, "partial_rotary_factor": 0.7, "rope_theta": 300.0}),
    ("stablelm", {**OLD, "partial_rotary_factor": 1.0, "use_qkv_bias": ABSENT}),
    ("opt", {"word_embed_proj_dim": ABSENT, "tie_word_embeddings": ABSENT}),
]  # fmt: skip

# family, the field and the value that are refused
REFUSED: list[tuple[str, str, Any]] = [
    ("llama", "hidden_act", "quick_gelu"),
    ("llama", "partial_rotary_factor", 0.5),
    ("llama", "is_encoder_decoder", True),
    ("llama", "quantization_config", {"bits": 4}),
    ("llama", "rope_scaling", {"type": "mrope"}),
    ("llama", "num_hidden_layers", 0),
    ("llama", "vocab_size", "many"),
    ("qwen2", "layer_types", ["chunked_attention"] * 32),
    ("smollm3", "no_rope_layers", [1, 0]),
    ("mistral", "layer_types", THREE_KINDS),
    ("apertus", "hidden_act", "xielu"),
    ("gemma2", "use_bidirectional_attention", True),
    ("mixtral", "router_jitter_noise", 0.1),
    ("gpt2", "add_cross_attention", True),
    ("gpt2", "activation_function", "tanh"),
    ("phi", "qk_layernorm", True),
    ("stablelm", "qk_layernorm", True),
    ("opt", "word_embed_proj_dim", 12),
    ("opt", "layer_norm_elementwise_affine", False),
    ("bloom", "apply_residual_connection_post_layernorm", True),
    ("gptj", "rotary_dim", None),
    ("gpt_neox", "head_dim", 7),
    ("phi", "partial_rotary_factor", 0.99),
    ("stablelm", "head_dim", 7),
]

# Sizes beside those of BASE that the models need.
SIZES: dict[str, dict[str, Any]] = {
    "gemma": {"head_dim": 6}, "gemma2": {"head_dim": 6, "sliding_window": 4}, "qwen3": {"head_dim": 8},
    "gemma3_text": {"head_dim": 6, "sliding_window": 4, "layer_types": THREE_KINDS}, "apertus": {"hidden_act": "gelu"},
    "smollm3": {"tie_word_embeddings": True}, "gpt_neox": {"rotary_pct": 0.4}, "phi": {"partial_rotary_factor": 0.7},
    "gptj": {"rotary_dim": 4}, "stablelm": {"partial_rotary_factor": 0.4}, "opt": {"ffn_dim": 30},
    "bloom": {"n_head": 8}, "qwen3_moe": {"num_experts": 5, "moe_intermediate_size": 10, "num_experts_per_tok": 2},
    "gpt_neo": {"attention_types": [[["global", "local"], 1], [["local"], 1]], "window_size": 3},
    "mixtral": {"num_local_experts": 5},
}  # fmt: skip


def small_model(family: str, **more: Any) -> Any:
    """A model of transformers with random weights."""
    transformers = pytest.importorskip("transformers")
    sizes = BASES.get(family, BASE) | SIZES.get(family, {}) | more
    return their_model(transformers.AutoConfig.for_model(family, **json.loads(json.dumps(sizes))), 1)


def assert_equal_logits(folder: Path, family: str) -> None:
    """Our logits are those of transformers, for the weights as they are in the folder."""
    import torch
    import transformers

    ids = token_ids(np.random.default_rng(0), 2, 20)
    # In float64 from the beginning: with bf16 weights, transformers would round the scale of Gemma's embeddings too.
    how = plain(family) | {"dtype": torch.float64}
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, **how).eval()
    with torch.no_grad():
        expected = theirs(torch.tensor(ids)).logits.numpy()
    ours, _ = load(folder, np.float64)
    assert relative_error(logits_of(ours, ids), expected) < TOLERANCE


@pytest.mark.parity
@pytest.mark.slow
@pytest.mark.parametrize(("family", "changed"), READ)
def test_other_spellings_mean_what_they_mean_in_transformers(
    family: str, changed: dict[str, Any], tmp_path: Path
) -> None:
    small_model(family).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    data = json.loads(path.read_text()) | changed
    path.write_text(json.dumps({name: value for name, value in data.items() if value != ABSENT}))
    assert_equal_logits(tmp_path, family)


@pytest.mark.parity
@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_half_precision_in_shards_is_read(family: str, dtype: str, tmp_path: Path) -> None:
    import torch

    small_model(family).to(getattr(torch, dtype)).save_pretrained(tmp_path, max_shard_size="5KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert_equal_logits(tmp_path, family)


@pytest.mark.parity
@pytest.mark.slow
@pytest.mark.parametrize(
    "family", [name for name in FAMILIES if name not in ("gptj", "phi")]
)  # (heads with a bias are not tied)
def test_files_of_the_model_without_its_head_are_read(family: str, tmp_path: Path) -> None:
    small_model(family, tie_word_embeddings=True).base_model.save_pretrained(tmp_path)
    assert_equal_logits(tmp_path, family)


@pytest.mark.parametrize(("family", "name", "value"), REFUSED)
def test_what_would_change_the_model_is_refused_by_name(family: str, name: str, value: Any, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": family, name: value}))
    (tmp_path / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    with pytest.raises(HubError) as raised:
        load(tmp_path)
    assert ("type='mrope'" if name == "rope_scaling" else f"{name}={shown(value)}") in str(raised.value)


@pytest.mark.parametrize("family", ["mamba", "gemma3", "qwen2_moe", "granite", "olmo", "cohere", "t5", "llava"])
def test_other_families_are_refused_by_name(family: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": family}))
    (tmp_path / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    with pytest.raises(HubError, match=family):
        load(tmp_path)


JUNK = [
    float("nan"), float("inf"), -1, 0, 1, 1.5, 10**9, 2**63, 10**400, "x" * 9999, "", [], {}, [[]], [None], True, False,
    None, {"a": {"b": [1]}},
]  # fmt: skip
OTHER_FIELDS = (
    "model_type", "head_dim", "n_inner", "rope_scaling", "rope_parameters", "layer_types", "no_rope_layers",
    "attention_layers", "mlp_only_layers", "sliding_window", "original_max_position_embeddings", "rope_theta",
    "pretraining_tp", "num_local_experts", "max_window_layers", "rope_local_base_freq", "output_router_logits",
)  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_junk_in_a_field_gives_a_configuration_or_one_sentence(family: str) -> None:
    for name in (*FAMILIES[family].defaults, *OTHER_FIELDS):
        for value in JUNK:
            refused = ""
            try:
                read_family(Path("folder"), {"model_type": family, name: value})
            except HubError as error:
                refused = str(error)
            assert len(refused) < 600 and "\n" not in refused, f"{name}: {refused}"


@pytest.mark.parametrize("kind", ["linear", "dynamic", "llama3", "yarn", "longrope"])
def test_junk_in_the_parameters_of_rope_gives_a_table_or_one_sentence(kind: str) -> None:
    numbers = {"factor": 2.0, "rope_theta": 1e4, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "mscale": 1.0}
    lists = {"short_factor": [1, 1], "long_factor": [1, 1]}
    usual = {"rope_type": kind, **numbers, **lists, "mscale_all_dim": 1.0, **ORIGINAL}
    for name in (*usual, "beta_fast", "beta_slow", "attention_factor", "partial_rotary_factor", "truncate", "type"):
        for value in JUNK:
            data = {"hidden_size": 8, "num_attention_heads": 2, "rope_parameters": usual | {name: value}}
            with suppress(HubError), np.errstate(divide="ignore"):
                _, config = read_family(Path("folder"), {"model_type": "llama", **data})
                if config.rope_scaling is not None:
                    assert config.rope_scaling.frequencies(config.rope_base, config.rotated, 3).shape == (2,)


def test_weights_in_integers_are_refused_by_name(tmp_path: Path) -> None:
    save(random_gpt(GPTConfig(13, 8, 1, 2, dim=8), 0, np.float32), None, tmp_path / "model")
    path = tmp_path / "model" / "model.safetensors"
    save_file({name: array.astype(np.int8) for name, array in load_file(path).items()}, path)
    with pytest.raises(HubError, match=r"holds transformer\.h\.0.* as I8, without scales"):
        load(tmp_path / "model")


def test_a_folder_may_have_the_name_of_a_gguf_file(tmp_path: Path) -> None:
    save(random_gpt(GPTConfig(13, 8, 1, 2, dim=8), 0, np.float32), None, tmp_path / "model.gguf")
    model, _ = load(tmp_path / "model.gguf")
    assert model.config.dim == 8
