"""The model: from token ids to the logits of the next token. To read in order:

1. textbook.py       the whole forward pass on one page of plain NumPy; python -m llm.model.textbook RUN "prompt"
2. config.py         sizes and choices of a GPT, and the letters for sizes (B, T, C ...); checks.py: possible numbers
3. gpt.py            the model: embedding, layers, head, loss; initial.py: its initial weights
4. block.py          one layer of the model
5. attention.py      its first half: each token collects information from the tokens before it
6. mlp.py            its second half: the feed-forward network, applied to each token separately
7. experts.py        in place of it: a mixture of experts, of which each token uses a few
8. positions.py      the position of each token in its text, and the tables that give it to the model
9. layer_kinds.py    what differs between layers: windows and rotations; rope_scaling.py: rotations for long texts
10. masks.py         which tokens each token may attend to
11. kv_cache.py      keys and values of the tokens read so far, so that generation computes only the newest token
    cache_pool.py    the same for many texts of different lengths, which an engine continues together
12. cost/            parameters, FLOPs and bytes of a configuration; matrices.py: which of them Muon trains
13. presets.py       configurations by name
14. arrays.py        weights from a file
15. no_dropout.py    evaluation mode for a while; frozen.py: parts that are not trained
16. adapters/        LoRA, prefixes and prompts: a few new parameters beside frozen weights
17. classifier.py    the model with another head: classes of texts in place of next tokens
18. transformer.py   the model of 2017, an encoder and a decoder: it translates
"""
