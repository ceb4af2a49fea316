"""The page on byte pairs: encoding makes the merges of training again, and loses nothing."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizer.bpe.textbook import TextbookBPE, merge

WORDS = st.text("ab", min_size=1, max_size=12)


def trained(words: list[str], merges: int) -> TextbookBPE:
    bpe = TextbookBPE()
    bpe.learn({word.encode(): 1 for word in words}, 256 + merges)
    return bpe


@settings(max_examples=10 * settings().max_examples)
@given(st.lists(WORDS, min_size=1, max_size=4), st.integers(0, 8), WORDS)
def test_encoding_makes_all_merges_in_the_order_of_training(words: list[str], merges: int, word: str) -> None:
    bpe, ids = trained(words, merges), list(word.encode())
    for pair, new_id in bpe.merges.items():
        ids = merge(ids, pair, new_id)
    assert bpe.encode_word(word.encode()) == ids


@given(st.lists(WORDS, min_size=1, max_size=4), st.integers(0, 8), st.text(max_size=20))
def test_decoding_gives_the_text_back(words: list[str], merges: int, text: str) -> None:
    bpe = trained(words, merges)
    assert bpe.decode(bpe.encode(text)) == text


@given(st.lists(WORDS, min_size=1, max_size=4), st.integers(0, 8))
def test_no_merge_is_more_frequent_than_the_one_before(words: list[str], merges: int) -> None:
    """The new token occurs at most as often as its pair, so no pair with it is more frequent either."""
    counts = trained(words, merges).counts
    assert counts == sorted(counts, reverse=True)
