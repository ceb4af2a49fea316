"""A tensor autograd engine on NumPy (CPU) and CuPy (GPU).

    >>> import minigrad as mg
    >>> x = mg.Tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    Tensor([2., 4.], shape=(2,), dtype=float32)

To understand all of it, read:

1. tensor.py      the tensor, the graph, backward; backend.py: whose array it is
2. ops/           primitives, each value beside its gradient rule; methods.py: how `x + y` finds them
3. autograd.py    gradients as functions; gradcheck/: how we know that they are right
4. fused/         the hot functions, each beside its definition in primitives
5. nn/, optim/    modules, optimizers, schedules
6. random.py, checkpoint.py, debug.py, draw.py, profiler/
"""

from minigrad import fused, methods, nn, ops, optim
from minigrad.autograd import grad, hvp, jvp, vjp
from minigrad.checkpoint import checkpoint
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

# fmt: off
__all__ = ["Tensor", "checkpoint", "debug_arrays", "detect_anomaly", "draw", "grad", "gradcheck", "hvp", "jvp",
           "no_grad", "profile",
           "rope_tables", "seed", "vjp", "fused", "methods", "nn", "ops", "optim", *ops.__all__, *_fused.__all__]
# fmt: on
