"""The same options give the same probabilities as in the Hugging Face library."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.inference.sampling import Sampling, distribution

pytestmark = pytest.mark.parity


def theirs(logits: np.ndarray, context: list[int], sampling: Sampling) -> np.ndarray:
    torch, generation = pytest.importorskip("torch"), pytest.importorskip("transformers.generation")
    steps: list[Any] = [
        generation.RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty),
        generation.TemperatureLogitsWarper(sampling.temperature),
        generation.TopKLogitsWarper(sampling.top_k),
        generation.TopPLogitsWarper(sampling.top_p),
        generation.MinPLogitsWarper(sampling.min_p),
    ]
    ids, scores = torch.tensor([context]), torch.tensor(logits)[None]
    for step in steps:
        scores = step(ids, scores)
    return torch.softmax(scores, dim=-1)[0].numpy()


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.4, 1.0, 1.7]),
    st.sampled_from([1, 3, 20, 100]),
    st.sampled_from([0.3, 0.9, 1.0]),
    st.sampled_from([0.0, 0.02, 0.3]),
    st.sampled_from([0.8, 1.0, 1.5]),
)
def test_same_probabilities(
    seed: int, temperature: float, top_k: int, top_p: float, min_p: float, penalty: float
) -> None:
    """Logits drawn from a normal distribution: no ties, which the two treat differently. 1e-10: sums round differently
    in another order.
    """
    rng = np.random.default_rng(seed)
    logits, context = rng.normal(0, 2, 50), list(rng.integers(0, 50, 10))
    sampling = Sampling(temperature, top_k, top_p, min_p, penalty)
    np.testing.assert_allclose(
        distribution(logits, context, sampling), theirs(logits, context, sampling), rtol=1e-10, atol=1e-14
    )
