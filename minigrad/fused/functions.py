"""All fused functions and their definitions in one list, from which `import minigrad` takes them."""

from minigrad.fused.activation import (
    geglu,
    geglu_reference,
    gelu,
    gelu_reference,
    reglu,
    reglu_reference,
    relu_squared,
    relu_squared_reference,
    silu,
    silu_reference,
    swiglu,
    swiglu_reference,
)
from minigrad.fused.attention import attention, attention_reference
from minigrad.fused.cross_entropy import cross_entropy, cross_entropy_reference
from minigrad.fused.dropout import dropout, dropout_reference
from minigrad.fused.embedding import embedding, embedding_reference
from minigrad.fused.linear import linear, linear_reference
from minigrad.fused.linear_activation import linear_activation, linear_activation_reference
from minigrad.fused.linear_cross_entropy import linear_cross_entropy, linear_cross_entropy_reference
from minigrad.fused.norm import layer_norm, layer_norm_reference, rms_norm, rms_norm_reference
from minigrad.fused.rope import rope, rope_reference

# fmt: off
__all__ = [
    "attention",            "attention_reference",
    "cross_entropy",        "cross_entropy_reference",
    "dropout",              "dropout_reference",
    "embedding",            "embedding_reference",
    "geglu",                "geglu_reference",
    "gelu",                 "gelu_reference",
    "layer_norm",           "layer_norm_reference",
    "linear",               "linear_reference",
    "linear_activation",    "linear_activation_reference",
    "linear_cross_entropy", "linear_cross_entropy_reference",
    "reglu",                "reglu_reference",
    "relu_squared",         "relu_squared_reference",
    "rms_norm",             "rms_norm_reference",
    "rope",                 "rope_reference",
    "silu",                 "silu_reference",
    "swiglu",               "swiglu_reference",
]
# fmt: on
