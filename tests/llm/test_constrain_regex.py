"""Regular expressions as automata over bytes: the same language as Python's `re`, in bounded time and memory."""

from __future__ import annotations

import re
import time
import tracemalloc
from codecs import getincrementaldecoder
from itertools import product

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llm.inference.constrain import Constraint, PatternError, automaton, code_points
from llm.inference.constrain.expressions import NOTHING, characters, has_no_gaps, literal, repeat
from llm.inference.constrain.regex import parse, parse_search
from llm.inference.constrain.utf8 import as_bytes
from tests.llm.constraints import LETTERS, accepts, patterns, text_near, whole_texts, write
from tests.llm.gpts import SEEDS
from tokenizer import END_OF_TEXT, Tokenizer

BYTES = Tokenizer.train(["aabab --]]^ é日😀"], 270, [END_OF_TEXT])


@given(patterns(classes=False), st.lists(st.text(LETTERS, max_size=6), max_size=5), SEEDS)
def test_a_pattern_matches_what_re_fullmatch_matches(pattern: str, texts: list[str], seed: int) -> None:
    expression = parse(pattern)
    if expression is not NOTHING:  # texts that match, and texts that differ from these by one character
        matching = whole_texts(Constraint(expression, BYTES), BYTES, seed, most_tokens=12)
        texts = [*texts, *matching, *(text_near(text, seed) for text in matching)]
    for text in texts:
        assert accepts(expression, text) == bool(re.fullmatch(pattern, text)), text


@given(st.data(), patterns())
def test_classes_match_in_ascii_what_re_matches(data: st.DataObject, pattern: str) -> None:
    ascii_letters = st.characters(max_codepoint=127)
    text = data.draw(st.text(st.sampled_from("ab1_ -\n") | ascii_letters, max_size=5))
    # Within sets such as [^\D] too.
    assert accepts(parse(pattern), text) == bool(re.fullmatch(pattern, text))


@given(patterns(), SEEDS)
def test_what_is_written_matches_in_every_dialect(pattern: str, seed: int) -> None:
    try:
        constraint = Constraint.from_regex(pattern, BYTES)
    except PatternError:
        assert parse(pattern) is NOTHING
        return
    for text in whole_texts(constraint, BYTES, seed):
        assert re.fullmatch(pattern, text)
        assert re.fullmatch(pattern, text, re.ASCII)


@given(st.data(), patterns(classes=False))
def test_a_pattern_is_found_where_re_search_finds_it(data: st.DataObject, pattern: str) -> None:
    anchored = data.draw(st.sampled_from([pattern, f"^(?:{pattern})", f"(?:{pattern})$", f"^(?:{pattern})$|^b"]))
    text = data.draw(st.text(LETTERS.replace("\n", ""), max_size=4))  # `$` of Python also matches before a last newline
    assert accepts(parse_search(anchored), text) == bool(re.search(anchored, text))


@given(
    st.lists(st.tuples(st.integers(0, 0x10FFFF), st.integers(0, 0x10FFFF)).map(sorted).map(tuple), max_size=3),
    st.data(),
)
def test_a_set_of_characters_is_the_set_of_their_bytes(ranges: list, data: st.DataObject) -> None:
    valid = characters(ranges)
    edges = [c + d for pair in [*ranges, (0x7F, 0x7FF), (0xD7FF, 0xFFFF)] for c in pair for d in (-1, 0, 1)]
    for c in [*edges, data.draw(st.integers(0, 0x10FFFF))]:
        if 0 <= c <= 0x10FFFF and not 0xD800 <= c <= 0xDFFF:
            is_in = any(first <= c <= last for first, last in ranges)
            assert accepts(valid, chr(c)) == is_in
            assert valid is NOTHING or accepts(as_bytes(valid.ranges), chr(c)) == is_in  # type: ignore[attr-defined]


@given(st.binary(max_size=5))
@example(b"\xed\xa0\x80")  # a surrogate
@example(b"\xc0\x80")  # a character with more bytes than it needs
@example(b"\xf4\x90\x80\x80")  # beyond the last character
def test_only_utf8_is_text(data: bytes) -> None:
    a = automaton.Automaton(parse(r"[\x00-\U0010ffff]*"))
    a.begin()
    state = a.start
    for byte in data:
        state = a.next_state(state, byte)
    # The beginning of a character is not dead: it may still become one.
    assert bool(state) == is_beginning_of_utf8(data)
    assert a.matches(state) == (is_beginning_of_utf8(data) and data.decode(errors="ignore").encode() == data)


def is_beginning_of_utf8(data: bytes) -> bool:
    try:
        getincrementaldecoder("utf-8")().decode(data)
    except UnicodeDecodeError:
        return False
    return True


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=3), st.integers(0, 30))
def test_repetitions_of_repetitions(pairs: list[tuple[int, int]], count: int) -> None:
    nested, expected = literal("a"), "a"
    for low, more in pairs:
        nested, expected = repeat(nested, low, low + more), f"(?:{expected}){{{low},{low + more}}}"
    assert accepts(nested, "a" * count) == bool(re.fullmatch(expected, "a" * count))


def test_repetitions_are_joined_only_if_all_numbers_between_are_possible() -> None:
    for inner_low, inner_high, low, high in product(range(5), repeat=4):
        if inner_low <= inner_high and low <= high:
            possible = {n for k in range(low, high + 1) for n in range(k * inner_low, k * inner_high + 1)}
            all_between = len(possible) == max(possible) - min(possible) + 1
            assert not has_no_gaps(inner_low, inner_high, low, high) or all_between


