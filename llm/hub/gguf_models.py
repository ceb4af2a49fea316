"""Which model the metadata of a GGUF file describe, and where its tensors are; and the way back.

Unlike the folders of Hugging Face, all architectures have the same names here, both of fields and of tensors. So one
table says what else an architecture is. The facts are those of llama.cpp:
gguf-py/gguf/constants.py and src/llama-model.cpp.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from llm.hub.errors import HubError, possible_model, shown
from llm.hub.fields import Fields
from llm.hub.stored import Stored
from llm.hub.weights import OneMatrix, Part, Same, Stack, interleaved_qkv, same_layers, stack
from llm.model.config import GPTConfig
from llm.model.rope_scaling import RopeScaling

LLAMA: dict[str, Any] = {"positions": "rope", "norm": "rmsnorm", "mlp": "swiglu", "bias": False}
GPT2: dict[str, Any] = {"positions": "learned", "norm": "layernorm", "mlp": "gelu_tanh", "bias": True}
GEMMA2 = {**LLAMA, "mlp": "geglu_tanh", "norm_position": "both"}


@dataclass(frozen=True)
class Architecture:
    fields: Mapping[str, Any]  # of GPTConfig
    interleaved: bool = False  # rows of queries and keys: see weights.py
    together: bool = False  # queries, keys and values are one matrix, and so are gate and up-projection
    scaled_embeddings: bool = False
    window_every: int = 0  # of this many layers, all but the last have the window; 0: all layers
    plain_windows: bool = False  # layers with the window rotate without scaling, with "rope.freq_base_swa" or this:
    window_base: float | None = None  # None: as the other layers
    defaults: Mapping[str, Any] = field(default_factory=dict)  # of fields of the file that llama.cpp fills in
    # The number of layers of the one size whose scores are divided by sqrt(dim / heads), not by sqrt(D): no field of
    # the file says it.
    wide_scale_layers: int | None = None


# fmt: off
ARCHITECTURES = {
    "qwen2": Architecture({**LLAMA, "qkv_bias": True}),  # before llama, which some programs read without its biases
    "llama": Architecture(LLAMA, interleaved=True),  # and Mistral, Mixtral, SmolLM 1 and 2
    "qwen3": Architecture({**LLAMA, "qk_norm": True}),
    "qwen3moe": Architecture({**LLAMA, "qk_norm": True}),
    "olmo2": Architecture(  # and OLMo 3, which has windows
        {**LLAMA, "qk_norm": True, "qk_norm_all": True, "norm_position": "output"}, window_every=4, plain_windows=True
    ),
    "phi3": Architecture(LLAMA, together=True),
    "gemma": Architecture({**LLAMA, "mlp": "geglu_tanh"}, scaled_embeddings=True),
    "gemma2": Architecture(
        GEMMA2, scaled_embeddings=True, window_every=2, wide_scale_layers=46,
        defaults={
            "attention.sliding_window": 4096, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0
        },
    ),
    "gemma3": Architecture(
        {**GEMMA2, "qk_norm": True}, scaled_embeddings=True, window_every=6, plain_windows=True, window_base=1e4,
        wide_scale_layers=62,
    ),
    "starcoder2": Architecture({**GPT2, "positions": "rope"}),
    "gpt2": Architecture(GPT2, together=True),
}
# fmt: on

# Fields that no model here has, and the values with which they change nothing.
NEVER: dict[str, Any] = {
    "attention.causal": True, "attention.clamp_kqv": 0, "attention.max_alibi_bias": 0, "attention.temperature_scale": 0,
    "embedding_scale": 1, "residual_scale": 1, "logit_scale": 1, "router_logit_softcapping": 0,
    "use_parallel_residual": False, "leading_dense_block_count": 0, "moe_every_n_layers": 1,
    "interleave_moe_layer_step": 1, "nextn_predict_layers": 0, "expert_shared_count": 0, "expert_weights_scale": 1,
    "expert_weights_norm": True, "expert_gating_func": 1, "rope.scaling.alpha": 1, "rope.scaling.yarn_ext_factor": 1,
    "rope.scaling.yarn_attn_factor": 1, "rope.scaling.yarn_log_multiplier": 0,
}  # fmt: skip


def gguf_config(metadata: Mapping[str, Any], tensors: Mapping[str, Stored], where: str) -> GPTConfig:
    """The configuration of the model in a GGUF file."""
    name = metadata.get("general.architecture")
    if not isinstance(name, str) or name not in ARCHITECTURES:
        raise HubError(f"{where} is of the architecture {shown(name)}; those known are {', '.join(ARCHITECTURES)}")
    # The fields begin with the name of the architecture: "llama.block_count".
    prefix = f"{name}."
    own = {key.removeprefix(prefix): shortest(v) for key, v in metadata.items() if key.startswith(prefix)}
    fields = Fields(own, ARCHITECTURES[name].defaults, where)
    with possible_model(where):
        return _config(fields, ARCHITECTURES[name], tensors)


def shortest(value: Any) -> Any:
    """A float32 number as the shortest decimal that gives it: 1e-06, not 9.999999974752427e-07. Others stay."""
    with np.errstate(over="ignore"):
        is_short = isinstance(value, float) and np.float32(value) == value and not value.is_integer()
    return float(str(np.float32(value))) if is_short else value


def _config(fields: Fields, architecture: Architecture, tensors: Mapping[str, Stored]) -> GPTConfig:
    heads, dim = fields.count("attention.head_count"), fields.count("embedding_length")
    layers = fields.layers("block_count")
    head_size = fields.count("attention.key_length", dim // heads)
    fields.refuse_unless(**NEVER, **{"attention.value_length": head_size})
    norm = "layer_norm_rms_epsilon" if architecture.fields["norm"] == "rmsnorm" else "layer_norm_epsilon"
    experts = fields.get("expert_count") or None
    dense = fields.count("feed_forward_length")
    config: dict[str, Any] = {
        "vocab_size": _embedding(tensors, fields.where).shape[0],
        "context": fields.count("context_length"),
        "layers": layers,
        "heads": heads,
        "kv_heads": fields.count("attention.head_count_kv", heads),
        "dim": dim,
        "head_dim": head_size,
        "mlp_dim": fields.count("expert_feed_forward_length", dense) if experts else dense,
        "norm_eps": fields.number(f"attention.{norm}"),
        "tied_head": "output.weight" not in tensors,
        "soft_cap": fields.get("final_logit_softcapping") or None,
        "attention_soft_cap": fields.get("attn_logit_softcapping") or None,
        "attention_scale": math.sqrt(heads / dim) if layers == architecture.wide_scale_layers else None,
        "embedding_scale": math.sqrt(dim) if architecture.scaled_embeddings else 1.0,
        "experts": experts,
        **({"experts_per_token": fields.count("expert_used_count")} if experts else {}),
        **_windows(fields, architecture, layers),
        **architecture.fields,
    }
    if config["positions"] == "rope":
        config |= _rope(fields, architecture, head_size, tensors)
    if "blk.0.attn_q.bias" in tensors:  # a Llama with biases
        config["qkv_bias"] = True
        config["out_bias"] = "blk.0.attn_output.bias" in tensors
    if head_size * heads == dim:
        config["head_dim"] = None
    return GPTConfig(**config)


def _embedding(tensors: Mapping[str, Stored], where: str) -> Stored:
    if "token_embd.weight" not in tensors or len(tensors["token_embd.weight"].shape) != 2:
        raise HubError(f"{where} has no matrix token_embd.weight, so it is no language model")
    return tensors["token_embd.weight"]


def _windows(fields: Fields, architecture: Architecture, layers: int) -> dict[str, Any]:
    window, name = fields.get("attention.sliding_window") or None, "attention.sliding_window_pattern"
    pattern = fields.get(name, architecture.window_every)  # as `window_every`, or whether each layer has the window
    if isinstance(pattern, int):
        pattern = [pattern == 0 or layer % pattern < pattern - 1 for layer in range(layers)]
    if not isinstance(pattern, list) or len(pattern) != layers or not {0, 1}.issuperset(pattern):
        raise fields.error(name, pattern, f"a whole number, or true or false for each of the {layers} layers")
    if window is None or not any(pattern):
        return {"window": None}
    return {"window": window, "window_layers": tuple(layer for layer in range(layers) if pattern[layer])}


def _rope(fields: Fields, architecture: Architecture, head_size: int, tensors: Mapping[str, Stored]) -> dict[str, Any]:
    rotated, base = fields.count("rope.dimension_count", head_size), fields.number("rope.freq_base", 10000.0)
    if architecture.interleaved and rotated != head_size:  # llama.cpp refuses it too
        raise fields.error("rope.dimension_count", rotated, f"{head_size} only, the width of a head")
    local = fields.number("rope.freq_base_swa", architecture.window_base or base)
    return {
        "rope_base": base,
        "rope_dim": None if rotated == head_size else rotated,
        "rope_scaling": _scaling(fields, tensors),
        "window_rope_base": local if architecture.plain_windows else None,
    }


def _scaling(fields: Fields, tensors: Mapping[str, Stored]) -> RopeScaling | None:
    original = fields.get("rope.scaling.original_context_length") or fields.count("context_length")
    if "rope_freqs.weight" in tensors:  # Llama 3: what each frequency is divided by, computed when the file was made
        factors = tuple(tensors["rope_freqs.weight"].widen(np.float64).tolist())
        return RopeScaling("longrope", original_context=original, short_factors=factors, long_factors=factors)
    if "rope_factors_long.weight" in tensors:
        short, long = (tensors[f"rope_factors_{n}.weight"].widen(np.float64).tolist() for n in ("short", "long"))
        factor = fields.number("rope.scaling.attn_factor", 1.0)
        return RopeScaling("longrope", 1.0, original, attention_factor=factor, short_factors=short, long_factors=long)
    # A factor without a type is linear in llama.cpp; the first files have it under an older name.
    factor = fields.number("rope.scaling.factor", fields.number("rope.scale_linear", 1.0))
    kind = fields.get("rope.scaling.type", "linear")
    if kind == "none" or kind == "linear" and factor in (0, 1):
        return None
    if kind == "linear":
        return RopeScaling(kind, factor)
    if kind == "yarn":
        return RopeScaling(
            kind, factor, original,
            beta_fast=fields.number("rope.scaling.yarn_beta_fast", 32.0),
            beta_slow=fields.number("rope.scaling.yarn_beta_slow", 1.0),
            attention_factor=fields.number("rope.scaling.attn_factor", 1.0) * (0.1 * math.log(factor) + 1),
        )  # fmt: skip
    raise fields.error("rope.scaling.type", kind, "linear or yarn")


# --- tensors ----------------------------------------------------------------------------------------------------------


def gguf_tensors(config: GPTConfig, name: str) -> dict[str, Part]:
    """Our names -> theirs, for the architecture called `name`."""
    architecture = ARCHITECTURES[name]
    same = {"embedding": "token_embd", "positions": "position_embd", "norm": "output_norm", "head": "output"}
    parts: dict[str, Part] = {}
    for layer in range(config.layers):
        ours, theirs = f"blocks.{layer}", f"blk.{layer}"
        same |= {f"{ours}.{n}": f"{theirs}.{other}" for n, other in _norms(config).items()}
        same |= {f"{ours}.attention.out": f"{theirs}.attn_output", f"{ours}.mlp.down": f"{theirs}.ffn_down"}
        if architecture.together:
            same |= {f"{ours}.attention.qkv": f"{theirs}.attn_qkv"}
        if architecture.together or not config.gated:
            same |= {f"{ours}.mlp.up": f"{theirs}.ffn_up"}
        for kind in ("weight", "bias"):
            if not architecture.together:
                parts[f"{ours}.attention.qkv.{kind}"] = _qkv(config, theirs, kind, architecture.interleaved)
            if config.gated and not architecture.together:
                names = [f"{theirs}.ffn_gate.{kind}", f"{theirs}.ffn_up.{kind}"]
                parts[f"{ours}.mlp.up.{kind}"] = stack(names, [config.dense_mlp_dim or config.mlp_size] * 2)
        parts |= _experts(config, f"{ours}.mlp", theirs)
    return parts | same_layers(same)


def _norms(config: GPTConfig) -> dict[str, str]:
    names = {"norm1": "attn_norm", "norm2": "ffn_norm"}
    if config.norm_position == "both":
        names |= {"out_norm1": "post_attention_norm", "out_norm2": "post_ffw_norm"}
    if config.norm_position == "output":
        names = {"norm1": "post_attention_norm", "norm2": "post_ffw_norm"}
    return names | {"attention.query_norm": "attn_q_norm", "attention.key_norm": "attn_k_norm"}


def _qkv(config: GPTConfig, theirs: str, kind: str, interleaved: bool) -> Stack:
    H, K, D = config.heads, config.key_heads, config.head_size
    q, k, v = (f"{theirs}.attn_{letter}.{kind}" for letter in "qkv")
    if not interleaved:
        return stack([q, k, v], [H * D, K * D, K * D])
    return interleaved_qkv([q, k, v], H, K, D)


def _experts(config: GPTConfig, ours: str, theirs: str) -> dict[str, Part]:
    """The experts of a layer: each tensor of the file has the matrices of all of them."""
    parts: dict[str, Part] = {f"{ours}.router.weight": Same(f"{theirs}.ffn_gate_inp.weight")}
    for e in range(config.experts or 0):
        gate, up, down = (OneMatrix(f"{theirs}.ffn_{name}_exps.weight", e) for name in ("gate", "up", "down"))
        parts[f"{ours}.experts.{e}.up.weight"] = Stack((gate, up), (config.mlp_size, config.mlp_size))
        parts[f"{ours}.experts.{e}.down.weight"] = down
    return parts
