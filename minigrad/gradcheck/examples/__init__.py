"""Examples of calls for every differentiable function: its arguments, over its domain, away from kinks and poles.

There is a file for each file of ops/, and one for the fused functions. Each ends in a table of them:

    name: (the function, what makes an example)

A function is called `f(*inputs, **options)`: first the inputs that it is differentiated with respect to, then all
others by name. A lambda in the table adapts a function whose arguments come in another order. For a fused function the
table has the adapter alone, which serves its reference, too.

Files: elementwise.py, reduction.py, shape.py, indexing.py, matmul.py, fused.py.
"""
