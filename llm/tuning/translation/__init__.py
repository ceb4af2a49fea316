"""The objective translate: from a source text to a target text, with an encoder and a decoder. To read in order:

1. pairs.py    what is learned: files of two columns
2. dates.py    pairs that need no download: dates, as people write them and as ISO 8601
3. task.py     the loss, the batches, and how good the translations are

The model is llm/model/transformer.py. It is trained from the start, and translates in llm/inference/translation.py.
"""
