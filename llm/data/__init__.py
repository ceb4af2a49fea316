"""Text in, batches of token ids out.

    corpus = open_corpus("python-docs")                       # documents; a name, file, folder, glob or "-"
    dataset = prepare(corpus, tokenizer, val_fraction=0.1)    # tokenized once, memory-mapped, split
    batches = Batches(dataset.train, batch_size=12, context=64, seed=1)
    inputs, targets = batches.batch(step)                     # (12, 64) int64 each

To read in order: corpus.py, builtin.py, corpora.py (where text comes from), split.py, shards.py, dataset.py (how it
becomes tokens on disk), permutation.py, batches.py (how these become batches), cache.py, errors.py.
"""

from __future__ import annotations

from llm.data.batches import Batches, evaluation_batches
from llm.data.builtin import BUILT_IN
from llm.data.corpora import open_corpus
from llm.data.corpus import Corpus
from llm.data.dataset import Dataset, prepare
from llm.data.errors import DataError
from llm.data.shards import TokenShards

__all__ = [
    "BUILT_IN",
    "Batches",
    "Corpus",
    "DataError",
    "Dataset",
    "TokenShards",
    "evaluation_batches",
    "open_corpus",
    "prepare",
]
