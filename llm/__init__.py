"""A GPT: the model, its training, and the text that it writes.

To see the whole in an evening, read model/textbook.py (a GPT in plain NumPy), then training/simple.py (training on one
page). Then the folders, in this order. The `__init__` of each one lists its files, again in reading order.

    model/         from token ids to logits
    runs/          the folder that training leaves: options, checkpoints, metrics
    data/          from text to batches of token ids
    parallel/      several workers compute one gradient: threads or processes
    evaluation/    how well a model predicts text that it was not trained on
    training/      train.py; training/__init__.py follows one gradient through all files
    inference/     generate.py: the model writes text

A folder imports only from folders above it in this list. Training and inference do not import each other.
"""

__version__ = "0.1.0"
