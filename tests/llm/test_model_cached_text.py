"""A text that is read in two pieces, with a cache, has the logits of the text read at once, for all positions."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.model.config import GPTConfig, Positions
from llm.model.kv_cache import KVCache
from minigrad import no_grad
from tests.llm.gpts import FLOAT64_SUMS, SEEDS, VOCAB, random_gpt, token_ids


@pytest.mark.parametrize("positions", get_args(Positions))
@given(SEEDS, st.integers(1, 6), st.integers(1, 6))
def test_a_text_may_be_read_in_two_pieces(positions: Any, seed: int, first: int, second: int) -> None:
    model = random_gpt(GPTConfig(vocab_size=VOCAB, context=12, layers=1, heads=1, dim=4, positions=positions), seed)
    ids, cache = token_ids(np.random.default_rng(seed), 1, first + second), KVCache(model.config)
    with no_grad():
        pieces = [model(piece, cache=cache).data for piece in (ids[:, :first], ids[:, first:])]
        np.testing.assert_allclose(np.concatenate(pieces, axis=1), model(ids).data, **FLOAT64_SUMS)
