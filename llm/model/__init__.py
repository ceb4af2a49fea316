"""The model: from token ids to the logits of the next token. To read in order:

1. textbook.py     the whole forward pass on one page of plain NumPy; python -m llm.model.textbook RUN "prompt"
2. config.py       what a GPT is made of: sizes and choices, and the letters for sizes (B, T, C ...)
3. gpt.py          the model: embedding, blocks, head, loss, initial weights. A block is one layer of the model
4. attention.py    first half of a block: each token collects information from the tokens before it
5. mlp.py          second half of a block: the feed-forward network, applied to each token separately
6. positions.py    the position of each token in its text, and the tables that give it to the model
7. masks.py        which tokens each token may attend to
8. kv_cache.py     keys and values of the tokens read so far, so that generation computes only the newest token
9. cost.py         parameters, FLOPs and bytes of a configuration
10. presets.py     configurations by name
11. arrays.py      weights from a file
12. no_dropout.py  evaluation mode for a while
"""
