"""Text to ids and back, from scratch.

    >>> from tokenizer import Tokenizer, END_OF_TEXT
    >>> tokenizer = Tokenizer.train(["low lower lowest"], vocab_size=260, special_tokens=[END_OF_TEXT])
    >>> tokenizer.decode(tokenizer.encode("slow"))
    'slow'

Begin with one page: bpe/textbook.py learns merges, encodes and decodes. Then climb the ladder: each level gives the
same ids as the one before, and is faster by one idea.

    bpe/textbook.py         the definition
    bpe/heap.py             a heap finds the next merge
    bpe/words.py            the ids of words are remembered
    bpe/batch.py            many words are merged at once
    fast/vector_encoder.py  whole texts, without a loop over words

The folders, each with a reading order in its `__init__.py`. A folder imports only from folders below it:

    cli/       python -m tokenizer
    models/    the tokenizers: base.py has `encode` and `decode`, byte_bpe.py is `Tokenizer`, char.py the simplest one
    fast/      level 5 of the ladder, many texts, processes
    formats/   reading and writing the files of other libraries
    training/  the merges of the textbook, learned in seconds
    bpe/       words to ids: the ladder
    text/      special tokens, normalization, chat templates, streams
    split/     text to words
    arrays/    tables and arrays that work on many words or ids at once
"""

from tokenizer.formats.records import FormatError
from tokenizer.models.base import BaseTokenizer
from tokenizer.models.byte_bpe import Tokenizer
from tokenizer.models.char import CharTokenizer
from tokenizer.models.model import UnknownToken
from tokenizer.models.sentencepiece import SentencePieceTokenizer
from tokenizer.models.wordpiece import WordPieceTokenizer
from tokenizer.text.special_tokens import END_OF_TEXT, PADDING, UNKNOWN, AddedToken
from tokenizer.text.stream import StreamDecoder

__all__ = [
    "END_OF_TEXT",
    "PADDING",
    "UNKNOWN",
    "AddedToken",
    "BaseTokenizer",
    "CharTokenizer",
    "FormatError",
    "SentencePieceTokenizer",
    "StreamDecoder",
    "Tokenizer",
    "UnknownToken",
    "WordPieceTokenizer",
    "load",
]

load = BaseTokenizer.load
