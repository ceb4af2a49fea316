"""Several workers compute the gradient of one batch together (data parallelism). To read in order:

1. objective.py           what they compute: an objective defines the loss of a batch
   metrics.py             what it reports beside the loss
2. workers.py             what threads and processes have in common, and how a batch is divided
3. threads.py             workers that are threads of this process
4. shared_gradients.py    how threads add up one gradient, with the same bits every time
5. processes.py           workers that are processes, for small models
6. selection.py           which of the two is faster for a model
7. runtime.py             the machine: cores and memory; settings of the process
8. blas.py                how many threads matrix products use
"""
