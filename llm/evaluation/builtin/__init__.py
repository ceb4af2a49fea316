"""Tasks that need no download: a program makes the items, and knows the answers. To read in order:

1. groups.py     items whose choices cannot be guessed without the question
2. words.py      the words that they are made of
3. copying.py    copying, induction: what was said comes again
4. grammar.py    brackets, agreement: which text is well formed?
5. questions.py  arithmetic, spelling
6. suite.py      all of them by name
7. ngrams.py     models of one, two and three tokens, to compare with
8. baselines.py  their scores, and chance, beside that of a model
"""
