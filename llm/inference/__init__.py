"""Writing text with a GPT. To read in order:

1. sampling.py    from the logits of the next token to a token
2. generate.py    one token after the other
3. text.py        a prompt goes in, and text comes out, piece by piece while it is generated
4. command.py     the command line of generate.py; model_choice.py: with which model, and how that is best sampled
5. llama2c_sampling.py   another sampler: token for token that of llama2.c
6. constrain/    only tokens with which the text can still match a pattern, or a JSON schema
"""
