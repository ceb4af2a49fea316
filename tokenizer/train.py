"""Learning the merges: count the words of a corpus, then join the most frequent pair of neighbours, again and again.

Two ways to the same merges:

1. `learn_textbook` counts all pairs anew for each merge. The definition; minutes for a megabyte.
2. `learn_incremental` counts once. A merge changes only the pairs around the places where it happens, and every
   place loses a token, so all merges together touch no more places than the distinct words have bytes.

The pair with the highest count wins; among equals the one with the smallest (left id, right id). Ids are given to the
special tokens first, then to the 256 bytes in the order of their printable spelling, then to the merges as they are
learned. This is the order of Hugging Face's BpeTrainer, and the merges are the same as its.
Sources: Sennrich et al. 2016, arXiv:1508.07909; `BpeTrainer` of github.com/huggingface/tokenizers.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush

from .bpe import Pair
from .byte_level import ALPHABET, unspell
from .pretokenize import Pretokenizer, well_formed

# progress(stage, done, total): characters read (their total is not known: None), then merges learned.
Progress = Callable[[str, int, int | None], object]
COUNTING, LEARNING = "counting words", "learning merges"

OUTSIDE = -1  # what lies before and after a word


def count_words(texts: Iterable[str], pretokenizer: Pretokenizer, progress: Progress | None = None) -> dict[bytes, int]:
    """How often each word occurs in `texts` (a text is never split across two of them). One text is held at a time."""
    counts: Counter[str] = Counter()
    characters = 0
    for text in [texts] if isinstance(texts, str) else texts:
        counts.update(pretokenizer.split(well_formed(text)))
        characters += len(text)
        if progress:
            progress(COUNTING, characters, None)
    return {word.encode(): count for word, count in counts.items()}


class Vocabulary:
    """The tokens and merges learned so far."""

    def __init__(self, special_tokens: Sequence[str], size: int):
        smallest = len(special_tokens) + len(ALPHABET)
        if size < smallest:
            raise ValueError(
                f"vocab_size={size} is too small: 256 bytes and {len(special_tokens)} special tokens need {smallest}"
            )
        self.size = size
        self.tokens = [name.encode() for name in special_tokens] + ALPHABET
        self.merges: list[Pair] = []
        self.id_of = {token: i for i, token in enumerate(self.tokens) if i >= len(special_tokens)}
        # In a tokenizer.json a token and a special token of the same spelling would be one and the same.
        self.reserved = {unspell(name) for name in special_tokens}
        for name in special_tokens:
            if unspell(name) in self.id_of:
                raise ValueError(f"the special token {name!r} is the spelling of a single byte: give it a longer name")

    @property
    def is_full(self) -> bool:
        return len(self.tokens) >= self.size

    @property
    def byte_ids(self) -> list[int]:
        """The id of each byte."""
        return [self.id_of[bytes([byte])] for byte in range(256)]

    def allows(self, pair: Pair) -> bool:
        """False where joining `pair` would spell a special token."""
        return self.tokens[pair[0]] + self.tokens[pair[1]] not in self.reserved

    def join(self, pair: Pair) -> int:
        """Learn a merge and return the id of the joined token: a new one, unless other parts gave the same bytes."""
        token = self.tokens[pair[0]] + self.tokens[pair[1]]
        if token not in self.id_of:
            self.id_of[token] = len(self.tokens)
            self.tokens.append(token)
        self.merges.append(pair)
        return self.id_of[token]


def learn_textbook(words: Mapping[bytes, int], vocabulary: Vocabulary, progress: Progress | None = None) -> None:
    """Fill `vocabulary` with the merges of `words`, a count for each word. Ends early if no pair is left to join."""
    byte_ids = vocabulary.byte_ids
    corpus = [([byte_ids[byte] for byte in word], count) for word, count in words.items()]
    while not vocabulary.is_full:
        counts: Counter[Pair] = Counter()
        for ids, count in corpus:
            for pair in zip(ids, ids[1:]):
                counts[pair] += count
        candidates = filter(vocabulary.allows, counts)
        best = min(candidates, key=lambda pair: (-counts[pair], pair), default=None)
        if best is None:
            break
        joined = vocabulary.join(best)
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
    """The same merges as `learn_textbook`. A heap offers the pair with the highest count; a count in the heap may be
    out of date (too high, never too low), and is then put right when it comes up."""
    index = PairIndex(words, vocabulary.byte_ids)
    heap = [(-count, pair) for pair, count in index.counts.items()]
    heapify(heap)
    while heap and not vocabulary.is_full:
        negative, pair = heappop(heap)
        count = index.counts[pair]
        if count != -negative:
            if count > 0:
                heappush(heap, (-count, pair))
        elif vocabulary.allows(pair):
            for fresh in index.merge(pair, vocabulary.join(pair)):
                heappush(heap, (-index.counts[fresh], fresh))
            report(vocabulary, progress)


def report(vocabulary: Vocabulary, progress: Progress | None) -> None:
    if progress:
        learned = len(vocabulary.merges)
        progress(LEARNING, learned, learned + vocabulary.size - len(vocabulary.tokens))


class PairIndex:
    """All words in one row of places, as a linked list of tokens, and for each pair of neighbours its count and where
    it is. Arrays instead of lists: a place then costs 24 bytes, not 100."""

    def __init__(self, words: Mapping[bytes, int], byte_ids: Sequence[int]):
        self.token = array("i", [OUTSIDE])
        self.weight = array("q", [0])  # how often the word around this place occurs
        for word, count in words.items():
            self.token.extend([byte_ids[byte] for byte in word])
            self.token.append(OUTSIDE)
            self.weight.extend([count] * (len(word) + 1))
        n = len(self.token)
        self.before = array("i", range(-1, n - 1))
        self.after = array("i", range(1, n + 1))

        self.counts: defaultdict[Pair, int] = defaultdict(int)
        self.places: defaultdict[Pair, array] = defaultdict(lambda: array("i"))  # of the left token
        for i, pair in enumerate(zip(self.token, self.token[1:])):
            if OUTSIDE not in pair:
                self.add(pair, i)

    def add(self, pair: Pair, i: int) -> None:
        self.counts[pair] += self.weight[i]
        self.places[pair].append(i)

    def merge(self, pair: Pair, joined: int) -> set[Pair]:
        """Join `pair` wherever it is and return the pairs that this brought into being."""
        left, right = pair
        token, before, after, counts = self.token, self.before, self.after, self.counts
        fresh = set()
        for i in self.places.pop(pair):  # from left to right, as they were added: aaa becomes (aa)a
            j = after[i]
            if token[i] != left or token[j] != right:
                continue  # an earlier merge took one of the two
            h, k = before[i], after[j]
            token[i], token[j] = joined, OUTSIDE
            after[i], before[k] = k, i
            if token[h] != OUTSIDE:
                counts[token[h], left] -= self.weight[i]
                self.add((token[h], joined), h)
                fresh.add((token[h], joined))
            if token[k] != OUTSIDE:
                counts[right, token[k]] -= self.weight[i]
                self.add((joined, token[k]), i)
                fresh.add((joined, token[k]))
        del counts[pair]
        return {new for new in fresh if counts[new] > 0}
