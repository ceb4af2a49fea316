"""The families of models that can be read and written: for each a table of config.json and a table of tensors.

Read family.py, then gpt2.py and llama.py, then what the others change. rope.py reads the rotary positions of all.
"""

from __future__ import annotations

from llm.hub.families.apertus import APERTUS
from llm.hub.families.family import Family
from llm.hub.families.gpt2 import GPT2
from llm.hub.families.llama import LLAMA

# In the order in which `save` tries them.
FAMILIES: dict[str, Family] = {family.model_type: family for family in (GPT2, LLAMA, APERTUS)}
