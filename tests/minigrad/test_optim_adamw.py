"""What the steps of AdamW have in common, whatever the gradient is."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from minigrad import Tensor
from minigrad.nn import Parameter
from minigrad.optim import AdamW

LR = 0.01
SCALES = st.integers(-6, 6).map(lambda exponent: 10.0**exponent)
SIGNS = st.lists(st.sampled_from([-1.0, 1.0]), min_size=1, max_size=4)


def after(gradients: list[np.ndarray], first: np.ndarray, **options: float) -> np.ndarray:
    """The parameter after a step for each of the gradients."""
    p = Parameter(first, np.float64)
    optimizer = AdamW([p], lr=LR, **({"eps": 1e-30, "weight_decay": 0.0} | options))
    for g in gradients:
        p.grad = Tensor(g)
        optimizer.step()
    return p.data


@given(SIGNS, SCALES)
def test_the_first_step_has_the_length_lr_whatever_the_scale_of_the_gradient(signs: list[float], scale: float) -> None:
    g = scale * np.array(signs)
    np.testing.assert_allclose(after([g], np.zeros(len(g))), -LR * np.array(signs), rtol=1e-10)


@given(SIGNS, SCALES, st.integers(1, 5))
def test_gradients_in_another_unit_give_the_same_steps(signs: list[float], scale: float, steps: int) -> None:
    gradients = list(np.random.default_rng(steps).standard_normal((steps, len(signs))))
    first = np.array(signs)
    np.testing.assert_allclose(after([scale * g for g in gradients], first), after(gradients, first), rtol=1e-10)


@given(SIGNS, SCALES)
def test_without_a_gradient_a_weight_only_shrinks_by_lr_times_decay(signs: list[float], scale: float) -> None:
    first = scale * np.array(signs)
    found = after([np.zeros_like(first)], first, weight_decay=0.5)
    np.testing.assert_allclose(found, (1 - LR * 0.5) * first, rtol=1e-12)
