"""Text to ids and back, from scratch.

    >>> from tokenizer import Tokenizer, END_OF_TEXT
    >>> tokenizer = Tokenizer.train(["low lower lowest"], vocab_size=260, special_tokens=[END_OF_TEXT])
    >>> tokenizer.decode(tokenizer.encode("slow"))
    'slow'

To understand all of it, read:

1. base.py         what a tokenizer is: tokens, encode, decode
2. char.py         the simplest one: a character is a token
3. tokenizer.py    the real one: bytes, joined pair by pair
4. pretokenize.py  text -> words, within which pairs are joined
5. bpe.py          words -> ids: the textbook, then two faster rungs
6. train.py        where the merges come from: the textbook, then the incremental way
7. special.py      end of text and the like
8. stream.py       decoding while the ids still arrive
9. formats.py      tokenizer.json, which other libraries read too (byte_level.py: how it spells bytes; files.py: safely)
"""

from os import PathLike

from . import files, formats
from .char import CharTokenizer
from .formats import FormatError
from .special import END_OF_TEXT, PADDING, UNKNOWN
from .stream import StreamDecoder
from .tokenizer import Tokenizer

__all__ = [
    "END_OF_TEXT",
    "PADDING",
    "UNKNOWN",
    "CharTokenizer",
    "FormatError",
    "StreamDecoder",
    "Tokenizer",
    "load",
]


def load(path: str | PathLike) -> Tokenizer | CharTokenizer:
    """The tokenizer in `path`, a tokenizer.json or a folder that holds one; its kind is what the file says. FormatError
    (a ValueError) if the file is damaged or asks for what is not supported, FileNotFoundError if there is none."""
    contents = files.read(path)
    return Tokenizer(*contents) if isinstance(contents, formats.BytePairContents) else CharTokenizer(*contents)
