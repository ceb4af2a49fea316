"""Examples of calls for every differentiable function: its arguments, over its domain, away from kinks and poles.

There is a file for each kind of operation in ops/, and one for the fused functions. Each file ends in a table:

    name: (the function, a function that makes an example of its arguments)

A function is called as `f(*inputs, **options)`: first the inputs whose gradients are checked, then all others by name.
Where a function has another order of arguments, a lambda in the table adapts it. The table of fused functions has only
such adapters, because the same adapter is applied to a fused function and to its reference.

Files: elementwise.py, reduction.py, shape.py, indexing.py, matmul.py, fused.py.
"""
