"""Attention of texts of different lengths, with one query or more: as query by query."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad import no_grad
from minigrad.fused.ragged_attention import Ragged, ragged_attention, ragged_attention_reference

# Of each array: how many texts it has, how many keys before the queries, how many queries.
PARTS = st.tuples(st.integers(1, 3), st.integers(0, 9), st.sampled_from([1, 1, 2, 5]))


@given(
    st.integers(0, 2**32 - 1),
    st.lists(PARTS, min_size=1, max_size=4),
    st.sampled_from([(1, 1), (2, 2), (4, 2), (3, 1)]),
    st.sampled_from([None, 1, 3, 20]),
    st.booleans(),
    st.sampled_from([None, 0.7]),
    st.sampled_from([np.float32, np.float64]),
)
def test_as_query_by_query(seed, parts, heads, window, has_bias, soft_cap, dtype) -> None:
    rng, (H, K), D = np.random.default_rng(seed), heads, 4
    N, longest = sum(R * T for R, _, T in parts), max(before + T for _, before, T in parts)
    q = rng.normal(size=(N, H, 1, D)).astype(dtype)
    keys, values = (
        ragged([rng.normal(size=(R, K, S + T, D)).astype(dtype) for R, S, T in parts], [T for _, _, T in parts])
        for _ in range(2)
    )
    bias = rng.normal(size=(N, H, 1, longest)).astype(dtype) if has_bias else None
    arguments = q, keys, values, 0.5, window, bias, soft_cap
    with no_grad():
        out, expected = ragged_attention(*arguments), ragged_attention_reference(*arguments)
    assert out.dtype == expected.dtype == dtype
    # Sums of up to 14 numbers of size 1, in another order.
    np.testing.assert_allclose(
        out, expected, rtol=1e-4 if dtype == np.float32 else 1e-12, atol=np.finfo(dtype).eps * 30
    )


@pytest.mark.control
def test_a_text_that_sees_the_keys_of_another_is_found() -> None:
    rng = np.random.default_rng(0)
    q = rng.normal(size=(2, 1, 1, 4))
    keys, values = ([rng.normal(size=(1, 1, S, 4)) for S in (3, 5)] for _ in range(2))
    padding = np.zeros((1, 1, 2, 4))
    padded, longer = ([np.concatenate([x[0], padding], axis=2), x[1]] for x in (keys, values))
    right = ragged_attention_reference(q, ragged(keys, [1, 1]), ragged(values, [1, 1]), 1.0)
    wrong = ragged_attention(q, ragged(padded, [1, 1]), ragged(longer, [1, 1]), 1.0)
    assert np.abs(right - wrong)[0].max() > 1e-3
    assert np.abs(right - wrong)[1].max() < 1e-12


def ragged(arrays: list[np.ndarray], queries: list[int]) -> Ragged:
    stops = np.cumsum([len(array) * T for array, T in zip(arrays, queries, strict=True)]).tolist()
    return Ragged(arrays, [slice(*each) for each in zip([0, *stops], stops, strict=False)], queries)
