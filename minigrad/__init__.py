"""A tensor autograd engine on NumPy (CPU) and CuPy (GPU).

    >>> import minigrad as mg
    >>> x = mg.Tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    Tensor([2., 4.], shape=(2,), dtype=float32)

Read the files in this order:

    tensor.py       the tensor: an array that remembers how it was computed
    graph.py        the graph: the operations that made a result, each with its inputs and its gradient rule
    backward.py     the backward pass: gradients go from a result back to the leaves
    lazy.py         gradients that are computed only when it is known where to store them
    modes.py        settings of each thread: no_grad, and hooks that observe every operation
    backend.py      arrays of NumPy (CPU) and CuPy (GPU): devices and dtypes
    sums.py         sums of arrays with small rounding errors
    precision.py    mixed precision: matrix products in bfloat16 or float16, all else in float32
    ops/            the primitive operations: each function computes a value and states its gradient rule
    dispatch.py     NumPy's own functions on tensors: np.exp(x) is exp(x)
    methods.py      attaches operators and methods to the tensor: x + y, x.sum()
    autograd.py     derivatives as functions: grad, vjp, jvp, hvp
    gradcheck/      how we know that all gradients are right: finite differences

    creation.py     zeros, ones, full, tensor
    random.py       keys for random numbers that can be reproduced, for dropout
    fused/          the functions on which a language model spends its time, each beside its definition in primitives
    cuda/           GPU kernels for some of them
    nn/             modules: objects that hold parameters
    optim/          optimizers, gradient clipping, learning-rate schedules

    checkpoint.py   saving memory by computing again in the backward pass
    debug.py        finds where a NaN arose, and what wrote into an array that was still needed
    draw.py         a picture of a graph
    profiler/       where time and memory go
"""

# Importing `methods` attaches the operators to Tensor.
from minigrad import fused, methods, nn, ops, optim
from minigrad.autograd import grad, hvp, jvp, vjp
from minigrad.checkpoint import checkpoint
from minigrad.creation import full, ones, ones_like, zeros, zeros_like
from minigrad.debug import debug_arrays, detect_anomaly
from minigrad.draw import draw
from minigrad.fused import functions as _fused
from minigrad.fused.functions import *  # noqa: F403
from minigrad.fused.rope import rope_tables
from minigrad.gradcheck import gradcheck
from minigrad.modes import no_grad
from minigrad.ops import *  # noqa: F403
from minigrad.profiler import profile
from minigrad.random import seed
from minigrad.tensor import Tensor

__version__ = "0.1.0"

# fmt: off
__all__ = ["Tensor", "checkpoint", "debug_arrays", "detect_anomaly", "draw", "full", "grad", "gradcheck", "hvp", "jvp",
           "no_grad", "ones", "ones_like", "profile", "rope_tables", "seed", "vjp", "zeros", "zeros_like",
           "fused", "methods", "nn", "ops", "optim",
           *ops.__all__, *_fused.__all__]
# fmt: on
