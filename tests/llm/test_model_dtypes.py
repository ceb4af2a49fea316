"""The dtype of a model, and of each of its parts, is float32 unless another one is asked for."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from llm.model import attention, gpt, mlp, positions
from minigrad import nn

MAKERS = [
    maker
    for module in (nn, attention, gpt, mlp, positions)
    for maker in vars(module).values()
    if inspect.isfunction(maker) or inspect.isclass(maker) and issubclass(maker, nn.Module)
    if "dtype" in inspect.signature(maker).parameters
]


@pytest.mark.parametrize("maker", dict.fromkeys(MAKERS), ids=lambda maker: maker.__name__)
def test_without_a_dtype_it_is_float32(maker: Callable[..., Any]) -> None:
    assert inspect.signature(maker).parameters["dtype"].default in (np.float32, None, inspect.Parameter.empty)


def test_layers_and_models_are_among_them() -> None:
    assert {maker.__name__ for maker in MAKERS} >= {"Linear", "LayerNorm", "Embedding", "GPT", "Block"}
