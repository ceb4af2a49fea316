"""Thousands of added tokens are found as their definition says, and cost a text no more than a few."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import islice
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.tokenizer.helpers import byte_pairs, model_file, pieces
from tokenizer import AddedToken, BaseTokenizer, Tokenizer
from tokenizer.formats import sentencepiece
from tokenizer.text import special_tokens
from tokenizer.text.name_search import MAX_STARTS, NameSearch

# Few letters, so that names begin with others; and characters that mean something to a regular expression.
names = st.sets(
    st.text("ab", min_size=1, max_size=4) | st.text("a<|]^-\\ \né😀", min_size=1, max_size=3), max_size=MAX_STARTS + 4
)


def longest_names(text: str, names: set[str]) -> list[tuple[int, int]]:
    """The definition: from left to right, the longest name that begins at a position."""
    found, i = [], 0
    while i < len(text):
        length = max((len(name) for name in names if text.startswith(name, i)), default=0)
        if length:
            found.append((i, i + length))
        i += length or 1
    return found


def texts_with(names: set[str]) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from([*sorted(names), *"ab<|]^-\\ \né😀"]), max_size=12).map("".join)


def check_search(search: Callable[[set[str]], Any]) -> None:
    @given(names.flatmap(lambda names: st.tuples(st.just(names), texts_with(names))))
    @example(({"a", "ab"}, "ab a"))  # a name that begins with another, and a name of one character
    def equals_the_definition(names_and_text: tuple[set[str], str]) -> None:
        names, text = names_and_text
        assert list(search(names).find_all(text)) == longest_names(text, names)

    equals_the_definition()


def test_the_longest_name_is_found_at_each_position() -> None:
    check_search(NameSearch)


@pytest.mark.control
@pytest.mark.parametrize("fault", ["shortest first", "two characters needed"])
def test_a_wrong_search_is_caught(fault: str) -> None:
    class Wrong(NameSearch):
        def __init__(self, names: set[str]):
            super().__init__(names)
            for lengths in self._lengths.values():
                lengths.sort(reverse=fault != "shortest first")
            if fault == "two characters needed":
                self._lengths = {start: lengths for start, lengths in self._lengths.items() if len(start) == 2}

    with pytest.raises(AssertionError):
        check_search(Wrong)


def with_many_tokens(count: int) -> Tokenizer:
    trained = Tokenizer.train(["low lower lowest"], 260)
    added = [AddedToken(f"<unused{i}>", 260 + i, special=i % 2 == 0) for i in range(count)]
    return byte_pairs([*trained.tokens, *(token.content.encode() for token in added)], trained.merges, added)


def with_many_pieces(count: int) -> BaseTokenizer:
    user_defined = [(f"<unused{i}>", 0.0, 4) for i in range(count)]
    return BaseTokenizer.of(sentencepiece.parse(model_file([*pieces(), *user_defined])))


CALLS: dict[str, Callable[[Any, str], object]] = {
    "default": lambda tokenizer, text: tokenizer.encode(text),
    "all allowed": lambda tokenizer, text: tokenizer.encode(text, allowed_special="all"),
    "a few allowed": lambda tokenizer, text: tokenizer.encode(text, allowed_special=[*islice(tokenizer._added.ids, 2)]),
    "a few refused": lambda tokenizer, text: tokenizer.encode(text, disallowed_special=["<unused2>"]),
    "ordinary": lambda tokenizer, text: tokenizer.encode_ordinary(text),
    "bytes": lambda tokenizer, text: tokenizer.encode_bytes(text.encode()),
    "offsets": lambda tokenizer, text: tokenizer.encode_with_offsets(text),
    "decode": lambda tokenizer, text: tokenizer.decode([70, 71, 72], skip_special_tokens=True),
}


def best_time(function: Callable[[], object]) -> float:
    times = []
    for _ in range(30):
        began = time.perf_counter()
        for _ in range(10):
            function()
        times.append(time.perf_counter() - began)
    return min(times)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
@pytest.mark.parametrize("make", [with_many_tokens, with_many_pieces])
def test_a_text_costs_no_more_with_6000_added_tokens_than_with_10(make: Callable, call: Callable) -> None:
    few, many = make(10), make(6000)
    # The same work takes the same time. Before, the sets of names that each text built took 50 to 200 times as long.
    assert best_time(lambda: call(many, "low <b>")) < 5 * best_time(lambda: call(few, "low <b>"))


def test_choices_of_special_tokens_are_kept_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(special_tokens, "MAX_CHOICES", 4)
    tokenizer = with_many_tokens(20)
    monkeypatch.setattr(special_tokens, "NameSearch", lambda names: made.append(1) or NameSearch(names))
    for allowed in [*([name] for name in tokenizer.special_tokens), [], "all"] * 2:
        assert tokenizer.encode("<unused0>", allowed_special=allowed, disallowed_special=()) == (
            [260] if allowed in ("all", ["<unused0>"]) else tokenizer.encode_ordinary("<unused0>")
        )
        assert len(tokenizer._added._choices) <= 4
    before = len(made)
    for allowed in ([], (), set(), frozenset(), {}):  # one choice, whatever its type
        tokenizer.encode("low", allowed_special=allowed)
    assert len(made) - before <= 3


def test_names_that_cannot_be_are_refused() -> None:
    tokenizer = with_many_tokens(3)
    with pytest.raises(ValueError, match="at least one character, not ''"):
        tokenizer.encode("a", disallowed_special=[""])
    with pytest.raises(ValueError, match="'<unused1>' is not a special token of this tokenizer, which has '<unused0>'"):
        tokenizer.encode("a", allowed_special=["<unused1>"])