@pytest.mark.parametrize(
    ("pattern", "problem", "at"),
    [
        ("a(?=b)", "lookahead", 1),
        ("(?!b)", "lookahead", 0),
        ("ab(?<=b)", "lookbehind", 2),
        (r"(a)\1", "reference", 3),
        ("(?P<x>a)(?P=x)", "reference", 8),
        (r"\bword", "border of a word", 0),
        ("(?i)a", "flag", 0),
        ("(?>a)", "atomic", 0),
        ("a++", "possessive", 2),
        ("a**", "repetition of a repetition", 2),
        ("*a", "repetition of nothing", 0),
        (r"\p{L}", "Unicode property", 0),
        ("a^b", "anchor", 1),
        ("a$b", "anchor", 1),
        ("(^a)", "anchor", 1),
        ("a(b", "( without its )", 1),
        ("ab)", ") without its (", 2),
        ("[ab", "[ without its ]", 0),
        ("[b-a]", "range", 1),
        (r"[a-\d]", "range", 1),
        ("a{3,2}", "maximum below its minimum", 1),
        ("a{9999999}", "repetitions", 1),
        ("a{" + "9" * 10_000 + "}", "repetitions", 1),
        ("ab\\", "escape", 2),
        (r"\x4", "number of a character", 0),
        (r"\U00110000", "number of a character", 0),
        ("(" * 500 + ")" * 500, "groups within one another", 51),
    ],
)
def test_what_is_not_supported_is_named_with_its_place(pattern: str, problem: str, at: int) -> None:
    with pytest.raises(PatternError, match=re.escape(problem)) as error:
        parse(pattern)
    assert str(error.value).endswith(f"at character {at}")
    assert len(str(error.value)) < 200


def test_a_very_long_pattern_is_refused() -> None:
    with pytest.raises(PatternError, match="at most"):
        parse("a" * 1_000_000)


HOSTILE = ["(a{1000}){1000}", "(a*)*" * 50, "((a{0,1000}b{0,1000}){0,1000}c?){0,1000}", "(a|b)*a(a|b){1000}"]
HOSTILE += [
    "(a?){1000}" * 10,
    "(" * 50 + "a" + "b?c)*" * 50,
    "|".join("a" * n for n in range(190)),
    ".*a.{300}",
    "a?" * 2000,
]
HOSTILE += ["(a|aa|aaa|b?a){0,1000}" * 3, "(.*){1000}(.*a.*){1000}", "[^a]{0,1000000}"]


# To trace the memory makes this one slow: it is refused after as much work as a mask may take.
hostile = [pytest.param(p, marks=pytest.mark.slow if p.startswith("a?a?") else ()) for p in HOSTILE]


@pytest.mark.parametrize("pattern", hostile, ids=range(len(HOSTILE)))
def test_hostile_patterns_take_bounded_time_and_memory(pattern: str) -> None:
    """They are followed, or refused in a sentence."""
    tracemalloc.start()
    begin = time.perf_counter()
    assert follow(pattern) in ("", "too many states")
    seconds, (_, peak) = time.perf_counter() - begin, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < 60  # on an idle machine: below 5, and a third of that if memory is not traced
    assert peak < 100e6


def follow(pattern: str) -> str:
    """Draws up to 20 tokens; "", or why that was refused."""
    try:
        constraint = Constraint.from_regex(pattern, BYTES)
        write(constraint, np.random.default_rng(0), most_tokens=20)
    except PatternError as error:
        return "too many states" if "too many states" in str(error) else str(error)
    return ""


def test_a_million_repetitions_can_be_counted() -> None:
    constraint = Constraint.from_regex("(a{1000}){1000}", BYTES)
    (state,) = constraint.start().remaining
    a = automaton.Automaton(state)
    a.begin()
    remaining = a.start
    for _ in range(1000):
        remaining = a.next_state(remaining, ord("a"))
    assert remaining == {repeat(literal("a"), 999_000, 999_000)}


def test_the_memory_of_an_automaton_is_bounded() -> None:
    """States that are not needed are forgotten, and states that a caller holds are still good."""
    a = automaton.Automaton(parse("a{100000}"))
    state = a.start
    for _ in range(3 * automaton.KEPT_STATES):
        a.begin()
        number = a.after(np.array([a.number(state)]), np.array([ord("a")], np.uint8))[0]
        state = a._states[int(number)]
    assert len(a._states) <= automaton.KEPT_STATES + 2
    assert state == {repeat(literal("a"), *[100_000 - 3 * automaton.KEPT_STATES] * 2)}


def test_sets_of_ranges() -> None:
    full = code_points.complement(())
    assert code_points.complement(full) == ()
    assert code_points.union([(5, 9), (0, 4), (20, 30), (7, 8)]) == ((0, 9), (20, 30))


@pytest.mark.control
def test_a_wrong_language_is_noticed() -> None:
    """With greedy repetitions that end too early, `a*a` would match nothing."""
    assert accepts(parse("a*a"), "aaa") and not accepts(parse("a*ab"), "aaa")
    assert accepts(repeat(literal("ab"), 2, 3), "ab" * 3) and not accepts(repeat(literal("ab"), 2, 3), "ab" * 4)
