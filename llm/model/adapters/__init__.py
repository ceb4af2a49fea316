"""Adapters: a few new parameters that change what a model does, while its weights are frozen. To read in order:

1. attach.py     how an adapter is attached to a model in place, switched off, or used beside another one
2. lora.py       LoRA and DoRA: low-rank updates of weights
3. merge.py      adding these updates to the weights
4. virtual.py    learned tokens before each text: what the next two have in common
5. prefix.py     prefix tuning: their keys and values are learned
6. prompt.py     prompt tuning: their embeddings are learned

Files of adapters: llm/hub/adapters. For training: llm/tuning.
"""
