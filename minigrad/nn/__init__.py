"""Modules: objects that hold parameters and compute with them. Names, arguments and layouts are those of `torch.nn`.

Read them in this order:

1. module.py        Parameter and Module: how attributes become named parameters, saving and loading, moving
2. layers.py        Linear, Embedding, LayerNorm, RMSNorm, Dropout
3. activations.py   ReLU, GELU and others as modules
4. containers.py    ModuleList and Sequential
5. running.py       which module is computing now, for error messages and the profiler
6. state.py         the check of a state before it is loaded; optimizers use it too
7. printing.py      what `print(model)` and `model.summary()` show

Functions without parameters, such as gelu, are in `minigrad.fused` and `minigrad.ops`.
"""

from minigrad.nn.activations import GELU, Identity, LogSoftmax, ReLU, Sigmoid, SiLU, Softmax, Softplus, Tanh
from minigrad.nn.containers import ModuleList, Sequential
from minigrad.nn.layers import Dropout, Embedding, LayerNorm, Linear, RMSNorm
from minigrad.nn.module import Module, Parameter
from minigrad.nn.running import current_path

# fmt: off
__all__ = ["Dropout", "Embedding", "GELU", "Identity", "LayerNorm", "Linear", "LogSoftmax", "Module", "ModuleList",
           "Parameter", "RMSNorm", "ReLU", "Sequential", "SiLU", "Sigmoid", "Softmax", "Softplus", "Tanh",
           "current_path"]
# fmt: on
