"""Documents that repeat others: exactly, in parts, or nearly. To read in order:

1. textbook.py      near duplicates in one page of sets and loops: MinHash and LSH
2. plan.py          the parameters, and how likely a pair is found with them
3. shingles.py      texts to hashes of runs of words, without a loop over words
4. minhash.py       hashes to signatures and keys of bands
5. union_find.py    pairs to clusters
6. stages.py        work on a corpus larger than memory, which goes on after a kill
7. chunks.py        the documents of a corpus in files
8. groups.py        which documents have equal keys
9. near.py          all of this for a corpus: the first document of each cluster
10. exact.py        lines and paragraphs that are repeated
11. overlap.py      runs of words that a test set and a training text have in common
"""
