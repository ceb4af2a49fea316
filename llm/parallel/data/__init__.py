"""Data parallelism over ranks: each computes some rows of the same batch, and the gradients are added up.

1. ranks.py        workers of a rank: which rows are its own, and what the ranks tell each other
2. reduction.py    adding up the gradients, bucket by bucket, while the backward pass goes on
"""
