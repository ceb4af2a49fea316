"""Kernels of our own for the GPU (kernels.cu), and the functions that start them: rows.py, elements.py, attention.py.

On the GPU an operation takes longer to start than to do unless its arrays are large, and a fused function in CuPy's
operations is ten to thirty of them. The kernels do each in one or two. They take float32 and float64; for other dtypes,
and as their plain twins, the fused functions keep the way in operations, the one that runs on the CPU.
"""
