"""Layers with parameters: what `torch.nn` calls by the same names. Functions without parameters are in
`minigrad.fused` and `minigrad.ops`."""

from minigrad.nn.containers import ModuleList, Sequential
from minigrad.nn.layers import Dropout, Embedding, LayerNorm, Linear, RMSNorm
from minigrad.nn.module import Module, Parameter, current_path

# fmt: off
__all__ = ["Dropout", "Embedding", "LayerNorm", "Linear", "Module", "ModuleList", "Parameter", "RMSNorm",
           "Sequential", "current_path"]
# fmt: on
