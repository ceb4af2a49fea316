"""Learning the merges: count the words of the texts, then merge the most frequent pair of neighbours, again and again.

bpe/textbook.py counts all pairs anew for each merge, which takes minutes for a megabyte. Here the pairs are counted
once. A merge changes only the pairs next to it, and it makes a word shorter by one token. So the number of all changes
is at most a few times the number of bytes in the distinct words.

The pair with the highest count is merged; of pairs with equal counts, the one with the smallest (left id, right id).
That depends on the ids of the 256 bytes, in which libraries differ. With one order of the bytes, the merges are those
of Hugging Face's BpeTrainer; with the other, those of rustbpe (`vocabulary.BYTE_ORDERS`).
Sources: Sennrich et al. 2016, arXiv:1508.07909; `BpeTrainer` of github.com/huggingface/tokenizers;
github.com/karpathy/rustbpe.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from heapq import heapify, heappop, heappush

from tokenizer.text.special_tokens import check_names
from tokenizer.training.pair_index import MIN_POSITIONS_FOR_ARRAYS, PairIndex
from tokenizer.training.vocabulary import ALL_BYTES, BYTE_ORDERS, Vocabulary
from tokenizer.training.word_counts import Progress, Splitter, count_words
from tokenizer.training.word_row import WordRow

LEARNING = "learning merges"
OUT_OF_MEMORY = "learn the vocabulary from fewer texts: it takes up to 20 bytes for each byte of the different words"
RARITY_STEP = 100  # a round merges the pairs whose count is at least the highest count divided by this number


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

    It has fewer than `vocab_size` tokens if the texts do not have enough pairs. Special tokens in the texts are
    ordinary text. `progress(stage, done, total)` is called during the work.

    - `min_frequency`: pairs that occur less often are not merged.
    - `max_token_length`: new tokens are shorter than this many bytes (not equal, as in Hugging Face's library). Tokens
      of two bytes are always allowed.
    - `initial_alphabet`: bytes that are tokens even if the texts do not contain them. A byte that is neither here nor
      in the texts cannot be encoded.
    - `ties`: "huggingface" or "rustbpe": which order of the bytes decides between equally frequent pairs.
    - `processes`: the number of processes that count words. It never changes the result. More than one make training
      faster if the pattern is a regular expression of your own.
    """
    if ties not in BYTE_ORDERS:
        raise ValueError(f"ties={ties!r} is unknown: choose {' or '.join(map(repr, BYTE_ORDERS))}")
    if processes < 1:
        raise ValueError(f"processes={processes} is too few: give 1 or more")
    names = check_names(special_tokens)

    def new_vocabulary(alphabet: set[int]) -> Vocabulary:
        ordered = [byte for byte in BYTE_ORDERS[ties] if byte[0] in alphabet]
        return Vocabulary(names, vocab_size, ordered, min_frequency, max_token_length)

    new_vocabulary(set(initial_alphabet))  # checks the arguments before the long work
    try:
        words = count_words(texts, pretokenizer, progress, processes)
        # Only now is it known which other bytes occur, and so which ids the bytes have.
        vocabulary = new_vocabulary(set(initial_alphabet).union(*words))
        row = WordRow(words, vocabulary.byte_ids)
        del words  # which may be most of the memory
        learn_from_row(row, vocabulary, progress)
    except MemoryError as error:
        error.add_note(OUT_OF_MEMORY)
        raise
    return vocabulary


def learn_incremental(
    words: Mapping[bytes, int],
    vocabulary: Vocabulary,
    progress: Progress | None = None,
    rarity_step: float = RARITY_STEP,
    min_positions: int = MIN_POSITIONS_FOR_ARRAYS,
) -> None:
    """Fill `vocabulary` with the merges of `words` (word -> count). Ends early if no pair is left to merge."""
    learn_from_row(WordRow(words, vocabulary.byte_ids), vocabulary, progress, rarity_step, min_positions)


def learn_from_row(
    row: WordRow,
    vocabulary: Vocabulary,
    progress: Progress | None = None,
    rarity_step: float = RARITY_STEP,
    min_positions: int = MIN_POSITIONS_FOR_ARRAYS,
) -> None:
    """`learn_incremental` for words that are already in a row. It changes the row."""
    # A round merges all pairs that occur at least `floor` times. Then the words are shorter, and the next round has a
    # lower floor. pair_index.py explains why that gives the same merges.
    floor = sys.maxsize
    while floor > vocabulary.min_frequency and not vocabulary.is_full:
        pairs = row.count_pairs()
        highest = int(pairs.counts.max(initial=0))
        # The floor falls in each round, even if the highest count does not.
        floor = max(vocabulary.min_frequency, int(min(highest, floor) // rarity_step))
        pairs = pairs.at_least(floor)
        merge_frequent(PairIndex(row, row.find(pairs), floor, min_positions), vocabulary, progress)
        row.remove_merged()


def merge_frequent(index: PairIndex, vocabulary: Vocabulary, progress: Progress | None) -> None:
    """Merge the pairs of `index`, the most frequent first, until none of them occurs `floor` times any more."""
    # A count in the heap may be out of date: too high, never too low. When such a pair is at the top, it is put back
    # with its present count, unless it has become too rare.
    heap = [(-count, pair) for pair, count in index.counts.items()]
    heapify(heap)
    while heap and not vocabulary.is_full:
        negative, pair = heappop(heap)
        count = index.counts[pair]
        if count != -negative:  # out of date
            if count >= index.floor:
                heappush(heap, (-count, pair))
        elif vocabulary.allows(pair):
            # Only the new pairs need entries in the heap. The counts of other pairs are lower now, or the same.
            for new_pair in index.merge(pair, vocabulary.add_merge(pair, count)):
                heappush(heap, (-index.counts[new_pair], new_pair))
            if progress:
                learned = len(vocabulary.merges)
                progress(LEARNING, learned, learned + vocabulary.size - len(vocabulary.tokens))
