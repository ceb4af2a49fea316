"""The parts of a rendered conversation: the program that runs a template says where each message stands."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenizer import Tokenizer
from tokenizer.models.spans import encode_chat_with_spans, encode_with_spans
from tokenizer.text.chat_parts import ChatParts, read_notes
from tokenizer.text.chat_template import render, render_with_notes

pytest.importorskip("jinja2")
MARK = "\ue000"
LOOP = "{% for m in messages %}[{{ m.content }}]{% endfor %}"
TEMPLATES = {
    "a loop": "a" + LOOP + "b",
    "two loops": "{% for m in messages[::-1] %}{% endfor %}a{% for m in messages %}[{{ m.content }}]{% endfor %}b",
    "a loop over a part": "a[{{ messages[0].content }}]{% for m in messages[1:] %}[{{ m.content }}]{% endfor %}b",
    "a loop within": "{% for m in messages %}{% for c in m.content %}{{ c }}{% endfor %}.{% endfor %}",
    "a loop that is left": "{% for m in messages %}{% if loop.index > 1 %}x{% break %}{% endif %}[{{ m.content }}]"
    "{% endfor %}b",
    "a macro": "{% macro one(m) %}[{{ m.content }}]{% endmacro %}{% for m in messages %}{{ one(m) }}{% endfor %}b",
    "a text that is kept": "{% set text %}" + LOOP + "{% endset %}a{{ text }}b",
    "filtered messages": "{% for m in messages | selectattr('role', 'eq', 'user') %}[{{ m.content }}]{% endfor %}b",
    "a loop over numbers": "{% for i in range(messages | length) %}{% set m = messages[i] %}[{{ m.content }}]"
    "{% endfor %}b",
    "a loop that looks back": "{% for m in messages %}{% set before = messages[loop.index0 - 1] %}[{{ m.content }}]"
    "{% endfor %}b",
    "a message that writes the next": "{% for m in messages %}{% if loop.index0 != 1 %}[{{ m.content }}"
    "{% for i in range(loop.index0 + 1, [2, messages | length] | min) %}{% set m = messages[i] %}({{ m.content }})"
    "{% endfor %}]{% endif %}{% endfor %}",
    "generation": "{% for m in messages %}[{% generation %}{{ m.content }}{% endgeneration %}]{% endfor %}",
}


def parts_of(template: str, messages: list[dict]) -> ChatParts:
    return read_notes(render_with_notes({}, MARK, messages, template), MARK)


def chat(*contents: str) -> list[dict]:
    return [{"role": "user", "content": content} for content in contents]


@pytest.mark.parametrize("name", TEMPLATES)
@given(contents=st.lists(st.text("ab \n", max_size=3), min_size=1, max_size=3))
def test_notes_change_nothing_else(name: str, contents: list[str]) -> None:
    messages = chat(*contents)
    assert parts_of(TEMPLATES[name], messages).text == render(TEMPLATES[name], messages)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a loop", {0: "[x]", 1: "[x]", 2: "[yy]"}),
        ("two loops", {0: "[x]", 1: "[x]", 2: "[yy]"}),
        ("a loop over a part", {1: "[x]", 2: "[yy]"}),
        ("a loop within", {0: "x.", 1: "x.", 2: "yy."}),
        ("a loop that is left", {0: "[x]", 1: "x"}),
        ("a macro", {0: "[x]", 1: "[x]", 2: "[yy]"}),
        ("a text that is kept", {0: "[x]", 1: "[x]", 2: "[yy]"}),
        ("filtered messages", {0: "[x]", 1: "[x]", 2: "[yy]"}),
        ("a loop over numbers", {0: "[x]", 1: "[x]", 2: "[yy]"}),
        ("a loop that looks back", {0: "[x]", 1: "[x]", 2: "[yy]"}),
        ("a message that writes the next", {0: "[x]", 1: "(x)", 2: "[yy]"}),
        ("generation", {0: "[x]", 1: "[x]", 2: "[yy]"}),
    ],
)
def test_what_a_loop_writes_belongs_to_its_message(name: str, expected: dict[int, str]) -> None:
    """Also if two messages are equal. What stands before and after the loop belongs to none."""
    parts = parts_of(TEMPLATES[name], chat("x", "x", "yy"))
    assert {n: "".join(parts.text[a:b] for a, b in spans) for n, spans in parts.messages.items()} == expected


def test_generation_is_found() -> None:
    parts = parts_of(TEMPLATES["generation"], chat("x", "", "yy"))
    assert [parts.text[a:b] for a, b in parts.generated] == ["x", "", "yy"]
    assert parts.has_generation and not parts_of(LOOP, chat("x")).has_generation
    unused = "{% if false %}{% generation %}{% endgeneration %}{% endif %}" + LOOP
    assert parts_of(unused, chat("x")).has_generation


def test_messages_cannot_write_notes() -> None:
    """The mark is a character that is in none of them."""
    tokenizer = Tokenizer.train(["a"], 256)
    tokenizer.settings = {"chat_template": LOOP}
    for content in (MARK, f"{MARK}1{MARK}", "\ue001"):
        for allow_special in (False, True):
            _, _, parts = encode_chat_with_spans(tokenizer, chat(content, "b"), allow_special=allow_special)
            assert parts.text == f"[{content}][b]"
            assert parts.messages == {0: [(0, len(content) + 2)], 1: [(len(content) + 2, len(content) + 5)]}


def test_a_template_that_changes_what_it_has_made_is_refused() -> None:
    tokenizer = Tokenizer.train(["a"], 256)
    tokenizer.settings = {"chat_template": "{% set text %}" + LOOP + "{% endset %}{{ text | length }}"}
    with pytest.raises(ValueError, match="changes a text that it has made"):
        encode_chat_with_spans(tokenizer, chat("a"))


@given(st.text(max_size=10))
def test_spans_cover_the_text(text: str) -> None:
    tokenizer = Tokenizer.train(["the  cat sat on the mat\n\n"] * 3, 270)
    ids, spans = encode_with_spans(tokenizer, text)
    assert ids == tokenizer.encode(text)
    covered = {i for start, end in spans for i in range(start, end)}
    assert covered == set(range(len(text)))
