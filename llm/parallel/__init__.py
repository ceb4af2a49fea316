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

Ranks are processes with memory of their own, on one machine or on many (mpiexec -n 4 python train.py ...):

9. communicators/         how they send arrays to each other
10. mesh.py               the ranks as a grid, with groups along three axes: data, tensor and pipeline
11. job.py, rank_job.py   what train.py needs to know of the other ranks: of none, and of some
    find_job.py           which of the two
    rank_checks.py        what several ranks cannot do
12. ending.py             if a rank fails, all end, and one sentence says why
13. data/                 each rank computes some rows of the batch
    zero/                 and has some of the gradients, and of the state of the optimizer
14. shards.py             which part of each parameter a rank of a tensor group holds; shapes.py: what there is to hold
    tensor/               each layer split over ranks
15. pipeline/             the layers divided among ranks: stages, schedules, timelines
    model_part.py         what a rank has, split in one or in both ways; checkpoints, whole and of a rank
16. context/              long texts split over ranks
17. plan/                 memory, messages and time of a split, and the search for the fastest
"""
