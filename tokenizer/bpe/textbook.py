"""Byte-pair encoding on one page: learn merges from texts, turn text into token ids, and back.

A token is a sequence of bytes. In the beginning there are 256 tokens, one for each byte. Training looks for the pair of
neighbouring tokens that occurs most often, joins it to a new token, and repeats. Encoding makes the same merges in the
order in which they were learned. (Gage 1994; Sennrich et al. 2016, arXiv:1508.07909; over bytes: Radford et al. 2019.)

    texts: "low lower lowest"         words: low, " lower", " lowest"
    l + o = lo (3 times)   lo + w = low (3)   " " + low = " low" (2)   " low" + e = " lowe" (2)   s + t = st (1)
    encode("slow") is s, low          encode(" lowest") is " lowe", st

`python -m tokenizer.bpe.textbook` prints this example. It is the definition: tests compare every faster level with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tokenizer.bpe.merge_table import NO_MERGE, MergeTable, Pair
from tokenizer.split.pretokenizer import Pretokenizer
from tokenizer.text.byte_alphabet import ALPHABET


class TextbookBPE:
    def __init__(self, tokens: Sequence[bytes] = ALPHABET, split: Callable[[str], list[str]] | None = None):
        # The order of the 256 bytes decides between equally frequent pairs. This one is Hugging Face's.
        self.tokens = list(tokens)  # id -> bytes
        self.byte_ids = {token[0]: i for i, token in enumerate(tokens) if len(token) == 1}
        self.split = split or Pretokenizer("gpt4").split  # text -> words
        self.table: MergeTable = {}  # (left id, right id) -> (rank, id of the new token); the lowest rank is first
        self.counts: list[int] = []  # how often the pair of each merge occurred

    def train(self, texts: Iterable[str], vocab_size: int) -> None:
        # Merges stay inside a word, so that "dog" and "dog." share the token "dog". The same word is divided in the
        # same way wherever it occurs, so each word is stored once, with its count.
        self.learn(count_words(texts, self.split), vocab_size)

    def learn(
        self,
        words: Mapping[bytes, int],
        vocab_size: int,
        min_count: int = 1,
        is_allowed: Callable[[bytes], bool] = lambda token: True,
    ) -> None:
        """Learn merges from words and their counts. `is_allowed(token)` may refuse a new token."""
        corpus = [([self.byte_ids[byte] for byte in word], count) for word, count in words.items()]
        while len(self.tokens) < vocab_size:
            counts: Counter[Pair] = Counter()
            for ids, count in corpus:
                for pair in zip(ids, ids[1:]):
                    counts[pair] += count
            candidates = [pair for pair in counts if is_allowed(self.tokens[pair[0]] + self.tokens[pair[1]])]
            # The most frequent pair; of equally frequent ones, the one with the smallest ids.
            best = min(candidates, key=lambda pair: (-counts[pair], pair), default=None)
            if best is None or counts[best] < min_count:
                break  # every word is a single token by now
            new_id = len(self.tokens)
            self.tokens.append(self.tokens[best[0]] + self.tokens[best[1]])
            self.table[best] = (len(self.table), new_id)
            self.counts.append(counts[best])
            corpus = [(merge_pair(ids, best, new_id), count) for ids, count in corpus]

    def encode(self, text: str) -> list[int]:
        ids = []
        for word in self.split(text):
            ids += merge_word([self.byte_ids[byte] for byte in word.encode()], self.table)
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        # A token may end in the middle of a character, so the bytes are joined first and decoded then.
        return b"".join(self.tokens[i] for i in ids).decode("utf-8", errors="replace")


def count_words(texts: Iterable[str], split: Callable[[str], list[str]]) -> dict[bytes, int]:
    """How often each word occurs in `texts`."""
    counts = Counter(word for text in texts for word in split(text))
    return {word.encode(): count for word, count in counts.items()}


def merge_pair(ids: list[int], pair: Pair, new_id: int) -> list[int]:
    """Join `pair` wherever it is, from left to right: merge_pair([1, 2, 3, 1, 2], (1, 2), 4) is [4, 3, 4]."""
    result = []
    i = 0
    while i < len(ids):
        if tuple(ids[i : i + 2]) == pair:
            result.append(new_id)
            i += 2
        else:
            result.append(ids[i])
            i += 1
    return result


def merge_word(ids: Iterable[int], table: Any) -> list[int]:
    """Encode one word, given as the ids of its bytes: join the pair of lowest rank until no pair is in the table."""
    ids = list(ids)
    while found := first_merge(ids, table):
        i, _, new_id = found
        ids[i : i + 2] = [new_id]
    return ids


def first_merge(ids: list[int], table: Any) -> tuple[int, int, int] | None:
    """The next merge of a word: where it is (the leftmost of equal rank), its rank, and the id of the new token."""
    # Not the most frequent pair, but the one learned first: later merges may be built on it.
    merges = [table.get(pair, NO_MERGE) for pair in zip(ids, ids[1:])]
    rank, new_id = first = min(merges, default=NO_MERGE)
    return None if first == NO_MERGE else (merges.index(first), rank, new_id)


if __name__ == "__main__":
    bpe = TextbookBPE()
    bpe.train(["low lower lowest"], vocab_size=261)
    for (left, right), (rank, new_id) in bpe.table.items():
        print(f"{new_id}: {bpe.tokens[left]!r} + {bpe.tokens[right]!r}, {bpe.counts[rank]} times")
    for example in "slow", " lowest", "🐢":
        example_ids = bpe.encode(example)
        print(f"{example!r} -> {example_ids} {[bpe.tokens[i] for i in example_ids]} -> {bpe.decode(example_ids)!r}")
