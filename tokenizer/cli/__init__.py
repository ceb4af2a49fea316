"""`python -m tokenizer`: training, encoding and looking at tokenizers from a terminal.

commands.py is where it begins: the options of all commands, and what becomes of errors. The commands themselves are in
learning.py (train), coding.py (encode, decode), looking.py (inspect, replay) and comparing.py (compare); they share
inputs.py (reading texts and tokenizers) and terminal.py (colours, progress).
"""
