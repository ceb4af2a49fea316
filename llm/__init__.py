"""A GPT: its model, data, training and generation.

    from llm.model.config import GPTConfig
    from llm.model.gpt import GPT
    from llm.model.presets import preset

To read in order: config.py, model.py, attention.py, mlp.py, positions.py, sight.py, cache.py, accounting.py,
presets.py; then data/, training/, inference/.
"""
