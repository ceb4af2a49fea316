"""Training a GPT. Reading order: options.py, setup.py (text -> tokens and a model), step.py, workers.py, gradients.py
and processes.py (one update), trainer.py (a model in training), loop.py (the whole of it), then run.py (the folder it
leaves), metrics.py (its numbers and picture), display.py (the bar), profiling.py, command.py and dry_run.py.
"""
