"""The byte-level byte-pair tokenizer: any text and any bytes, no unknown token. Radford et al. 2019, section 2.2.

`encode` is three steps, each in a file of its own: special tokens are split off (special.py), the text between them is
cut into words (pretokenize.py), and words become ids (bpe.py). Long texts take a faster way to the same ids (fast.py).
The merges are learned in train.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from tokenizer.bpe.ranks import merges_of_ranks
from tokenizer.bpe.textbook import Pair, RankTable, WordEncoder, merge_table
from tokenizer.formats.records import BytePairContents
from tokenizer.models.base import BaseTokenizer
from tokenizer.models.fast import FastEncoding
from tokenizer.split.pretokenizer import Pretokenizer
from tokenizer.split.splits import SplitSequence
from tokenizer.text.aligned import Aligned, Span
from tokenizer.text.byte_alphabet import spell
from tokenizer.text.normalize import Normalizer
from tokenizer.text.offsets import Trimming
from tokenizer.text.prefix import Prefix
from tokenizer.text.special_tokens import AddedToken, check_names
from tokenizer.text.template import Template
from tokenizer.training.learn import Progress, learn


class Tokenizer(FastEncoding, BaseTokenizer):
    """Byte-pair encoding over bytes. Usually made by `Tokenizer.train` or `Tokenizer.load`."""

    FILE = BytePairContents

    def __init__(
        self,
        tokens: Sequence[bytes | None],
        merges: Iterable[Pair] | None,
        special_tokens: Mapping[str, int] | Iterable[AddedToken],
        pattern: str | tuple[str, ...] = "gpt4",
        normalizer: Normalizer | None = None,
        prefix: Prefix | None = None,
        template: Template | None = None,
        ignore_merges: bool = False,
        trim_offsets: Trimming | None = None,
    ):
        """`tokens[id]` are the bytes of each token; bytes that are no token by themselves are left out of any text.
        `merges` are pairs of ids, the first learned first; None: any two tokens that make a third are joined, and its
        id is the rank (ranks.py). Several patterns: each cuts the words of the one before. With `ignore_merges` a word
        that is a token is that token, whatever its merges would make. `trim_offsets` is what is done to the spans of
        tokens that begin or end with a space.
        """
        super().__init__(tokens, special_tokens, normalizer, prefix, template)
        self.ignore_merges = ignore_merges
        self.trim_offsets = trim_offsets
        self._pretokenizer = Pretokenizer(pattern) if isinstance(pattern, str) else SplitSequence(pattern)
        self._names = {token.id: token.content for token in self.added_tokens}
        ordinary = ids_of(self.tokens, self._names)
        # An added token that is not special may also be a byte or what a merge makes.
        also = {self.tokens[token.id] or b"": token.id for token in self.added_tokens if not token.special}
        id_of = also | ordinary if also else ordinary
        self._word_encoder = WordEncoder(
            byte_ids=[id_of.get(bytes([byte]), -1) for byte in range(256)],
            table=RankTable(self.tokens, id_of) if merges is None else merge_table(self.tokens, merges, id_of),
            whole_words=ordinary if ignore_merges else None,
        )

    @cached_property
    def merges(self) -> list[Pair]:
        """The pairs of ids that are joined, the first to be joined first."""
        table = self._word_encoder.table
        if isinstance(table, RankTable):
            return merges_of_ranks(table.rank_of)
        return sorted(table, key=table.__getitem__)

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        vocab_size: int,
        special_tokens: Iterable[str] = (),
        pattern: str = "gpt4",
        progress: Progress | None = None,
        **options: Any,
    ) -> Tokenizer:
        """Learn a vocabulary of `vocab_size` ids, special tokens and the 256 bytes included; fewer if the texts have
        not enough pairs. `texts` is read once, so a generator over a corpus larger than memory will do; special tokens
        in it are ordinary text. `progress(stage, done, total)` is called as the work goes on. `options` are those of
        `train.learn`: min_frequency, max_token_length, initial_alphabet, ties, processes."""
        names = check_names(special_tokens)
        vocabulary = learn(texts, Pretokenizer(pattern), vocab_size, names, progress, **options)
        return cls(vocabulary.tokens, vocabulary.merges, {name: i for i, name in enumerate(names)}, pattern)

    @property
    def pattern(self) -> str | tuple[str, ...]:
        """How text is cut into words: the name of a pattern or a regular expression, or several one after the other."""
        return self._pretokenizer.pattern

    def encode_single_piece(self, piece: str | bytes) -> list[int]:
        """The ids of one word, whatever is in it: nothing is cut."""
        data = piece.encode() if isinstance(piece, str) else piece
        return list(self._word_encoder.encode_word(data)) if data else []

    def encode_broken_off(self, data: bytes) -> list[int]:
        """The ids of bytes that end within a character, such as the beginning of a text: the part that is no
        character belongs to the word before it. This is `_encode_bytes` of tiktoken."""
        try:
            return self.encode_ordinary(data.decode())
        except UnicodeDecodeError as error:
            whole, rest = data[: error.start].decode(), data[error.start :]
        words = self._pretokenizer.split(whole)
        ids = self._word_encoder.encode(words)
        last = len(self._word_encoder[words[-1]]) if words else 0
        if last and self._is_blank(ids[-last]):  # white space could have been cut otherwise
            while last < len(ids) and self._is_blank(ids[-last - 1]):
                last += 1
        stable = ids[: len(ids) - last]
        return stable + self.encode_single_piece(self.decode_bytes(ids[len(ids) - last :]) + rest)

    def _is_blank(self, i: int) -> bool:
        return not (self.tokens[i] or b"").strip(b" \n\t")

    def _encode_aligned(self, text: Aligned) -> tuple[list[int], list[Span]]:
        ids = self._encode_ordinary(text.text)
        missing = self._word_encoder.missing
        character_of = [  # for each byte that has a token, the character that it belongs to
            i
            for i, character in enumerate(text.text)
            for _ in character.encode("utf-8", "surrogateescape").translate(None, missing)
        ]
        spans, done = [], 0
        for i in ids:
            end = done + len(self.tokens[i] or b"")
            spans.append(text.span(character_of[done], character_of[end - 1] + 1))
            done = end
        return ids, spans

    def _trim(self, ids: list[int], spans: list[Span], found: Mapping[int, str]) -> list[Span]:
        trim = self.trim_offsets
        if trim is None:
            return spans
        shown = [found[k] if k in found else spell(self.tokens[i] or b"") for k, i in enumerate(ids)]
        return [trim(token, span, k == 0) for k, (token, span) in enumerate(zip(shown, spans))]

    def _spelling(self, i: int) -> str:
        return self._names[i] if i in self._names else spell(self.tokens[i] or b"")

    def _contents(self) -> BytePairContents:
        return BytePairContents(
            self.tokens,
            self.merges,
            self.added_tokens,
            self.pattern,
            self.normalizer,
            self.prefix,
            self.template,
            self.ignore_merges,
            self.trim_offsets,
        )

    def __repr__(self) -> str:
        return (
            f"Tokenizer(vocab_size={self.vocab_size}, merges={len(self.merges)}, pattern={self.pattern!r}, "
            f"special_tokens={list(self.special_tokens)})"
        )


def ids_of(tokens: Sequence[bytes | None], but: Iterable[int]) -> dict[bytes, int]:
    """The ids of tokens, without those in `but`; of equal tokens, the last id."""
    kept: list[Any] = list(tokens)
    for i in but:
        kept[i] = None
    found = dict(zip(kept, range(len(kept))))  # half the time of asking for each
    found.pop(None, None)
    return found
