"""The shape comments tell the truth, and input that the model cannot take is met by a sentence.

The files of the model are run with every commented statement, such as `x = self.embedding(ids)    # (B, T, C)`, turned
into `x = _check_shape(line, self.embedding(ids))`, which compares the shape of the value with the comment.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np
import pytest

import llm.model.attention
import llm.model.block
import llm.model.experts
import llm.model.gpt
import llm.model.masks
import llm.model.mlp
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.model.kv_cache import KVCache
from minigrad import no_grad
from tests.llm.gpts import token_ids

SHAPES = re.compile(r" # (\((?:[^#()]|\([^#()]*\))*\)(?:, \([^#]*\))*)$")
SIZES = {"B": 2, "T": 5, "C": 24, "H": 4, "K": 2, "D": 10, "F": 28, "V": 13, "E": 5, "k": 2, "layers": 1}
# fmt: off
CONFIG: dict[str, Any] = {"vocab_size": 13, "context": 16, "layers": 1, "heads": 4, "kv_heads": 2, "dim": 24,
                          "head_dim": 10, "mlp_dim": 28}
# fmt: on
# Each imports only files before it.
FILES = (
    llm.model.mlp,
    llm.model.experts,
    llm.model.masks,
    llm.model.attention,
    llm.model.block,
    llm.model.gpt,
)  # fmt: skip
Line = tuple[str, int]  # the name of a module, and the number of a line


class ShapeChecker(ast.NodeTransformer):
    """Wraps the values of statements that end with a shape comment in calls of itself, and remembers which have run."""

    def __init__(self) -> None:
        self.comments: dict[Line, str] = {}
        self.wrapped: set[Line] = set()
        self.run: set[Line] = set()
        self.sizes = dict(SIZES)

    def load(self, module: ModuleType, source: str) -> ModuleType:
        """A copy of the module from this source, in which comments are checked."""
        for line, text in enumerate(source.splitlines(), 1):
            if match := SHAPES.search(text):
                self.comments[module.__name__, line] = match[1]
        self.name = module.__name__
        tree = ast.fix_missing_locations(self.visit(ast.parse(source)))
        copy = ModuleType(self.name)
        copy.__dict__["_check_shape"] = self
        exec(compile(tree, str(module.__file__), "exec"), copy.__dict__)
        return copy

    def visit_Assign(self, node: Any) -> Any:
        line = self.name, node.end_lineno
        if line in self.comments:
            self.wrapped.add(line)
            node.value = ast.Call(ast.Name("_check_shape", ast.Load()), [ast.Constant(cast(Any, line)), node.value], [])
        return node

    visit_Return = visit_Assign

    def __call__(self, line: Line, value: Any) -> Any:
        self.run.add(line)
        sizes = {**self.sizes, "N": self.sizes["B"] * self.sizes["T"]}
        expected = eval(f"({self.comments[line]},)", {"__builtins__": {}, **sizes})
        if value is None:  # as the comment says, or a choice without such an array
            return value
        found = tuple(v.shape for v in value) if isinstance(value, tuple) else (value.shape,)
        agree = len(expected) == len(found) and all(map(fits, found, expected))
        assert agree, f"{line}: says {self.comments[line]}, is {found}"
        return value


def fits(shape: tuple, expected: tuple) -> bool:
    return shape[-len(expected) + 1 :] == expected[1:] if expected[0] is ... else shape == expected


def source_of(module: ModuleType) -> str:
    return Path(str(module.__file__)).read_text()


@pytest.fixture
def checker(monkeypatch: pytest.MonkeyPatch) -> ShapeChecker:
    """The files of the model are in sys.modules with their comments checked, for as long as the test runs."""
    checker = ShapeChecker()
    for module in FILES:
        monkeypatch.setitem(sys.modules, module.__name__, checker.load(module, source_of(module)))
    return checker


def exercise(checker: ShapeChecker, config: GPTConfig) -> None:
    """Run a loss, a loss of packed documents, and three calls with a cache."""
    model, ids = sys.modules["llm.model.gpt"].GPT(config), token_ids(np.random.default_rng(0), 2, 9)
    checker.sizes = SIZES | {"T": 9, "S": 9}
    model.loss(ids, ids).backward()
    model.loss(ids, ids, documents=np.arange(9) // 4).backward()
    model.recompute = True
    model.loss(ids, ids, mask=np.arange(9) > 0).backward()
    model.eval()
    cache = KVCache(config)
    with no_grad():
        for begin, end in ((0, 5), (5, 8), (8, 9)):
            checker.sizes = SIZES | {"T": end - begin, "S": end}
            model(ids[:, begin:end], cache=cache)


def test_shape_comments_are_true_and_all_have_run(checker: ShapeChecker) -> None:
    exercise(checker, GPTConfig(**CONFIG))
    exercise(checker, GPTConfig(**CONFIG, positions="rope", mlp="swiglu", qk_norm=True, tied_head=False, soft_cap=3.0))
    exercise(checker, GPTConfig(**CONFIG, positions="alibi", window=3))
    exercise(checker, GPTConfig(**CONFIG, qk_norm=True, qk_norm_all=True))
    exercise(checker, GPTConfig(**CONFIG, experts=5, experts_per_token=2, balance_loss=0.1))
    assert checker.run == checker.wrapped == set(checker.comments)
    assert len(checker.run) > 20


@pytest.mark.control
def test_a_wrong_comment_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    right, wrong, checker = "  # (..., F)", "  # (..., C)", ShapeChecker()
    assert right in source_of(llm.model.mlp)
    mlp = checker.load(llm.model.mlp, source_of(llm.model.mlp).replace(right, wrong))
    monkeypatch.setitem(sys.modules, "llm.model.mlp", mlp)
    for module in (llm.model.block, llm.model.gpt):
        monkeypatch.setitem(sys.modules, module.__name__, checker.load(module, source_of(module)))
    with pytest.raises(AssertionError, match=r"says \(..., C\), is \(\(2, 9, 28\),\)"):
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
    ({"documents": np.ones((2,), dtype=int)}, r"documents must be integers.*, or \(3,\); got int64 of shape \(2,\)"),
]


@pytest.mark.parametrize(("options", "words"), WRONG, ids=[words[:30] for _, words in WRONG])
def test_what_the_model_cannot_take_is_met_by_a_sentence(options: dict, words: str) -> None:
    model = GPT(GPTConfig(**CONFIG))
    with pytest.raises((ValueError, IndexError), match=words):
        model(**{"ids": np.zeros((1, 3), dtype=int)} | options)


def test_texts_longer_than_the_context_are_no_error_without_learned_positions() -> None:
    for positions in ("rope", "alibi", "sinusoidal", "none"):
        config = GPTConfig(**CONFIG, positions=positions)
        assert GPT(config)(np.zeros((1, 40), dtype=int)).shape == (1, 40, 13)
