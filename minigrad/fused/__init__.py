"""The hot functions of a language model, each computed in a few passes over memory, with a gradient derived by hand.

"Fused" means that one function does the work of several operations. Every one stands beside its definition,
`..._reference`, composed of the primitives of minigrad/ops. The definition comes first in each file. The tests compare
the two, and for second derivatives the engine differentiates the definition.

Read in this order:

1. record.py                 how a fused function enters the graph
2. linear.py                 x Wᵀ + b, the shortest of all
3. rows.py                   helpers on arrays: sums of rows, blocks that fit into the cache
   norm.py                   LayerNorm and RMSNorm: the gradient of a row that is divided by its root mean square
4. curves.py                 gelu, silu, relu and relu²: values and slopes on plain arrays; the soft cap
   activation.py             the same as functions of tensors, and the gated ones: swiglu, geglu and reglu
   linear_activation.py      a linear map and its activation in one
   low_rank.py               a linear map with low-rank updates of its weight (LoRA)
5. embedding.py, rope.py     vectors looked up by id; rotary positions
6. dropout.py                masks that are a function of a key
7. loss_options.py           what both losses share: options, targets, the sum or mean over rows
   cross_entropy.py          the loss of logits
   linear_cross_entropy.py   the head of a model and its loss, without ever holding all logits
   head_chunks.py            its chunks of rows: logits, losses and gradients
8. attention.py              attention: its definition on one page, and the function that models call
   attention_scores.py       the scores of a block of queries and keys, and which pairs are hidden
   attention_blocks.py       the forward and the backward pass, block after block, on the CPU
   ragged_attention.py       of texts of different lengths, for reading new tokens of many texts together
   attention_gpu.py          both passes in one block, with the kernels of minigrad/cuda
   attention_flash.py        both passes in a kernel each, for half types on tensor cores
9. functions.py              all functions in one list, for `import minigrad`

`minigrad.linear` is the function, and `minigrad.fused.linear` is the file in which it is defined.

Some formulas are stated in several places, and each is needed. The formula of gelu, for instance, is in curves.py
(fast, on the CPU), in activation.py (the definition), in minigrad/cuda/kernels.cu (for the GPU), and in the tests
(written independently).
"""
