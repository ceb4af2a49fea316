"""Byte-pair encoding on one page: learn merges from texts, turn text into token ids, and back.

A token is a sequence of bytes. In the beginning there are 256 tokens, one for each byte. Training looks for the pair of
neighbouring tokens that occurs most often, makes one new token of the two, and repeats. Encoding makes the same merges
in the order in which they were learned. (Gage 1994; Sennrich et al. 2016, arXiv:1508.07909; over bytes: Radford et al.
2019.)

    texts: "low lower lowest"     words: "low", " lower", " lowest"
    merges: l + o = lo (3 times), lo + w = low (3), " " + low = " low" (2), " low" + e = " lowe" (2), s + t = st (1)
    "slow" becomes s, low         " lowest" becomes " lowe", st

`python -m tokenizer.bpe.textbook` prints this example. Tests compare the fast tokenizer with this page.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import regex

Pair = tuple[int, int]  # the ids of two neighbouring tokens
BYTES = [bytes([byte]) for byte in range(256)]

# How GPT-4 splits text into words. \p{L} is any letter, \p{N} any digit or other number.
GPT4_PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)"  # the ends of contractions: 's, 't, 'll and so on
    r"|[^\r\n\p{L}\p{N}]?\p{L}+"  # letters, with one space or symbol before them
    r"|\p{N}{1,3}"  # up to three digits
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*"  # symbols, with a space before and line ends after them
    r"|\s+$|\s*[\r\n]|\s+(?!\S)|\s"  # white space; its last space belongs to the word that follows
)


class TextbookBPE:
    def __init__(self, pattern: str = GPT4_PATTERN, tokens: Sequence[bytes] = BYTES):
        """`pattern` must match every character of any text. `tokens` are those before any merge, usually the bytes."""
        self.pattern = regex.compile(pattern)
        self.tokens = list(tokens)  # id -> bytes
        self.byte_ids = {token[0]: i for i, token in enumerate(tokens) if len(token) == 1}  # byte -> id
        self.merges: dict[Pair, int] = {}  # pair -> id of the new token, in the order in which they were learned
        self.counts: list[int] = []  # how often the pair of each merge occurred when it was learned

    def train(self, texts: Iterable[str], vocab_size: int) -> None:
        # Merges stay inside a word, so that "dog" and "dog." share the token "dog". The same word is merged in the same
        # way wherever it occurs, so each distinct word is stored once, with its count.
        words = Counter(word for text in texts for word in self.pattern.findall(text))
        self.learn({word.encode(): count for word, count in words.items()}, vocab_size)

    def learn(self, words: Mapping[bytes, int], vocab_size: int) -> None:
        """Learn merges from the words of a corpus and how often each occurs."""
        corpus = [([self.byte_ids[byte] for byte in word], count) for word, count in words.items()]
        while len(self.tokens) < vocab_size:
            counts = self.count_pairs(corpus)
            if not counts:
                break  # every word is a single token by now
            # The most frequent pair; of equally frequent pairs, the one with the smallest ids.
            pair = min(counts, key=lambda pair: (-counts[pair], pair))
            new_id = len(self.tokens)
            self.tokens.append(self.tokens[pair[0]] + self.tokens[pair[1]])
            self.merges[pair] = new_id
            self.counts.append(counts[pair])
            corpus = [(merge(ids, pair, new_id), count) for ids, count in corpus]

    def count_pairs(self, corpus: Iterable[tuple[list[int], int]]) -> dict[Pair, int]:
        """How often each pair of neighbours occurs. Pairs are counted anew for each merge: simple, but slow."""
        counts: Counter[Pair] = Counter()
        for ids, count in corpus:
            for pair in zip(ids, ids[1:]):
                counts[pair] += count
        return counts

    def encode(self, text: str) -> list[int]:
        return [i for word in self.pattern.findall(text) for i in self.encode_word(word.encode())]

    def encode_word(self, word: bytes) -> list[int]:
        ids = [self.byte_ids[byte] for byte in word]
        while pairs := [pair for pair in zip(ids, ids[1:]) if pair in self.merges]:
            # Not the most frequent pair, but the one that was learned first, because later merges may need its token.
            # The earlier a merge was learned, the smaller is the id of its token.
            first = min(pairs, key=lambda pair: self.merges[pair])
            ids = merge(ids, first, self.merges[first])
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        # A token may end in the middle of a character, so the bytes are joined first and decoded then.
        return b"".join(self.tokens[i] for i in ids).decode("utf-8", errors="replace")


def merge(ids: list[int], pair: Pair, new_id: int) -> list[int]:
    """Replace each occurrence of `pair`, from left to right: merge([1, 2, 3, 1, 2], (1, 2), 4) is [4, 3, 4]."""
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


if __name__ == "__main__":
    bpe = TextbookBPE()
    bpe.train(["low lower lowest"], vocab_size=261)
    for (left, right), new_id in bpe.merges.items():
        print(f"{new_id}: {bpe.tokens[left]!r} + {bpe.tokens[right]!r}, {bpe.counts[new_id - 256]} times")
    for example in "slow", " lowest", "🐢":
        example_ids = bpe.encode(example)
        print(f"{example!r} -> {example_ids} {[bpe.tokens[i] for i in example_ids]} -> {bpe.decode(example_ids)!r}")
