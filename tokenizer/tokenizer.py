"""The byte-level byte-pair tokenizer: any text and any bytes, no unknown token. Radford et al. 2019, section 2.2.

`encode` is three steps, each in a file of its own: special tokens are split off (special.py), the text between them
is cut into words (pretokenize.py), and words become ids (bpe.py). The merges are learned in train.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from . import formats
from .base import BaseTokenizer
from .bpe import Pair, WordEncoder, merge_table
from .pretokenize import Pretokenizer
from .special import check_names
from .train import Progress, Vocabulary, count_words, learn_incremental


class Tokenizer(BaseTokenizer):
    """Byte-pair encoding over bytes. Usually made by `Tokenizer.train` or `Tokenizer.load`."""

    FILE = formats.BytePairContents

    def __init__(
        self, tokens: Sequence[bytes], merges: Iterable[Pair], special_tokens: Mapping[str, int], pattern: str = "gpt4"
    ):
        """`tokens[id]` must include every single byte; `merges` are pairs of ids, the first learned first."""
        super().__init__(tokens, special_tokens)
        self.merges = [(left, right) for left, right in merges]
        self._pretokenizer = Pretokenizer(pattern)
        specials = set(special_tokens.values())
        id_of_byte = {token: i for i, token in enumerate(self.tokens) if len(token) == 1 and i not in specials}
        byte_ids = [id_of_byte[bytes([byte])] for byte in range(256)]
        self._word_encoder = WordEncoder(byte_ids, merge_table(self.tokens, self.merges, specials))

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        vocab_size: int,
        special_tokens: Iterable[str] = (),
        pattern: str = "gpt4",
        progress: Progress | None = None,
    ) -> Tokenizer:
        """Learn a vocabulary of `vocab_size` ids, special tokens and the 256 bytes included; fewer if the texts have
        not enough pairs. `texts` is read once, so a generator over a corpus larger than memory will do; special tokens
        in it are ordinary text. `progress(stage, done, total)` is called as the work goes on."""
        names = check_names(special_tokens)
        vocabulary = Vocabulary(names, vocab_size)
        words = count_words(texts, Pretokenizer(pattern), progress)
        learn_incremental(words, vocabulary, progress)
        return cls(vocabulary.tokens, vocabulary.merges, {name: i for i, name in enumerate(names)}, pattern)

    @property
    def pattern(self) -> str:
        """How text is cut into words: "gpt2", "gpt4" or a regular expression."""
        return self._pretokenizer.pattern

    def _encode_ordinary(self, text: str) -> list[int]:
        return self._word_encoder.encode(self._pretokenizer.split(text))

    def _contents(self) -> formats.BytePairContents:
        return formats.BytePairContents(self.tokens, self.merges, self.special_tokens, self.pattern)

    def __repr__(self) -> str:
        return (
            f"Tokenizer(vocab_size={self.vocab_size}, merges={len(self.merges)}, pattern={self.pattern!r}, "
            f"special_tokens={list(self.special_tokens)})"
        )
