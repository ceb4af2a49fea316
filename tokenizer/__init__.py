"""Text to ids and back, from scratch.

    >>> from tokenizer import Tokenizer, END_OF_TEXT
    >>> tokenizer = Tokenizer.train(["low lower lowest"], vocab_size=260, special_tokens=[END_OF_TEXT])
    >>> tokenizer.decode(tokenizer.encode("slow"))
    'slow'

Begin with one page: bpe/textbook.py learns merges, encodes and decodes. Then read how encoding becomes fast, in five
levels. Each level gives the same ids as the one before it, and adds one idea.

    1  bpe/textbook.py         the definition
    2  bpe/heap.py             a heap finds the next merge
    3  bpe/words.py            a cache of words
    4  bpe/batch.py            many words are merged at once
    5  fast/vector_encoder.py  whole texts, without a loop over words

The folders, from top to bottom. A folder imports only from folders below it. The `__init__.py` of each folder says in
which order to read its files.

    cli/       python -m tokenizer
    models/    the tokenizers: base.py has `encode` and `decode`, byte_bpe.py is `Tokenizer`, char.py the simplest one
    fast/      long texts and many texts to ids: level 5
    formats/   reading and writing the files of other libraries
    training/  learning merges: the same as in the textbook, in seconds
    bpe/       words to ids: levels 1 to 4
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

__version__ = "0.1.0"

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

load = BaseTokenizer.load  # tokenizer.load(path) reads a tokenizer of any kind
