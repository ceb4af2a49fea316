"""How fast it is, beside other libraries, on the machine at hand; results: RESULTS.md.

    python -m benchmarks.train --config b --vs torch,compile        a training step
    python -m benchmarks.scaling --config a,b                       the step on 1, 2, ... threads; a model of 8 and 64 cores
    python -m benchmarks.learning                                   a preset of train.py, until it has learned something
    python -m benchmarks.decode                                     writing with a key-value cache
    python -m benchmarks.tokenizer                                  encoding, decoding, learning merges
    python -m benchmarks.overhead                                   small graphs: what the engine itself costs

Each library works in a process of its own (contestant.py), and they take turns (turns.py) so that a machine which is
busy, or hot, is so for all of them. They compute the same (task.py) and must get the same numbers, else nothing was
compared. What each does: peers/.
"""
