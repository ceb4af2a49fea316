"""Tables and arrays that work on many words or ids at once.

Read in this order:

    ragged.py          rows of different lengths in one array
    growable_array.py  an array of ids that grows at its end
    token_bytes.py     ids -> bytes
    tally.py           sums by key
    number_table.py    a hash table: integers -> integers
    word_table.py      a hash table: short words -> numbers
    word_ids.py        words -> ids, for a vocabulary that does not change
    collector.py       a pause of Python's garbage collector
    string_table.py    a hash table: the hashes of tokens -> the tokens
"""
