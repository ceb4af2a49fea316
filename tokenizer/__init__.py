"""Text to ids and back, from scratch.

    >>> from tokenizer import Tokenizer, END_OF_TEXT
    >>> tokenizer = Tokenizer.train(["low lower lowest"], vocab_size=260, special_tokens=[END_OF_TEXT])
    >>> tokenizer.decode(tokenizer.encode("slow"))
    'slow'

To understand all of it, read:

1. base.py           what a tokenizer is: tokens, encode, decode
2. char.py           the simplest one: a character is a token
3. tokenizer.py      the real one: bytes, joined pair by pair
4. pretokenize.py    text -> words, within which pairs are joined
5. bpe.py            words -> ids: the textbook, then a faster rung, and where the fastest is
6. train.py          where the merges come from: the textbook, then the incremental way (word_counts.py, pair_index.py)
7. special.py        end of text and the like; postprocess.py puts them around a text
8. stream.py         decoding while the ids still arrive
9. files.py          which file is what, and formats/, how each is read; byte_level.py: how JSON spells bytes

The fast way of long texts, which gives the same ids: fast.py leads to vectorised.py, where its steps are listed;
bulk.py and parallel.py are for files and many texts, steady.py and unicode_classes.py say what a letter is, ascii.py is
for texts that need none of that. Its tables: word_table.py, token_table.py, number_table.py.

Beyond that, what the tokenizers of some models need: sentencepiece.py (Llama 2; character_bpe.py is its inside),
wordpiece.py (BERT), normalize.py and prefix.py (changing text before), aligned.py (offsets all the same), splits.py
(several patterns), ranks.py and rank_pairs.py (vocabularies without merges, as OpenAI has them), chat.py (chat
templates), names.py (other libraries' names). `python -m tokenizer` is in cli/.
"""

from tokenizer.formats.records import FormatError
from tokenizer.models.base import BaseTokenizer, UnknownToken
from tokenizer.models.byte_bpe import Tokenizer
from tokenizer.models.char import CharTokenizer
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
