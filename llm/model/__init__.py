"""The model: from token ids to the logits of the next token. Read in this order:

1. textbook.py     the whole forward pass on one page of plain NumPy; python -m llm.model.textbook RUN "prompt"
2. config.py       what a GPT is made of: sizes and choices, and the letters for sizes (B, T, C ...)
3. gpt.py          the model: embedding, blocks, head, loss, initial weights; Block, one layer of it
4. attention.py    each token collects information from the tokens before it
5. mlp.py          the feed-forward network, applied to each token separately
6. positions.py    where each token stands in its text, and how the model learns of it
7. masks.py        which tokens each token may attend to
8. kv_cache.py     keys and values of the tokens read so far, for writing token by token
9. cost.py         parameters, FLOPs and bytes of a configuration
10. presets.py     configurations by name
"""
