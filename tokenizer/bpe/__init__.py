"""Words to ids by byte-pair encoding, in levels: each gives the same ids as the one before it, but faster.

Read in this order:

    textbook.py      level 1: training, encoding and decoding on one page
    merge_table.py   which pairs are merged in which order, for the vocabularies of any library
    heap.py          level 2: a heap finds the next merge, so that a word of n bytes costs n log n steps instead of n^2
    words.py         level 3: a cache of words, because a text repeats the same words again and again
    batch.py         level 4: many words at once, as the columns of a matrix
    long_words.py    a single very long word, many merges at a time
    many_words.py    chooses between level 2, level 4 and long_words.py, by the length of each word

Level 5, whole texts without a loop over words, is in fast/. Also here:

    rank_pairs.py    the pairs of a vocabulary that lists only tokens, as OpenAI's files do
    characters.py    byte-pair encoding over characters instead of bytes, as in SentencePiece
"""
