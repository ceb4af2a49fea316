"""Writing text with a GPT. To read in order:

sampling.py    from the logits of the next token to a token
generate.py    one token after the other
text.py        a prompt in, text out as it is written
load.py        the model and the tokenizer of a run
command.py     the command line of generate.py
"""
