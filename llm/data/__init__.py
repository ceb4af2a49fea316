"""Text in, batches of token ids out.

    corpus = open_corpus("python-help")                       # documents; a name, file, folder, glob or "-"
    dataset = prepare(corpus, tokenizer, val_fraction=0.1)    # tokenized once, memory-mapped, split
    batches = Batches(dataset.train, batch_size=12, context=64, seed=1)
    inputs, targets = batches.batch(step)                     # (12, 64) int64 each

To read in order:

1. corpus.py         texts, read in chunks, so that each may be larger than memory
2. text.py           bytes to text: what is text, and what is dropped
3. records.py        rows with fields: JSON lines, CSV, TSV
4. builtin.py        texts that have a name: python-help, python-docs, python-stdlib, shakespeare
                     stdlib.py: the files and docstrings of Python's standard library
5. corpora.py        what `--data` accepts: files, folders, patterns, a pipe, or one of these names
6. learned.py        a tokenizer learned from a corpus, once
7. split.py          which text is held out for validation
8. shards.py         tokens on disk
9. dataset.py        text to tokens on disk, made once and found again in the cache
10. permutation.py   a random order that takes no memory
11. batches.py       tokens to batches
12. cache.py         the cache folder: what is in it, and what is deleted when it becomes large
13. errors.py        DataError, whose message is printed without a traceback
14. documents.py     a document: a text with what is known about it
15. reading.py       documents from every form of text
16. names.py         which files a name stands for
17. streams.py       the bytes of a file, decompressed
18. rows.py          JSON lines and tables, row by row; parquet.py: Parquet; pages.py: HTML
19. problems.py      what in a file cannot be read as a document
20. lab/             `python -m llm.data`: raw text to training text
"""

from __future__ import annotations

from llm.data.batches import Batches, evaluation_batches
from llm.data.builtin import BUILT_IN
from llm.data.corpora import open_corpus
from llm.data.corpus import Corpus
from llm.data.dataset import Dataset, prepare
from llm.data.errors import DataError
from llm.data.learned import learn_tokenizer
from llm.data.shards import TokenShards

__all__ = [
    "BUILT_IN",
    "Batches",
    "Corpus",
    "DataError",
    "Dataset",
    "TokenShards",
    "evaluation_batches",
    "learn_tokenizer",
    "open_corpus",
    "prepare",
]
