"""Context parallelism: each rank has all weights and some of the tokens of a long text. To read in order:

1. ring.py     attention of the queries of a rank with the keys of all ranks, which travel from rank to rank
2. gpt.py      the model

Liu et al. 2023 (Ring Attention, arXiv 2310.01889).
"""
