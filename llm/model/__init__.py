"""The model: from token ids to the logits of the next token. Read in this order:

1. config.py       what a GPT is made of: sizes and choices, and the letters for them (B, T, C ...)
2. gpt.py          the model: embedding, blocks, head, loss, initial weights
3. attention.py    each token reads from the tokens before it
4. mlp.py          the feed-forward network, applied to each token alone
5. positions.py    where each token stands; masks.py: which tokens it may attend to
6. kv_cache.py     keys and values of the tokens that were read before
7. cost.py         parameters, FLOPs and bytes, from the configuration alone; presets.py: configurations by name
"""
