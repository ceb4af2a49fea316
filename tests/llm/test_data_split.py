"""The split gives each character to exactly one side, in about the wanted share, whole documents where possible."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.data.errors import DataError
from llm.data.split import _choose_documents, training_sizes

sizes = st.lists(st.integers(0, 1000), min_size=1, max_size=60).filter(any).map(np.array)
fractions = st.floats(0.001, 0.999)
seeds = st.integers(0, 2**63)


def check_split(sizes: np.ndarray, train: np.ndarray, val_fraction: float) -> None:
    total, val = sizes.sum(), (sizes - train).sum()
    assert ((train >= 0) & (train <= sizes)).all()
    assert ((train > 0) & (train < sizes)).sum() <= 1, "at most one document is cut in two"
    assert val > 0, "something is held out"
    assert total * val_fraction / 2 - 1 <= val <= total * val_fraction + 1, "about the wanted share is held out"


@given(sizes=sizes, val_fraction=fractions, seed=seeds)
def test_the_split(sizes, val_fraction, seed):
    train = training_sizes(sizes, val_fraction, seed)
    check_split(sizes, train, val_fraction)
    assert (training_sizes(sizes, val_fraction, seed) == train).all()


@given(sizes=sizes, val_fraction=fractions, seed=seeds)
def test_a_document_is_cut_in_two_only_if_whole_ones_are_less_than_half_of_what_is_wanted(sizes, val_fraction, seed):
    train, total = training_sizes(sizes, val_fraction, seed), sizes.sum()
    whole = sizes[_choose_documents(sizes, int(total * val_fraction), seed)].sum()
    if whole >= max(1, total * val_fraction / 2):
        assert set((sizes - train)[train > 0].tolist()) <= {0} and (sizes - train).sum() == whole
    else:
        assert (np.diff((train < sizes)[sizes > 0].astype(int)) >= 0).all(), "the end of all documents as one text"


@pytest.mark.control
def test_bad_splits_are_noticed():
    sizes = np.array([100, 100])
    for bad in [[100, 100], [95, 85], [100, 10], [101, 79]]:  # nothing held out, two cut, far too much, too long
        with pytest.raises(AssertionError):
            check_split(sizes, np.array(bad), val_fraction=0.1)


@given(size=st.integers(1, 10**6), val_fraction=fractions)
def test_a_single_document_is_cut_where_nanogpt_cuts(size, val_fraction):
    (train,) = training_sizes(np.array([size]), val_fraction)
    assert train == min(int(size * (1 - val_fraction)), size - 1)


@given(seed=seeds)
def test_many_documents_are_held_out_whole_and_by_seed(seed):
    sizes = np.full(200, 50)
    held_out = training_sizes(sizes, 0.1, seed) == 0
    assert held_out.sum() == 20
    assert (training_sizes(sizes, 0.1, seed + 1) == 0).tolist() != held_out.tolist()


def test_each_document_is_held_out_equally_often():
    counts = sum((training_sizes(np.full(50, 7), 0.2, seed) == 0).astype(int) for seed in range(1000))
    assert counts.sum() == 10 * 1000
    assert abs(counts - 200).max() < 70  # binomial(1000, 0.2): five and a half standard deviations of 12.6


def test_a_book_and_a_leaflet_are_split_at_the_tail_of_the_book():
    """No choice of whole documents comes near a tenth: holding out the leaflet alone would be no test."""
    assert training_sizes(np.array([10, 100_000]), 0.1).tolist() == [10, 89_999]


@pytest.mark.parametrize("val_fraction", [0.0, 1.0, -0.1, 10.0, float("nan")])
def test_a_share_outside_0_and_1_is_refused(val_fraction):
    with pytest.raises(DataError, match="--val-fraction must lie between 0 and 1, such as 0.1, got"):
        training_sizes(np.array([100]), val_fraction)
