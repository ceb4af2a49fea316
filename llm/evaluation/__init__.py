"""How well a model predicts. To read in order:

1. loss.py    the mean loss over validation batches, perplexity, bits per byte
2. text.py    the same for a text
3. likelihood.py    how likely one text is after another
4. experts.py    how evenly a mixture of experts uses them
"""
