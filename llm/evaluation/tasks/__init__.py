"""Tasks with right answers: how many does a model solve? To read in order:

1. template.py      texts with fields of a row in them
2. description.py   what a task is, as data
3. known.py         HellaSwag, LAMBADA, GSM8K, BLiMP, ARC and others
4. items.py         rows of a file become questions, with examples before them (few-shot)
5. outcomes.py      what a model makes of an item
6. predictors.py    models as what can solve tasks
7. measures.py      whether an outcome is right
8. results.py       shares, means and their errors, over all items
9. comparison.py    two models on the same items
10. show.py         items that were lost and won
11. progress.py     work that was killed goes on
"""
