"""The primitives: each op computes its value and states its gradient rule, in primitives."""
from minigrad.ops.elementwise import (
    abs, add, astype, clip, cos, div, equal, erf, exp, expm1, greater, greater_equal, isfinite, isnan, less, less_equal, log, log1p,
    maximum, minimum, mul, neg, not_equal, pow, relu, rsqrt, sigmoid, sin, sqrt, stop_gradient, sub, tanh, where,
)
from minigrad.ops.indexing import getitem, scatter, take, take_along_axis
from minigrad.ops.matmul import einsum, matmul
from minigrad.ops.reduction import (
    argmax, argmin, cumsum, log_softmax, logsumexp, max, mean, min, prod, softmax, std, sum, var,
)
from minigrad.ops.shape import (
    broadcast_to, concatenate, expand_dims, flip, pad, reshape, roll, split, squeeze, stack, swapaxes, transpose, tril, triu,
)

__all__ = [
    "abs", "add", "argmax", "argmin", "astype", "broadcast_to", "clip", "concatenate", "cos", "cumsum", "div", "einsum", "equal", "erf",
    "exp", "expand_dims", "expm1", "flip", "getitem", "greater", "greater_equal", "isfinite", "isnan", "less", "less_equal", "log",
    "log1p", "log_softmax", "logsumexp", "matmul", "max", "maximum", "mean", "min", "minimum", "mul", "neg", "not_equal", "pad", "pow",
    "prod", "relu", "reshape", "roll", "rsqrt", "scatter", "sigmoid", "sin", "softmax", "split", "sqrt", "squeeze", "stack", "std",
    "stop_gradient", "sub", "sum", "swapaxes", "take", "take_along_axis", "tanh", "transpose", "tril", "triu", "var", "where",
]
