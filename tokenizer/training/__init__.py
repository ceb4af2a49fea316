"""Learning the merges of a vocabulary from texts, with the same result as bpe/textbook.py, in seconds.

Read in this order:

    learn.py         texts -> vocabulary: the steps, and the loop that chooses the pairs
    vocabulary.py    the tokens and merges learned so far
    word_counts.py   texts -> how often each word occurs, with arrays or several processes
    word_row.py      all words in one array, and the pairs in it
    pair_index.py    where each pair is and how often it occurs, updated by each merge
"""
