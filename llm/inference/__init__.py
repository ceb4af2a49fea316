"""Writing text with a GPT. Reading order: sampling.py (logits -> a token), generate.py (tokens, one after the other),
text.py (text that is shown as it is written), load.py (the model of a run), command.py (the command line).
"""
