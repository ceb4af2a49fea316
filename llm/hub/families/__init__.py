"""The families of models that can be read and written: for each a table of config.json and a table of tensors.

1. family.py                what a family is; rows.py and tensor_names.py, the rows of its two tables
2. llama.py, gpt2.py        the two that most others are like
3. like Llama               the rows that differ: qwen.py, mistral.py, olmo2.py, apertus.py, phi3.py, smollm3.py,
                            gemma.py, mixtral.py; and with norms or an MLP of GPT-2: starcoder2.py, stablelm.py, phi.py
4. like GPT-2               gptj.py and gpt_neox.py with rope; opt.py, bloom.py, gpt_neo.py without
5. rope.py, windows.py      rotary positions, and which layers have a window, of all of them
"""

from __future__ import annotations

from llm.hub.families.apertus import APERTUS
from llm.hub.families.bloom import BLOOM
from llm.hub.families.family import Family
from llm.hub.families.gemma import GEMMA, GEMMA2, GEMMA3
from llm.hub.families.gpt2 import GPT2
from llm.hub.families.gpt_neo import GPT_NEO
from llm.hub.families.gpt_neox import GPT_NEOX
from llm.hub.families.gptj import GPTJ
from llm.hub.families.llama import LLAMA
from llm.hub.families.mistral import MISTRAL
from llm.hub.families.mixtral import MIXTRAL, QWEN3_MOE
from llm.hub.families.olmo2 import OLMO2
from llm.hub.families.opt import OPT
from llm.hub.families.phi import PHI
from llm.hub.families.phi3 import PHI3
from llm.hub.families.qwen import QWEN2, QWEN3
from llm.hub.families.smollm3 import SMOLLM3
from llm.hub.families.stablelm import STABLELM
from llm.hub.families.starcoder2 import STARCODER2

# fmt: off
_ALL = (
    GPT2, LLAMA, MISTRAL, QWEN2, QWEN3, SMOLLM3, APERTUS, OLMO2, PHI3, GEMMA, GEMMA2, GEMMA3, STARCODER2, GPT_NEOX,
    MIXTRAL, QWEN3_MOE, GPT_NEO, GPTJ, PHI, STABLELM, OPT, BLOOM,
)
# fmt: on

FAMILIES: dict[str, Family] = {family.model_type: family for family in _ALL}  # in the order in which `save` tries them
