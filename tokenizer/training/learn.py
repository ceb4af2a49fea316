"""Learning the merges: count the words of a corpus, then join the most frequent pair of neighbours, again and again.

Two ways to the same merges:

1. `learn_textbook` counts all pairs anew for each merge. The definition; minutes for a megabyte.
2. `learn_incremental` counts once. A merge changes only the pairs around the places where it happens, and every
   place loses a token, so all merges together touch no more places than the distinct words have bytes. How the pairs
   are followed is in pair_index.py; how words are counted, in word_counts.py.

The pair with the highest count wins; among equals the one with the smallest (left id, right id). Ids are given to the
special tokens first, then to the bytes, then to the merges as they are learned. It is the order of the bytes in which
trainers differ: see `ALPHABETS`. The merges are the same as those of Hugging Face's BpeTrainer, or of rustbpe.
Sources: Sennrich et al. 2016, arXiv:1508.07909; `BpeTrainer` of github.com/huggingface/tokenizers;
github.com/karpathy/rustbpe.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush

from tokenizer.bpe.textbook import Pair
from tokenizer.text.byte_alphabet import ALPHABET, unspell
from tokenizer.text.special_tokens import check_names
from tokenizer.training.pair_index import PairIndex, WordRow
from tokenizer.training.word_counts import Progress, Splitter, count_words

LEARNING = "learning merges"

ALL_BYTES = bytes(range(256))
ALPHABETS = {  # the 256 bytes in the order of their ids, which decides between equally frequent pairs
    "huggingface": ALPHABET,
    "rustbpe": [bytes([byte]) for byte in ALL_BYTES],
}

STEP = 100  # pairs this much rarer than the most frequent one are left for later


class Vocabulary:
    """The tokens and merges learned so far, and which merges may be."""

    def __init__(
        self,
        special_tokens: Sequence[str],
        size: int,
        alphabet: Sequence[bytes] = ALPHABET,
        min_frequency: int = 1,
        max_token_length: int | None = None,
    ):
        """`alphabet`: the single bytes that are tokens, in the order of their ids. For the others see `learn`."""
        smallest = len(special_tokens) + len(alphabet)
        if size < smallest:
            raise ValueError(
                f"vocab_size={size} is too small: {len(alphabet)} bytes and {len(special_tokens)} special tokens "
                f"need {smallest}"
            )
        if max_token_length is not None and max_token_length < 2:
            raise ValueError(f"max_token_length={max_token_length} is too small: a merge joins two bytes at least")
        self.size = size
        self.min_frequency = max(1, min_frequency)
        self.max_token_length = sys.maxsize if max_token_length is None else max_token_length
        self.tokens = [name.encode() for name in special_tokens] + list(alphabet)
        self.merges: list[Pair] = []
        self.counts: list[int] = []  # how often each merge's pair occurred when it was chosen
        id_of = {byte[0]: len(special_tokens) + i for i, byte in enumerate(alphabet)}
        self.byte_ids = [id_of.get(byte, -1) for byte in ALL_BYTES]
        # In a tokenizer.json a token and a special token of the same spelling would be one and the same.
        self.reserved = {unspell(name) for name in special_tokens}
        for name in special_tokens:
            if unspell(name) in alphabet:
                raise ValueError(f"the special token {name!r} is the spelling of a single byte: give it a longer name")

    @property
    def is_full(self) -> bool:
        return len(self.tokens) >= self.size

    def allows(self, pair: Pair) -> bool:
        """False where joining `pair` would spell a special token or make too long a token."""
        token = self.tokens[pair[0]] + self.tokens[pair[1]]
        return token not in self.reserved and (len(token) < self.max_token_length or len(token) == 2)

    def join(self, pair: Pair, count: int) -> int:
        """Learn a merge and return the id of the new token.

        It is new indeed: no two merges give the same bytes. Where those bytes stand with an edge on both sides, they
        have always had it, so that all such places have gone through the same merges in the same order."""
        self.tokens.append(self.tokens[pair[0]] + self.tokens[pair[1]])
        self.merges.append(pair)
        self.counts.append(count)
        return len(self.tokens) - 1


def learn(
    texts: Iterable[str],
    pretokenizer: Splitter,
    vocab_size: int,
    special_tokens: Iterable[str] = (),
    progress: Progress | None = None,
    *,
    min_frequency: int = 1,
    max_token_length: int | None = None,
    initial_alphabet: bytes = ALL_BYTES,
    ties: str = "huggingface",
    processes: int = 1,
) -> Vocabulary:
    """The vocabulary of `texts`, which are read once. It may have fewer than `vocab_size` tokens if the texts have not
    enough pairs; special tokens in them are ordinary text. `progress(stage, done, total)` is called as work goes on.

    - `min_frequency`: rarer pairs are not joined.
    - `max_token_length`: tokens are shorter than so many bytes, those of two bytes excepted (as Hugging Face reads it).
    - `initial_alphabet`: bytes that are tokens even if the texts do not have them. What has no token cannot be encoded.
    - `ties`: "huggingface" or "rustbpe", whose order decides between equally frequent pairs.
    - `processes`: how many count words; the result never depends on it. More than one pay for patterns of your own."""
    if ties not in ALPHABETS:
        raise ValueError(f"ties={ties!r} is unknown: choose {' or '.join(map(repr, ALPHABETS))}")
    if processes < 1:
        raise ValueError(f"processes={processes} is too few: give 1 or more")
    names = check_names(special_tokens)

    def start(alphabet: set[int]) -> Vocabulary:
        ordered = [byte for byte in ALPHABETS[ties] if byte[0] in alphabet]
        return Vocabulary(names, vocab_size, ordered, min_frequency, max_token_length)

    start(set(initial_alphabet))  # what is wrong shows before the long work
    words = count_words(texts, pretokenizer, progress, processes)
    vocabulary = start(set(initial_alphabet).union(*words))
    learn_incremental(words, vocabulary, progress)
    return vocabulary


def learn_textbook(words: Mapping[bytes, int], vocabulary: Vocabulary, progress: Progress | None = None) -> None:
    """Fill `vocabulary` with the merges of `words`, a count for each word. Ends early if no pair is left to join."""
    corpus = [([vocabulary.byte_ids[byte] for byte in word], count) for word, count in words.items()]
    while not vocabulary.is_full:
        counts: Counter[Pair] = Counter()
        for ids, count in corpus:
            for pair in zip(ids, ids[1:]):
                counts[pair] += count
        candidates = filter(vocabulary.allows, counts)
        best = min(candidates, key=lambda pair: (-counts[pair], pair), default=None)
        if best is None or counts[best] < vocabulary.min_frequency:
            break
        joined = vocabulary.join(best, counts[best])
        corpus = [(replace(ids, best, joined), count) for ids, count in corpus]
        report(vocabulary, progress)


def replace(ids: list[int], pair: Pair, joined: int) -> list[int]:
    """`ids` with every `pair` joined, from left to right: aaa becomes (aa)a."""
    result = []
    i = 0
    while i < len(ids):
        if tuple(ids[i : i + 2]) == pair:
            result.append(joined)
            i += 2
        else:
            result.append(ids[i])
            i += 1
    return result


def learn_incremental(words: Mapping[bytes, int], vocabulary: Vocabulary, progress: Progress | None = None) -> None:
    """The same merges as `learn_textbook`. First of all pairs that are frequent, then, with what they have left of the
    words, of those that are less so."""
    row = WordRow(words, vocabulary.byte_ids)
    floor = sys.maxsize  # rarer pairs have not been looked at
    while floor > vocabulary.min_frequency and not vocabulary.is_full:
        pairs = row.pairs()
        highest = int(pairs.counts.max(initial=0))
        floor = max(vocabulary.min_frequency, min(highest, floor) // STEP)
        join_frequent(PairIndex(row, pairs, floor), vocabulary, progress)
        row.close_up()


def join_frequent(index: PairIndex, vocabulary: Vocabulary, progress: Progress | None) -> None:
    """Join the pairs of `index` until none is left that occurs `floor` times. A heap offers the pair with the highest
    count; a count in the heap may be out of date (too high, never too low), and is put right when it comes up."""
    heap = [(-count, pair) for pair, count in index.counts.items()]
    heapify(heap)
    while heap and not vocabulary.is_full:
        negative, pair = heappop(heap)
        count = index.counts[pair]
        if count != -negative:
            if count >= index.floor:
                heappush(heap, (-count, pair))
        elif vocabulary.allows(pair):
            for fresh in index.merge(pair, vocabulary.join(pair, count)):
                heappush(heap, (-index.counts[fresh], fresh))
            report(vocabulary, progress)


def report(vocabulary: Vocabulary, progress: Progress | None) -> None:
    if progress:
        learned = len(vocabulary.merges)
        progress(LEARNING, learned, learned + vocabulary.size - len(vocabulary.tokens))
