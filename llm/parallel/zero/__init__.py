"""ZeRO: ranks that compute different rows of a batch divide what else each of them would hold in full.

Rajbhandari et al. 2020 (arXiv 1910.02054). Bytes of a rank, for P parameters of float32 on n ranks:

                        parameters    gradients    moments of AdamW
    --zero 0            4 P           4 P          8 P
    --zero 1            4 P           4 P          8 P / n       the owner of a shard updates it, and sends it to all
    --zero 2            4 P           4 P / n      8 P / n       a gradient is sent to its owner, and freed
    --zero 3            4 P / n       4 P / n      8 P / n       each block is gathered when it is needed

With --zero 3, what is not in a block stays whole: embedding, head and last norm. With --zero 2 and 3, the gradient of
the head is whole until it is sent: it comes first, and with a tied head it is complete last.

   norm.py         an optimizer of a rank that has a part of the model: the norm is that of the whole gradient
1. optimizer.py    one that updates a shard of the parameters
2. gradients.py    the sums of a shard of the gradients
3. parameters.py   the shards of the parameters, gathered a block at a time
4. matrices.py     Muon for matrices that tensor ranks divide
5. kinds.py        which of these belong together
"""
