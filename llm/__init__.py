"""A GPT: its model, data, training and generation.

    from llm.model.config import GPTConfig
    from llm.model.gpt import GPT
    from llm.model.presets import preset

Read the folders in this order; the `__init__.py` of each lists its files: model/ (the GPT), data/ (batches from texts),
training/ (with parallel/ for several cores and runs/ for the folder of a run), evaluation/, inference/ (writing text).
"""
