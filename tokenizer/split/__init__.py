"""Text to words, the first step of byte-pair encoding: merges never go across the border of a word.

Read in this order:

    pretokenizer.py      the definition: a regular expression matches the words
    custom_pattern.py    regular expressions of others: what is refused, and time limits
    unicode.py           which characters are letters, numbers and so on, in one pinned version of Unicode
    unicode_table.py     the table of that version (generated)

The same words for a whole text at once, without a regular expression:

    text_arrays.py       a text as arrays: the class of each character
    boundaries.py        where words begin, from the classes of neighbouring characters
    boundaries_o200k.py  the same for the pattern of GPT-4o, which also looks at case
    scanner.py           texts -> the positions of their words
    chunks.py            cutting long texts without changing their words, and grouping short texts
"""
