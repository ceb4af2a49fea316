"""Attention of one query in each row, with texts of different lengths: as row by row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad.fused.ragged_attention import ragged_attention, ragged_attention_reference


@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(1, 9), min_size=1, max_size=4),
    st.sampled_from([(1, 1), (2, 2), (4, 2), (3, 1)]),
    st.sampled_from([None, 1, 3, 20]),
    st.booleans(),
    st.sampled_from([None, 0.7]),
    st.sampled_from([np.float32, np.float64]),
)
def test_as_row_by_row(seed, lengths, heads, window, has_bias, soft_cap, dtype) -> None:
    rng, (H, K), D = np.random.default_rng(seed), heads, 4
    q = rng.normal(size=(len(lengths), H, 1, D)).astype(dtype)
    keys, values = ([rng.normal(size=(K, S, D)).astype(dtype) for S in lengths] for _ in range(2))
    bias = rng.normal(size=(len(lengths), H, 1, max(lengths))).astype(dtype) if has_bias else None
    arguments = q, keys, values, 0.5, window, bias, soft_cap
    out, expected = ragged_attention(*arguments), ragged_attention_reference(*arguments)
    assert out.dtype == expected.dtype == dtype
    # Sums of up to nine numbers of size 1, in another order.
    np.testing.assert_allclose(
        out, expected, rtol=1e-4 if dtype == np.float32 else 1e-12, atol=np.finfo(dtype).eps * 30
    )


@pytest.mark.control
def test_a_row_that_sees_the_keys_of_another_is_found() -> None:
    rng = np.random.default_rng(0)
    q = rng.normal(size=(2, 1, 1, 4))
    keys, values = ([rng.normal(size=(1, S, 4)) for S in (3, 5)] for _ in range(2))
    padded = [np.concatenate([keys[0], np.zeros((1, 2, 4))], axis=1), keys[1]]
    longer = [np.concatenate([values[0], np.zeros((1, 2, 4))], axis=1), values[1]]
    right, wrong = ragged_attention_reference(q, keys, values, 1.0), ragged_attention(q, padded, longer, 1.0)
    assert np.abs(right - wrong)[0].max() > 1e-3
    assert np.abs(right - wrong)[1].max() < 1e-12
