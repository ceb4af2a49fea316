"""Programs that measure how fast the project is, beside other libraries, on this machine. Results: RESULTS.md.

    python -m benchmarks.train --config b --vs torch,compile    a training step
    python -m benchmarks.scaling --config a,b       the step on 1, 2, ... threads, and a model of 8 and 64 cores
    python -m benchmarks.learning                   a preset of train.py, until it has reached a validation loss
    python -m benchmarks.presets                    a preset beside other options: losses and seconds, seed by seed
    python -m benchmarks.default_text               which text of a Python installation teaches more
    python -m benchmarks.decode                     writing with a key-value cache, and reading a prompt
    python -m benchmarks.gpu                        on a GPU: steps, the update, products, writing, beside PyTorch
    python -m benchmarks.tokenizer                  encoding, decoding, learning merges
    python -m benchmarks.rules FILE ...             rules that judge raw text
    python -m benchmarks.overhead                   small graphs: what the engine itself costs
    python -m benchmarks.minhash                    near duplicates, beside datasketch and beside theory
    python -m benchmarks.lab --gigabytes 1          a large corpus through clean and dedup: seconds and memory

Each library is a competitor with a process of its own (competitor.py). The competitors take turns, so that other load
or heat slows all of them down alike (comparison.py). They get the same task (task.py) and must get the same numbers;
otherwise the programs refuse to compare them. peers/ has what each library does, machine.py the options that all
programs share, learning_plan.py what benchmarks.learning learns, scaling_model.py the model of more cores, and
tokenizer_*.py the parts of benchmarks.tokenizer.
"""
