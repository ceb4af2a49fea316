"""How good a model is. loss.py: the mean loss over validation batches, perplexity, bits per byte."""
