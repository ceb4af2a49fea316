"""The primitive operations: each function computes a value and states its gradient rule.

Read them in this order:

1. elementwise.py      arithmetic, powers, exp, log, tanh, ...; explains how a rule is written
2. selection.py        maximum, minimum, where, clip, and comparisons
3. shape.py            reshape, transpose, concatenate, split, pad, ...
4. reduction.py        sums, means and variances along axes
5. extremes.py         max, min, argmax, argmin
6. cumulative.py       running sums and products
7. probabilities.py    softmax, log_softmax, logsumexp
8. indexing.py         x[index], and its gradient
9. linear_algebra.py   matmul and einsum
   subscripts.py       the letters of einsum
10. special.py         erf and sigmoid of arrays, by formulas from the literature
11. arguments.py       axes, shapes and other whole numbers, in all forms that NumPy takes

Rules are written with these operations as well. So gradients can be differentiated again, any number of times.
"""

# ruff: noqa: F403
from minigrad.ops import (
    cumulative,
    elementwise,
    extremes,
    indexing,
    linear_algebra,
    probabilities,
    reduction,
    selection,
    shape,
)
from minigrad.ops.cumulative import *
from minigrad.ops.elementwise import *
from minigrad.ops.extremes import *
from minigrad.ops.indexing import *
from minigrad.ops.linear_algebra import *
from minigrad.ops.probabilities import *
from minigrad.ops.reduction import *
from minigrad.ops.selection import *
from minigrad.ops.shape import *

# fmt: off
__all__ = [*elementwise.__all__, *selection.__all__, *shape.__all__, *reduction.__all__, *extremes.__all__,
           *cumulative.__all__, *probabilities.__all__, *indexing.__all__, *linear_algebra.__all__]
# fmt: on
