"""What a model costs, computed from its configuration alone. To read in order:

1. counts.py      parameters
2. flops.py       floating-point operations (FLOPs) of a token
3. memory.py      bytes of a training step, and of a cache
4. printing.py    all of these as a table
"""

from __future__ import annotations

from llm.model.cost.counts import Parameters, Trained, parameters
from llm.model.cost.flops import forward_flops, training_flops
from llm.model.cost.memory import Memory, activation_bytes, block_numbers, cache_bytes, norm_numbers, training_memory
from llm.model.cost.printing import table

__all__ = [
    "Memory",
    "Parameters",
    "Trained",
    "activation_bytes",
    "block_numbers",
    "cache_bytes",
    "forward_flops",
    "norm_numbers",
    "parameters",
    "table",
    "training_flops",
    "training_memory",
]
