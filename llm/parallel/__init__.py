"""Several workers compute the gradient of one batch together. To read in order:

objective.py            what they compute: the loss of a batch, which an objective defines
workers.py              what all kinds of workers can do, and how a batch is split
threads.py              workers that are threads of this process
shared_gradients.py     how threads add up one gradient, the same bits every time
processes.py            workers that are processes of their own, for small models
selection.py            which kind is faster for a model
runtime.py              settings of the process: cores, BLAS threads, memory
"""
