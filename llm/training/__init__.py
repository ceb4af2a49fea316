"""Training a GPT. Reading order: options.py, setup.py (text -> tokens and a model), step.py (one update), trainer.py (the loop), then
run.py (the folder it leaves), metrics.py (its numbers and picture) and dry_run.py.
"""
