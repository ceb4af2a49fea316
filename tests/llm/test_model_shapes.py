"""The shape comments tell the truth, and input that the model cannot take is refused with a sentence.

The model's files are run with every commented statement, such as `x = self.embedding(ids)    # (B, T, C)`, turned into
`x = _shape(place, self.embedding(ids))`, which compares the value with the comment.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import llm.model.attention
import llm.model.gpt
import llm.model.mlp
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.model.kv_cache import KVCache
from minigrad import no_grad
from tests.llm.gpts import token_ids

SHAPES = re.compile(r" # (\((?:[^#()]|\([^#()]*\))*\)(?:, \([^#]*\))*)$")
SIZES = {"B": 2, "T": 5, "C": 24, "H": 4, "K": 2, "D": 10, "F": 28, "V": 13}
CONFIG = {
    "vocab_size": 13,
    "context": 16,
    "layers": 1,
    "heads": 4,
    "kv_heads": 2,
    "dim": 24,
    "head_dim": 10,
    "mlp_dim": 28,
}


class Comments(ast.NodeTransformer):
    """Wraps the values of statements that end with a shape comment in calls of itself, and remembers what has run."""

    def __init__(self) -> None:
        self.comments: dict[tuple[str, int], str] = {}
        self.wrapped: set[tuple[str, int]] = set()
        self.run: set[tuple[str, int]] = set()
        self.sizes = dict(SIZES)

    def load(self, module: ModuleType, source: str) -> ModuleType:
        """A copy of the module from this source, in which comments are checked."""
        for line, text in enumerate(source.splitlines(), 1):
            if match := SHAPES.search(text):
                self.comments[module.__name__, line] = match[1]
        self.name = module.__name__
        tree = ast.fix_missing_locations(self.visit(ast.parse(source)))
        copy = ModuleType(self.name)
        copy.__dict__["_shape"] = self
        exec(compile(tree, str(module.__file__), "exec"), copy.__dict__)
        return copy

    def visit_Assign(self, node: Any) -> Any:
        place = self.name, node.end_lineno
        if place in self.comments:
            self.wrapped.add(place)
            node.value = ast.Call(ast.Name("_shape", ast.Load()), [ast.Constant(place), node.value], [])
        return node

    visit_Return = visit_Assign

    def __call__(self, place: tuple[str, int], value: Any) -> Any:
        self.run.add(place)
        names = {"__builtins__": {}, **self.sizes}
        wanted = eval(f"({self.comments[place]},)", names)
        found = tuple(v.shape for v in value) if isinstance(value, tuple) else (value.shape,)
        agree = len(wanted) == len(found) and all(map(fits, found, wanted))
        assert agree, f"{place}: says {self.comments[place]}, is {found}"
        return value


def fits(shape: tuple, wanted: tuple) -> bool:
    return shape[-len(wanted) + 1 :] == wanted[1:] if wanted[0] is ... else shape == wanted


@pytest.fixture
def comments(monkeypatch: pytest.MonkeyPatch) -> Comments:
    """The files of the model with their comments checked, in sys.modules for as long as the test runs."""
    checker = Comments()
    for module in (llm.model.attention, llm.model.mlp, llm.model.gpt):
        copy = checker.load(module, Path(str(module.__file__)).read_text())
        monkeypatch.setitem(sys.modules, module.__name__, copy)
    return checker


def exercise(checker: Comments, config: GPTConfig) -> None:
    """A loss, and logits in three calls with a cache."""
    model, ids = sys.modules["llm.model.gpt"].GPT(config), token_ids(np.random.default_rng(0), 2, 9)
    checker.sizes = SIZES | {"T": 9, "S": 9}
    model.loss(ids, ids).backward()
    model.eval()
    cache = KVCache(config)
    with no_grad():
        for begin, end in ((0, 5), (5, 8), (8, 9)):
            checker.sizes = SIZES | {"T": end - begin, "S": end}
            model(ids[:, begin:end], cache=cache)


def test_shape_comments_are_true_and_all_have_run(comments: Comments) -> None:
    exercise(comments, GPTConfig(**CONFIG))
    exercise(comments, GPTConfig(**CONFIG, positions="rope", mlp="swiglu", qk_norm=True, tied_head=False, soft_cap=3.0))
    assert comments.run == comments.wrapped == set(comments.comments)
    assert len(comments.run) > 10


def test_a_wrong_comment_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Path(str(llm.model.mlp.__file__)).read_text()
    assert "# (B, T, F)" in source
    checker = Comments()
    copy = checker.load(llm.model.mlp, source.replace("# (B, T, F)", "# (B, T, C)"))
    monkeypatch.setitem(sys.modules, "llm.model.mlp", copy)
    monkeypatch.setitem(
        sys.modules, "llm.model.gpt", checker.load(llm.model.gpt, Path(str(llm.model.gpt.__file__)).read_text())
    )
    with pytest.raises(AssertionError, match=r"says \(B, T, C\), is \(\(2, 9, 28\),\)"):
        exercise(checker, GPTConfig(**CONFIG))


WRONG = [
    ({"ids": np.zeros(3, dtype=int)}, "ids must be integers of shape .* ids\\[None\\]"),
    ({"ids": np.zeros((1, 3))}, "ids must be integers"),
    ({"ids": np.full((1, 3), 13)}, "id 13 is outside a vocabulary of 13"),
    ({"ids": np.zeros((1, 17), dtype=int)}, "the text has 17 tokens and the model has learned 16 positions"),
    ({"positions": np.arange(3) + 14}, "the text has 17 tokens"),
    ({"positions": np.array([0, -2, 1])}, "the smallest given is -2"),
    ({"positions": np.zeros(3)}, "positions must be integers of at least 0"),
    ({"positions": np.arange(4)}, r"positions must be integers of at least 0, .* \(3,\); got int64 of shape \(4,\)"),
    ({"mask": np.ones((1, 4), dtype=bool)}, r"mask must be booleans.*\(1, 3\), or \(3,\); got bool of shape \(1, 4\)"),
    ({"mask": np.ones((1, 3))}, "mask must be booleans.*got float64"),
    (
        {"documents": np.ones((2,), dtype=int)},
        r"documents must be integers.*\(1, 3\), or \(3,\); got int64 of shape \(2,\)",
    ),
]


@pytest.mark.parametrize(("options", "words"), WRONG, ids=[words[:30] for _, words in WRONG])
def test_what_the_model_cannot_take_is_said(options: dict, words: str) -> None:
    model = GPT(GPTConfig(**CONFIG))
    with pytest.raises((ValueError, IndexError), match=words):
        model(**{"ids": np.zeros((1, 3), dtype=int)} | options)


def test_texts_longer_than_the_context_are_no_error_without_learned_positions() -> None:
    for positions in ("rope", "alibi", "sinusoidal", "none"):
        config = GPTConfig(**CONFIG, positions=positions)
        assert GPT(config)(np.zeros((1, 40), dtype=int)).shape == (1, 40, 13)
