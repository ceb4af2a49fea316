"""Work on one batch, shared by several workers: threads.py, processes.py. shared_gradients.py: how threads add up one
gradient; runtime.py: settings of the process (BLAS threads, memory).
"""
