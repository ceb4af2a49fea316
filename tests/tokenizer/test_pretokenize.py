"""Text to words: nothing is lost, whatever the pattern, and the named patterns cut where they should."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizer.split.pretokenizer import ASCII_SPACES, PATTERNS, Pretokenizer, ascii_pattern, well_formed

# Characters at the borders of the classes of the patterns, and any others.
AWKWARD = st.text(st.sampled_from("aZé日1٣ '\n\r\t\u00a0\u2028\x1c\x85ſs😀\u0301.!_") | st.characters(), max_size=40)
ASCII = st.text("aZsS1' \n\r\t\x0b\x1c.!_/", max_size=20) | st.text(st.characters(codec="ascii"))
UNUSUAL_PATTERNS = [r"[a-z]+", r"\d*", r"(a)(b)?", r"(?=x)", r"\s|(?<=a)b"]


@pytest.mark.parametrize("pattern", [*PATTERNS, *UNUSUAL_PATTERNS])
@given(text=AWKWARD)
def test_words_joined_are_the_text(pattern: str, text: str) -> None:
    words = Pretokenizer(pattern).split(text)
    assert "".join(words) == text
    assert all(words)


def check_ascii(translate: Callable[[str], Any]) -> None:
    @settings(max_examples=20 * settings().max_examples)
    @given(st.sampled_from(sorted(PATTERNS.values())), ASCII)
    def equals_the_expression(expression: str, text: str) -> None:
        assert translate(expression).findall(text) == regex.compile(expression).findall(text)

    equals_the_expression()


def test_ascii_patterns_find_the_same_words() -> None:
    check_ascii(ascii_pattern)


@pytest.mark.control
def test_a_translation_that_leaves_white_space_to_re_is_caught() -> None:
    with pytest.raises(AssertionError):
        check_ascii(lambda expression: re.compile(ascii_pattern(expression).pattern.replace(ASCII_SPACES, r"\s")))


@pytest.mark.parametrize(
    ("pattern", "text", "words"),
    [
        ("gpt2", "I'll go, it's 12345!", ["I", "'ll", " go", ",", " it", "'s", " 12345", "!"]),
        ("gpt4", "I'LLgo, it's 12345!", ["I", "'LL", "go", ",", " it", "'s", " ", "123", "45", "!"]),
        ("gpt4", "a'ſb", ["a", "'ſ", "b"]),  # the long s is an s where case does not matter
        ("gpt2", "a   b \n", ["a", "  ", " b", " \n"]),
        ("gpt4", "f(x):\n\n  y ", ["f", "(x", "):\n\n", " ", " y", " "]),
        ("gpt4", "a \n  \n b  ", ["a", " \n  \n", " b", "  "]),
        ("gpt4", "a \n  ", ["a", " \n  "]),  # white space at the very end stays whole, as in tiktoken
        ("[a-z]+", "12ab-cd", ["12", "ab", "-", "cd"]),
        ("(a)(b)?", "abba", ["ab", "b", "a"]),
    ],
)
def test_known_splits(pattern: str, text: str, words: list[str]) -> None:
    assert Pretokenizer(pattern).split(text) == words


def test_a_named_pattern_keeps_its_name_when_given_as_an_expression() -> None:
    assert Pretokenizer(PATTERNS["gpt2"]).pattern == "gpt2"


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("gpt5", "no pattern is called 'gpt5'"),
        ("[a-", "is not a regular expression"),
        (r"\p{N}{1,3}+|.", "reads differently"),  # possessive here, not for Oniguruma
        (r"(?s:.)", "reads differently"),
    ],
)
def test_an_ambiguous_or_unknown_pattern_is_refused(pattern: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Pretokenizer(pattern)


@given(st.text(st.characters(categories=["Cs"]) | st.sampled_from("a\U0001f600"), max_size=8))
def test_well_formed_text_has_a_utf8_form_and_keeps_all_but_surrogates(text: str) -> None:
    result = well_formed(text)
    result.encode()
    assert well_formed(result) == result
    if not any("\ud800" <= character <= "\udfff" for character in text):
        assert result is text


def test_surrogates_are_read_as_utf16() -> None:
    assert well_formed("a\ud83d\ude00b\ud83d") == "a😀b\ufffd"


def test_bytes_are_refused() -> None:
    with pytest.raises(TypeError, match="a text is a str, not bytes"):
        well_formed(b"a")  # type: ignore[arg-type]
