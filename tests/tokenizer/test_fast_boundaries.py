"""The vectorised search for words equals the regular expressions, on any text and however the text is cut."""

from __future__ import annotations

import unicodedata
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizer.split import unicode
from tokenizer.split.chunks import SEARCH_CHARACTERS, chunks, safe_cut
from tokenizer.split.pretokenizer import PATTERNS, Pretokenizer
from tokenizer.split.scanner import RULES, WordScanner
from tokenizer.split.unicode import CLASS_OF_LETTER
from tokenizer.split.unicode_table import VERSION
from tools.make_unicode_classes import class_letter

# All classes and the characters that patterns name, a few of each so that they meet; and small sets for long runs.
BORDERS = st.sampled_from("\0aAZé日1٣½ \n\r\t\u00a0\u2028\x1c\x85ſ😀\u0301\u0903.!_/'sSdDmMtTlLvVeErRǅʰ❤\ufe0f\udc80")
SMALL = ["aA日\u0301'.s /\n", "aA日\u0301 ", "'sSlL", "./\n\r\u0301a ", " \n\ta.1", "1a '", "❤\ufe0f a'"]
AWKWARD = st.one_of(
    st.text(BORDERS | st.characters(exclude_categories=["Cs"]), max_size=24),
    st.sampled_from(SMALL).flatmap(lambda letters: st.text(letters, max_size=16)),
)
EACH = pytest.mark.parametrize("expression", RULES, ids=["gpt2", "gpt4", "o200k", "llama3", "qwen2"])


def words(expression: str, text: str) -> list[bytes]:
    return words_of_each(expression, [text])[0] if text else []


def words_of_each(expression: str, texts: list[str]) -> list[list[bytes]]:
    found = WordScanner(Pretokenizer(expression)).words(texts)
    each = iter([found.data[start : start + length] for start, length in zip(found.starts, found.lengths)])
    return [list(islice(each, count)) for count in found.counts.tolist()]


def in_bytes(texts: list[str]) -> list[bytes]:
    return [text.encode("utf-8", "surrogateescape") for text in texts]


def check_words(expression: str, definition: str) -> None:
    split = Pretokenizer(definition).split

    @settings(max_examples=30 * settings().max_examples)
    @given(AWKWARD)
    def equals_the_expression(text: str) -> None:
        assert words(expression, text) == in_bytes(split(text))

    equals_the_expression()


@EACH
def test_words_are_those_of_the_expression(expression: str) -> None:
    check_words(expression, expression)


@EACH
@settings(max_examples=10 * settings().max_examples)
@given(texts=st.lists(AWKWARD.filter(bool), min_size=1, max_size=5))
def test_texts_scanned_together_have_the_same_words(expression: str, texts: list[str]) -> None:
    assert words_of_each(expression, texts) == [in_bytes(Pretokenizer(expression).split(text)) for text in texts]


@pytest.mark.parametrize("pair", [("gpt2", "gpt4"), ("gpt4", "o200k")])
@pytest.mark.control
def test_the_words_of_another_expression_are_caught(pair: tuple[str, str]) -> None:
    with pytest.raises(AssertionError):
        check_words(PATTERNS[pair[0]], PATTERNS[pair[1]])


def test_every_named_pattern_has_rules() -> None:
    assert set(PATTERNS.values()) <= set(RULES)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("helloWorld HTMLPage", ["hello", "World", " HTMLPage"]),
        ("日本ABC 日本Abc", ["日本", "ABC", " 日本Abc"]),
        ("it's 's's's", ["it's", " '", "s's", "'s"]),
        ("x);\n// y\n//z", ["x", ");\n//", " y", "\n", "//", "z"]),
        ("❤\ufe0f❤\ufe0f ❤\ufe0f!\ufe0f", ["❤\ufe0f", "❤\ufe0f", " ❤\ufe0f!\ufe0f"]),
    ],
)
def test_words_of_o200k_worked_out_by_hand(text: str, expected: list[str]) -> None:
    assert words(PATTERNS["o200k"], text) == in_bytes(expected)


# Cuts


@EACH
@settings(max_examples=10 * settings().max_examples)
@given(text=AWKWARD, data=st.data())
def test_words_do_not_depend_on_where_the_text_is_cut(expression: str, text: str, data: st.DataObject) -> None:
    size = data.draw(st.integers(1, max(1, len(text))))
    pieces = list(chunks(text, size))
    assert "".join(pieces) == text
    assert sum((words(expression, piece) for piece in pieces), []) == words(expression, text)


@given(st.integers(1, 2 * SEARCH_CHARACTERS))
def test_a_cut_is_found_however_far_away(length: int) -> None:
    assert safe_cut("a" * length + " b", 1) == length
    assert safe_cut("a" * length, 1) == length


# Unicode


def test_the_classes_are_those_of_this_python() -> None:
    """Python's Unicode may be older or newer. What is assigned in both has the same class, except for a few letters
    that have changed over the years (U+0295, say)."""
    letters = np.array([class_letter(chr(code)) for code in range(0x110000)])
    unassigned = np.array([unicodedata.category(chr(code)) in ("Cn", "Cs") for code in range(0x110000)])
    expected = np.select([letters == letter for letter in CLASS_OF_LETTER], list(CLASS_OF_LETTER.values()))
    expected[ord(" ")], expected[[10, 13]] = unicode.BLANK, unicode.NEWLINE
    table = unicode.class_table()
    older = unicodedata.unidata_version < VERSION
    known = ~unassigned if older else table != unicode.SYMBOL
    assert (expected != table)[known].sum() <= (0 if unicodedata.unidata_version == VERSION else 5)


def test_white_space_is_that_of_unicode() -> None:
    table = unicode.class_table()
    assert table[0x1C] == table[0x200B] == table[0x180E] == unicode.SYMBOL
    assert table[0x85] == table[0x3000] == table[0x0B] == unicode.SPACE
    assert (table >= unicode.NEWLINE).sum() == 25


def test_a_character_of_a_newer_unicode_is_a_symbol_in_both() -> None:
    """`regex` may know letters that the pinned version does not: they must not be part of a word of letters."""
    unassigned = "\u0558\u088f\u1c8b\U00011de0"
    text = f"ab{unassigned}cd"
    for expression in RULES:
        assert words(expression, text) == in_bytes(Pretokenizer(expression).split(text))
    assert Pretokenizer("gpt2").split(text) == ["ab", unassigned, "cd"]
