"""Tuning: from a model that continues text to one that answers. To read in order:

1. tasks.py         the objectives of train.py, a task each (llm/training/task.py says what a task is)
"""
