"""A filter that is learned from examples: texts to keep, and texts to drop.

1. features.py    a text as a set of numbers: its hashed n-grams
2. training.py    logistic regression on them
3. learned.py     the filter: a rule, and the file that keeps it
4. curve.py       the ROC curve, the area below it, and the choice of a threshold
5. examples.py    which texts are learned from, and which are kept to judge the filter
6. picture.py     the curve and the scores as a picture
"""
