"""CUDA kernels, and the functions that launch them on CuPy arrays.

On a GPU, an operation takes longer to launch than to compute unless its arrays are large, and a fused function written
with CuPy's operations is ten to thirty of them. The kernels do the same in one or two.

Read in this order:

1. compiler.py     compiles kernels.cu when a kernel is first used, and launches kernels
2. kernels.cu      the kernels themselves, in CUDA C++
3. rows.py         launches kernels with a block of threads for each row: norms, softmax, the loss of logits
   elements.py     launches kernels whose threads together go through all elements: activations, rotary positions
   update.py       launches kernels for flat arrays of all parameters: AdamW, the norm of the gradient, clipping
4. products.py     products of matrices, with bias and gelu: by CuPy, or by cublaslt.py, which calls NVIDIA's cublasLt
5. flash.py        launches flash.cu: attention of half types, forward and backward, by tensor cores (tensor_cores.cu)
   half_types.cu   reads and writes numbers of 16 bits, for kernels.cu and flash.cu
6. graph.py        all launches of a function recorded once, and started again as one

This folder knows nothing of tensors and gradients: minigrad/fused and minigrad/optim call it with arrays. The kernels
are for float32 and float64; those of norms, activations, rotary positions and the loss also for float16 and bfloat16,
and compute in float32. All else takes the same path as on the CPU, array operations, and the tests compare the two.
"""
