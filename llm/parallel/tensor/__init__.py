"""Tensor parallelism: each layer is split over ranks, so that each holds a part of every matrix. To read in order:

1. operators.py    what the ranks exchange inside of a layer, and why the gradients are right
2. group.py        the ranks of a model; what a layer begins and ends with
3. shared.py       parameters that several ranks hold, and of which each finds a part of the gradient
4. attention.py    some of the heads on each rank
5. mlp.py          some of the hidden units on each rank
   experts.py      some of the experts on each rank, or some of the hidden units of each
6. vocabulary.py   some rows of the embedding on each rank; the loss of a vocabulary of which each rank has a part
7. gpt.py          the model
8. weights.py      from whole weights to those of a rank, and back

Which rank has what is in the table of llm/parallel/shards.py. Shoeybi et al. 2019 (Megatron-LM, arXiv 1909.08053);
sequence parallelism: Korthikanti et al. 2022 (arXiv 2205.05198).
"""
