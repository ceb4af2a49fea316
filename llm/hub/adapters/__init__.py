"""Adapters in files: the folders of PEFT, adapter_config.json and adapter_model.safetensors. To read in order:

1. matrices.py   the matrices of a model that can have an update, under their names in transformers
2. settings.py   what an adapter_config.json says, as a dataclass for each kind of adapter; what is refused
3. targets.py    which matrices the settings mean
4. attach.py     an adapter is attached to a model: with initial values, or with those of a file
5. files.py      reading and writing folders
6. experts.py    updates of all experts in one tensor, as newer files have them

The adapters themselves: llm/model/adapters.
"""
