"""Random models of each family: read here, they compute what they compute in transformers, and written here, they are
read there. The options of a family's config.json are drawn.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.hub.errors import HubError
from llm.hub.families import FAMILIES
from llm.hub.load import load
from llm.hub.save import lost, nearest_family, save
from llm.model.gpt import GPT
from minigrad import no_grad
from tests.llm.gpts import SEEDS, VOCAB, configs, random_gpt, token_ids

pytestmark = [pytest.mark.parity, pytest.mark.slow]

# transformers computes the angles of rope in float32, whatever the dtype of the model. At position 20 they are off by
# 1e-6, and so are the logits.
TOLERANCE = 5e-6
T = 20  # tokens: more than the window, the original context of scaled rope, and half of the context

BOOL = st.booleans()
GATED = st.sampled_from(["silu", "gelu", "relu", "gelu_pytorch_tanh"])
PLAIN = st.sampled_from(["gelu", "gelu_new", "relu", "gelu_pytorch_tanh", "silu"])
WINDOW = st.sampled_from([None, 5])
BASE = {
    "vocab_size": VOCAB, "hidden_size": 24, "intermediate_size": 20, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 40, "initializer_range": 0.2, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip


def ropes(dim: int) -> st.SearchStrategy[Any]:
    """Parameters of rope over `dim` elements of a head."""
    original = {"factor": 4.0, "original_max_position_embeddings": 10}
    return st.sampled_from([
        {"rope_type": "default", "rope_theta": 500.0},
        {"rope_type": "linear", "rope_theta": 10000.0, "factor": 3.0},
        {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0},
        {"rope_type": "llama3", "rope_theta": 10000.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, **original},
        {"rope_type": "yarn", "rope_theta": 10000.0, **original},
        {"rope_type": "yarn", "rope_theta": 1e3, "mscale": 0.7, "mscale_all_dim": 0.5, "truncate": False, **original},
        {"rope_type": "yarn", "rope_theta": 1e3, "beta_fast": 3, "beta_slow": 0.5, "attention_factor": 1.2, **original},
        {"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0 + i for i in range(dim // 2)],
         "long_factor": [2.0 + i for i in range(dim // 2)], **original},
    ])  # fmt: skip


LLAMA = {"hidden_act": GATED, "tie_word_embeddings": BOOL, "rope_parameters": ropes(6)}
QWEN = {**LLAMA, "use_sliding_window": BOOL, "sliding_window": st.just(4), "max_window_layers": st.integers(0, 3)}
CAPS = {"final_logit_softcapping": st.sampled_from([None, 2.0]), "attn_logit_softcapping": st.sampled_from([None, 1.5])}
EXPERTS = {"num_experts_per_tok": st.integers(1, 3), "output_router_logits": BOOL, "router_aux_loss_coef": st.just(0.1)}

# The options of each family that are drawn.
OPTIONS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "gpt2": {
        "n_inner": st.sampled_from([None, 30]), "activation_function": PLAIN, "scale_attn_weights": BOOL,
        "scale_attn_by_inverse_layer_idx": BOOL, "tie_word_embeddings": BOOL,
    },
    "llama": {**LLAMA, "head_dim": st.just(6), "attention_bias": BOOL, "mlp_bias": BOOL},
    "mistral": {**LLAMA, "head_dim": st.just(8), "rope_parameters": ropes(8), "sliding_window": WINDOW},
    "qwen2": QWEN,
    "qwen3": {**QWEN, "head_dim": st.just(8), "rope_parameters": ropes(8), "attention_bias": BOOL},
    "smollm3": {
        "hidden_act": GATED, "tie_word_embeddings": BOOL, "attention_bias": BOOL, "mlp_bias": BOOL,
        "use_sliding_window": BOOL, "sliding_window": WINDOW, "no_rope_layer_interval": st.integers(1, 4),
    },
    "apertus": {**LLAMA, "hidden_act": st.sampled_from(["relu2", "gelu", "silu"]), "attention_bias": BOOL},
    "olmo2": {**LLAMA, "attention_bias": BOOL},
    "phi3": {
        "hidden_act": GATED, "tie_word_embeddings": BOOL, "sliding_window": WINDOW,
        "original_max_position_embeddings": st.just(10),
        "rope_parameters": st.sampled_from([
            {"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": 0.7},
            {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0, 1.1, 1.2], "long_factor": [2, 2.2, 3]},
        ]),
    },
    "gemma": {"hidden_act": st.sampled_from(["gelu", "gelu_python", "silu"]), "head_dim": st.just(8),
              "attention_bias": BOOL, "rope_parameters": ropes(8)},
    "gemma2": {**CAPS, "hidden_activation": GATED, "head_dim": st.sampled_from([6, 8]), "attention_bias": BOOL,
               "query_pre_attn_scalar": st.sampled_from([6, 10]), "sliding_window": st.just(4)},
    "gemma3_text": {**CAPS, "hidden_activation": GATED, "head_dim": st.sampled_from([6, 8]),
                    "query_pre_attn_scalar": st.sampled_from([6, 10]), "sliding_window": st.just(4),
                    "sliding_window_pattern": st.integers(1, 3)},
    "starcoder2": {**LLAMA, "hidden_act": PLAIN, "use_bias": BOOL, "sliding_window": WINDOW},
    "gpt_neox": {"hidden_act": PLAIN, "use_parallel_residual": BOOL, "attention_bias": BOOL,
                 "tie_word_embeddings": BOOL, "rotary_pct": st.sampled_from([0.4, 1.0])},
    "mixtral": {**LLAMA, **EXPERTS, "num_local_experts": st.just(5), "sliding_window": WINDOW, "head_dim": st.just(6)},
    "qwen3_moe": {
        **EXPERTS, "hidden_act": GATED, "tie_word_embeddings": BOOL, "head_dim": st.just(8), "num_experts": st.just(5),
        "moe_intermediate_size": st.just(10), "norm_topk_prob": BOOL, "decoder_sparse_step": st.integers(1, 2),
        "mlp_only_layers": st.sampled_from([[], [0]]),
    },
    "gpt_neo": {
        "intermediate_size": st.sampled_from([None, 30]), "activation_function": PLAIN, "window_size": st.just(4),
        "attention_types": st.sampled_from([[[["global", "local"], 1], [["local"], 1]], [[["global"], 3]]]),
        "tie_word_embeddings": BOOL,
    },
    "gptj": {"n_inner": st.just(30), "activation_function": PLAIN, "rotary_dim": st.sampled_from([2, 6])},
    "phi": {"hidden_act": PLAIN, "rope_parameters": ropes(4), "partial_rotary_factor": st.just(0.7)},
    "stablelm": {
        "hidden_act": GATED, "tie_word_embeddings": BOOL, "use_qkv_bias": BOOL, "use_parallel_residual": BOOL,
        "partial_rotary_factor": st.sampled_from([0.4, 1.0]),
    },
    "opt": {
        "ffn_dim": st.just(30), "activation_function": PLAIN, "do_layer_norm_before": BOOL, "enable_bias": BOOL,
        "tie_word_embeddings": BOOL,
    },
    "bloom": {"n_head": st.sampled_from([2, 3, 6, 12]), "tie_word_embeddings": BOOL},
}  # fmt: skip
GPT2_BASE = {"vocab_size": VOCAB, "n_positions": 40, "n_embd": 24, "n_layer": 3, "n_head": 4, "initializer_range": 0.2}
NEO_BASE = {name: BASE[name] for name in ("vocab_size", "hidden_size", "max_position_embeddings", "initializer_range")}
NEO_BASE |= {"num_layers": 3, "num_heads": 4}
BLOOM_BASE = {"vocab_size": VOCAB, "hidden_size": 24, "n_layer": 3, "initializer_range": 0.2}
BASES = {"gpt2": GPT2_BASE, "gptj": GPT2_BASE, "gpt_neo": NEO_BASE, "bloom": BLOOM_BASE}


@st.composite
def their_configs(draw: st.DrawFn, family: str) -> Any:
    """A configuration of transformers."""
    transformers = pytest.importorskip("transformers")
    drawn = {name: draw(values) for name, values in OPTIONS[family].items()}
    if isinstance(drawn.get("rope_parameters"), dict):
        drawn["rope_parameters"] = dict(drawn["rope_parameters"])  # transformers writes into it
    return transformers.AutoConfig.for_model(family, **(BASES.get(family, BASE) | drawn))


def their_model(config: Any, seed: int) -> Any:
    """A model of transformers with random weights, also in norms and biases, that float32 can hold."""
    import torch
    import transformers

    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config, **plain(config.model_type)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model


def plain(model_type: str) -> dict[str, str]:
    """Options for the plain implementations, which can compute in float64 and have no rules about sizes."""
    experts = {"experts_implementation": "eager"} if model_type in ("mixtral", "qwen3_moe") else {}
    return {"attn_implementation": "eager", **experts}


def logits_of(model: GPT, ids: np.ndarray) -> np.ndarray:
    with no_grad():
        return model(ids).data


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def test_each_family_is_here() -> None:
    assert OPTIONS.keys() == FAMILIES.keys()


@pytest.mark.parametrize("family", OPTIONS)
@settings(max_examples=3 * settings().max_examples // 5)
@given(st.data(), SEEDS)
def test_what_transformers_writes_is_read(family: str, data: st.DataObject, seed: int) -> None:
    import torch

    theirs = their_model(data.draw(their_configs(family)), seed)
    ids = token_ids(np.random.default_rng(seed), 2, T)
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        ours, _ = load(folder, np.float64)
    labels = torch.tensor(ids)
    with torch.no_grad():
        expected = theirs.double()(labels, labels=labels)
    assert relative_error(logits_of(ours, ids), expected.logits.numpy()) < TOLERANCE
    targets = np.append(ids[:, 1:], [[-100]] * 2, axis=1)
    assert ours.loss(ids, targets).item() == pytest.approx(expected.loss.item(), rel=TOLERANCE)
    assert lost(ours.config, FAMILIES[family]) == []


@pytest.mark.parametrize("family", OPTIONS)
@settings(max_examples=6)
@given(st.data(), SEEDS)
def test_what_is_written_here_transformers_reads(family: str, data: st.DataObject, seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        their_model(data.draw(their_configs(family)), seed).save_pretrained(folder)
        ours, _ = load(folder)
    assert_saved(ours, seed)


@settings(max_examples=3 * settings().max_examples)
@given(configs(), SEEDS)
def test_models_of_ours_are_written_or_refused(config: Any, seed: int) -> None:
    model = random_gpt(config, seed, np.float32)
    if any(lost(config, family) == [] for family in FAMILIES.values()):
        assert_saved(model, seed)
    else:
        with pytest.raises(HubError, match="no family of transformers has such a model; the nearest, "):
            nearest_family(config)


def assert_saved(model: GPT, seed: int) -> None:
    """A model that was saved is the same here, to the bit, and in transformers."""
    import torch
    import transformers

    ids = token_ids(np.random.default_rng(seed), 2, T)
    with tempfile.TemporaryDirectory() as parent:
        save(model, None, Path(parent, "saved"))
        again, _ = load(Path(parent, "saved"))
        how = plain(nearest_family(model.config).model_type)
        theirs = transformers.AutoModelForCausalLM.from_pretrained(Path(parent, "saved"), **how)
    weights, saved = model.state_dict(), again.state_dict()
    assert weights.keys() == saved.keys()
    for name, array in weights.items():
        np.testing.assert_array_equal(saved[name], array, err_msg=name)
    with torch.no_grad():
        expected = theirs.eval()(torch.tensor(ids)).logits.numpy()
    assert relative_error(logits_of(model, ids), expected) < 1e-4  # float32 on both sides
