"""`python -m tokenizer`: training, encoding and inspecting tokenizers from a terminal.

Read in this order:

    commands.py      the options of all commands, and how errors are reported
    train.py         train
    encode.py        encode and decode
    inspect.py       inspect
    replay.py        replay: the merges of a word, one by one
    compare.py       compare
    inputs.py        reading texts and tokenizers
    terminal.py      colours, progress, safe output
"""
