"""Regular expressions of strangers end in time, lose no text, and mean the same in other libraries, or are refused."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tokenizer.helpers import TEXT
from tokenizer import FormatError, Tokenizer, load
from tokenizer.formats import tokenizer_json
from tokenizer.split import custom_pattern
from tokenizer.split.pretokenizer import Pretokenizer, PretokenizerSequence

DOCUMENT = json.loads(tokenizer_json.serialize(Tokenizer.train([TEXT], 280).record))

# What it is, and what the error names.
REFUSED = [
    ("(?r)a|b", r"contains '\(\?r"),  # reverses the text
    ("(?i)(?r)a", r"contains '\(\?r"),
    ("a(?ri:b)", r"contains '\(\?ri"),
    ("(?R)*|a", r"contains '\(\?R"),  # recursion takes all memory
    ("(a(?1)?b)", r"contains '\(\?1"),
    ("(?<x>a(?&x)?)", r"contains '\(\?&x"),
    ("(?P<x>a(?P>x)?)", r"contains '\(\?P"),
    ("(a)?(?(1)b|c)", r"contains '\(\?"),
    ("(?|(a)|(b))", r"contains '\(\?\|"),
    ("a(*SKIP)b", r"contains '\(\*SKIP"),
    ("(?:cat){e<=1}", "contains '{e<=1}'"),  # a match with errors
    ("(?:cat){i<=1,d<=2}", "contains '{i<=1,d<=2}'"),
    ("(?x) a", r"contains '\(\?x"),
    ("(?a:\\w)", r"contains '\(\?a"),
    ("(?V1)[[a]--[b]]", r"contains '\(\?V1"),
    ("(?s:.)", "reads differently"),
    ("(?im)^a", "reads differently"),
    (r"\d{1,3}+", "reads differently"),
    ("(" * 3000, "more than 50 groups within one another"),
    ("(?:" * 60 + "a" + ")" * 60, "more than 50 groups within one another"),
    ("a{1000000000}", r"counts such as \{1000000000\} that repeat too much"),  # would be compiled letter by letter
    ("(?i:ab{3000000,})", "repeat too much"),
    ("(?:(?:a{1000}){1000,}?){1000,2000}", "repeat too much"),
    ("a{" + "9" * 5000 + "}", "repeat too much"),
    ("[ab]|" * 5000, "has 25000 characters: at most 10000"),
    ("a{1,99999999999999999999}", "is not a regular expression"),
    ("(?<=a*?(b", "is not a regular expression"),
]
SLOW = [r"(a|a)*b|[\s\S]", r"(a*)*b|a", r"(?:a|a)+$|a", r"(?:a?){30}a{30}b|.", r"((a|aa)+)+c|a"]


@pytest.mark.parametrize(("pattern", "message"), REFUSED, ids=lambda value: value[:20])
def test_what_is_not_usual_in_tokenizers_is_refused(pattern: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        Pretokenizer(pattern)
    assert len(str(caught.value)) < 400
    with pytest.raises(FormatError, match="asks for a split that is not supported"):
        load(file_with(tmp_path, pattern))


@pytest.mark.parametrize(
    "pattern", [r"[(?r)(*{e}]+", r"\(\?r\)|.", r"\{e\}|.", r"(?i)a|b", r"(?i:'s)|(?=b)b|(?<!c)d", "(?>a+)b"]
)
def test_what_only_looks_like_it_is_not_refused(pattern: str) -> None:
    text = "(?r){e}(*abAB's b d cd aab"
    assert "".join(Pretokenizer(pattern).split(text)) == text


def file_with(folder: Path, *patterns: str) -> Path:
    steps = [{"type": "Split", "pattern": {"Regex": p}, "behavior": "Isolated", "invert": False} for p in patterns]
    byte_level = DOCUMENT["pre_tokenizer"]["pretokenizers"][-1]
    document = DOCUMENT | {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [*steps, byte_level]}}
    (folder / "tokenizer.json").write_text(json.dumps(document))
    return folder


@pytest.mark.parametrize("pattern", SLOW)
def test_a_search_that_does_not_end_is_an_error(pattern: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(custom_pattern, "SECONDS", 0.2)
    tokenizer, text = load(file_with(tmp_path, pattern)), "a" * 60
    for encode in (tokenizer.encode, tokenizer.encode_array, lambda text: tokenizer.encode_batch([text, text])):
        start = time.process_time()
        with suppress(ValueError):  # some of them end quickly: `regex` knows tricks
            encode(text)  # type: ignore[operator]
        assert time.process_time() - start < 5, "0.2 seconds, with room for a busy machine"


def test_the_error_says_what_took_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(custom_pattern, "SECONDS", 0.05)
    with pytest.raises(ValueError, match=r"the pattern '\(a\|a\)\*b\|c' takes too much time or memory for this text"):
        Pretokenizer("(a|a)*b|c").split("a" * 60)


def test_the_limit_is_for_all_words_of_a_step_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each word alone is within the limit."""
    monkeypatch.setattr(custom_pattern, "SECONDS", 0.1)
    split = PretokenizerSequence([r"\d", "(a|a)*b|[a]"]).split
    start = time.process_time()
    with pytest.raises(ValueError, match="too much time"):
        split(("a" * 16 + "1") * 2_000)
    assert time.process_time() - start < 5


fragments = st.sampled_from(
    ["a", "b", r"\s", r"\p{L}", "[^ab]", "[a-c]", ".", "|", "|", "*", "+", "?", "{2,3}", "*?", "++", "(?:", "(", ")"]
    + ["(?i)", "(?r)", "(?R)", r"\K", r"\b", "^", "$", "(?=", "(?<!", r"\1", "{e<=1}", "(?|", r"\G", "(?>"]
)


@given(st.lists(fragments, max_size=10).map("".join), st.text("ab cAé\n", max_size=30))
def test_words_joined_are_the_text_or_the_pattern_is_refused(pattern: str, text: str) -> None:
    try:
        pretokenizer: Any = Pretokenizer(pattern)
    except ValueError:
        return
    words = pretokenizer.split(text)
    assert "".join(words) == text
    assert all(words)
    position = 0
    for word in words:  # in order, as they are in the text
        assert text[position : position + len(word)] == word
        position += len(word)
