"""Text in, batches of token ids out.

    corpus = open_corpus("python-docs")                       # documents; a name, file, folder, glob or "-"
    dataset = prepare(corpus, tokenizer, val_fraction=0.1)    # tokenized once, memory-mapped, split
    batches = Batches(dataset.train, batch_size=12, context=64, seed=1)
    inputs, targets = batches.batch(step)                     # (12, 64) int64 each

To read in order:

1. corpus.py         documents, read in chunks, so that a text may be larger than memory
2. text.py           bytes to text: what is text, and what is dropped
3. builtin.py        texts that have a name: python-docs, python-stdlib, shakespeare
4. corpora.py        what `--data` accepts: files, folders, patterns, a pipe, or one of these names
5. learned.py        a tokenizer learned from a corpus, once
6. split.py          which text is held out for validation
7. shards.py         tokens on disk
8. dataset.py        text to tokens on disk, made once and found again in the cache
9. permutation.py    a random order that takes no memory
10. batches.py       tokens to batches
11. cache.py         the cache folder: what is in it, and what is deleted when it becomes large
12. errors.py        DataError, whose message is printed without a traceback
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
