"""Learning the merges: count the words of the texts, then join the most frequent pair of neighbours, again and again.

bpe/textbook.py counts all pairs anew for each merge: minutes for a megabyte. Here they are counted once. A merge
changes only the pairs around the positions where it happens, and each such position loses a token. So all merges
together touch no more positions than the distinct words have bytes.

The pair with the highest count wins; of equal counts, the one with the smallest (left id, right id). Trainers differ in
the ids of the bytes, so see `BYTE_ORDERS`: the merges are those of Hugging Face's BpeTrainer, or those of rustbpe.
Sources: Sennrich et al. 2016, arXiv:1508.07909; `BpeTrainer` of github.com/huggingface/tokenizers;
github.com/karpathy/rustbpe.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from heapq import heapify, heappop, heappush

from tokenizer.text.special_tokens import check_names
from tokenizer.training.pair_index import MIN_POSITIONS_FOR_ARRAYS, PairIndex, WordRow
from tokenizer.training.vocabulary import ALL_BYTES, BYTE_ORDERS, Vocabulary
from tokenizer.training.word_counts import Progress, Splitter, count_words

LEARNING = "learning merges"
RARITY_STEP = 100  # pairs rarer than the most frequent one by this factor are left for a later round


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
    """The vocabulary of `texts`, which are read once.

    It has fewer than `vocab_size` tokens if the texts have not enough pairs. Special tokens in the texts are ordinary
    text. `progress(stage, done, total)` is called during the work.

    - `min_frequency`: pairs that occur less often are not joined.
    - `max_token_length`: tokens are shorter than this many bytes, except those of two bytes (as in Hugging Face's).
    - `initial_alphabet`: bytes that are tokens even if the texts do not contain them. Others cannot be encoded.
    - `ties`: "huggingface" or "rustbpe", whose order decides between equally frequent pairs.
    - `processes`: how many count words. The result never depends on it. It pays for regular expressions of your own.
    """
    if ties not in BYTE_ORDERS:
        raise ValueError(f"ties={ties!r} is unknown: choose {' or '.join(map(repr, BYTE_ORDERS))}")
    if processes < 1:
        raise ValueError(f"processes={processes} is too few: give 1 or more")
    names = check_names(special_tokens)

    def start(alphabet: set[int]) -> Vocabulary:
        ordered = [byte for byte in BYTE_ORDERS[ties] if byte[0] in alphabet]
        return Vocabulary(names, vocab_size, ordered, min_frequency, max_token_length)

    start(set(initial_alphabet))  # wrong arguments are reported before the long work
    words = count_words(texts, pretokenizer, progress, processes)
    vocabulary = start(set(initial_alphabet).union(*words))
    learn_incremental(words, vocabulary, progress)
    return vocabulary


def learn_incremental(
    words: Mapping[bytes, int],
    vocabulary: Vocabulary,
    progress: Progress | None = None,
    rarity_step: float = RARITY_STEP,
    min_positions: int = MIN_POSITIONS_FOR_ARRAYS,
) -> None:
    """Fill `vocabulary` with the merges of `words`, a count for each word. Ends early if no pair is left to join."""
    row = WordRow(words, vocabulary.byte_ids)
    # Frequent pairs are joined first; then, in what is left of the words, less frequent ones. See pair_index.py.
    floor = sys.maxsize
    while floor > vocabulary.min_frequency and not vocabulary.is_full:
        pairs = row.pairs()
        highest = int(pairs.counts.max(initial=0))
        floor = max(vocabulary.min_frequency, int(min(highest, floor) // rarity_step))
        join_frequent(PairIndex(row, pairs, floor, min_positions), vocabulary, progress)
        row.remove_joined()


def join_frequent(index: PairIndex, vocabulary: Vocabulary, progress: Progress | None) -> None:
    """Join the pairs of `index`, the most frequent first, until none is left that occurs `floor` times."""
    # A count in the heap may be out of date: too high, never too low. It is corrected when it comes up.
    heap = [(-count, pair) for pair, count in index.counts.items()]
    heapify(heap)
    while heap and not vocabulary.is_full:
        negative, pair = heappop(heap)
        count = index.counts[pair]
        if count != -negative:
            if count >= index.floor:
                heappush(heap, (-count, pair))
        elif vocabulary.allows(pair):
            for new_pair in index.merge(pair, vocabulary.add_merge(pair, count)):
                heappush(heap, (-index.counts[new_pair], new_pair))
            if progress:
                learned = len(vocabulary.merges)
                progress(LEARNING, learned, learned + vocabulary.size - len(vocabulary.tokens))
