"""The families of models that can be read and written: for each a table of config.json and a table of tensors.

1. family.py                what a family is
2. gpt2.py, llama.py        the two that most others are like
3. like Llama               mistral.py, qwen.py, smollm3.py, phi3.py, apertus.py, olmo2.py, gemma.py, mixtral.py
4. like GPT-2               gpt_neox.py, gptj.py, phi.py, starcoder2.py, stablelm.py with rope;
                            opt.py, bloom.py, gpt_neo.py without
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
