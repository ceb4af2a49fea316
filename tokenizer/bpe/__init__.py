"""Words to ids by byte-pair encoding, as a ladder: each level gives the same ids as the one before, faster.

    textbook.py      level 1: training, encoding and decoding on one page; the definition
    merge_table.py   which pairs are joined in which order, also for vocabularies that were made elsewhere
    heap.py          level 2: a heap finds the next merge, so that a long word costs n log n steps instead of n^2
    words.py         level 3: a cache of words, because a text repeats the same words again and again
    batch.py         level 4: many words at once, as the columns of a matrix
    long_words.py    a single very long word, many merges at a time
    many_words.py    chooses among levels 2 and 4 and long_words.py by the lengths of the words

Level 5, whole texts without a loop over words, is in fast/. Besides:

    rank_pairs.py    the merge table of a vocabulary that lists only tokens (OpenAI's), found with arrays
    characters.py    byte-pair encoding over characters, as in SentencePiece
"""
