"""Classification: texts and their classes. The model is llm/model/classifier.py.

1. task.py     the task of train.py --objective classify
2. report.py   how good a classifier is: confusion, calibration
"""
