"""The hot functions, each in a few passes over memory with a hand-derived gradient, and each beside its definition in
primitives.
"""

from minigrad.fused.activation import (
    geglu,
    geglu_reference,
    gelu,
    gelu_reference,
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
__all__ = ["attention", "cross_entropy", "dropout", "embedding", "geglu", "gelu", "layer_norm", "linear",
           "linear_activation",
           "linear_cross_entropy", "relu_squared", "rms_norm", "rope", "silu", "swiglu",
           "attention_reference", "cross_entropy_reference", "dropout_reference", "embedding_reference",
           "geglu_reference",
           "gelu_reference", "layer_norm_reference", "linear_reference", "linear_activation_reference",
           "linear_cross_entropy_reference", "relu_squared_reference", "rms_norm_reference", "rope_reference",
           "silu_reference",
           "swiglu_reference"]
# fmt: on
