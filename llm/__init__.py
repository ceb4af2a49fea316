"""A GPT: its model, training and inference. The folders, from the bottom up; each one's `__init__` says what to read:

    model/         from token ids to logits
    data/          from text to batches of token ids
    parallel/      several workers compute one gradient: threads, processes
    runs/          the folder that training leaves: options, checkpoints, metrics
    evaluation/    how good a model is
    training/      train.py; its first page is simple.py
    inference/     generate.py: the model writes text

A folder imports only folders above it in this list. Training and inference do not import each other.
"""
