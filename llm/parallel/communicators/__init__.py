"""Messages between ranks. A rank is one of the processes, or threads, that compute a step together.

1. communicator.py    what a group of ranks can do, and how sums get the same bits every time
2. alone.py           a group of one rank
3. threads.py         ranks that are threads of this process, to try and to test all that is split
4. mpi.py             ranks that are processes, on one machine or on many: mpiexec -n 4 python train.py
5. nccl.py            ranks that have a GPU each; not yet used by train.py
"""
