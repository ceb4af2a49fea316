"""The primitives: each computes its value and states its gradient rule, in primitives. Every public one is reachable
from here.
"""

# ruff: noqa: F403
from minigrad.ops import elementwise, indexing, reduction, shape
from minigrad.ops import matmul as products
from minigrad.ops.elementwise import *
from minigrad.ops.indexing import *
from minigrad.ops.matmul import *
from minigrad.ops.reduction import *
from minigrad.ops.shape import *

__all__ = [*elementwise.__all__, *shape.__all__, *reduction.__all__, *indexing.__all__, *products.__all__]
