"""A chat template of a stranger ends in time and in memory, and whatever goes wrong in it is a ValueError."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenizer import Tokenizer
from tokenizer.text import chat_process, chat_sandbox
from tokenizer.text.chat_template import render

pytest.importorskip("jinja2")
CHAT = [{"role": "user", "content": "hi"}]

# Each fails in another way in Python: arithmetic, types, recursion, memory, size, or what Jinja2 itself cannot compile.
FAILING = [
    "{{ 1 // 0 }}",
    "{{ 1 % 0 }}",
    "{{ 10**400 * 1.5 }}",
    "{{ range(10**9) }}",
    "{{ messages[0].content + 1 }}",
    "{{ 'a'.encode('no such encoding') }}",
    "{{ strftime_now(5) }}",
    "{{ raise_exception() }}",
    "{{ no_function() }}",
    "{{ [1]|tojson(separators=5) }}",
    "{% include 'x' %}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
    "{% if 1 %}" * 300 + "{% endif %}" * 300,
    "{{ " + "1" * 6000 + " }}",
    "{{ 'a' * 10**10 }}",
    "{{ [0] * 10**10 }}",
    "{{ 'a'|center(10**10) }}",
    "{{ '%099999999999d' % 1 }}",
    "{{ (1).to_bytes(10**10) }}",
    "{% for i in range(99999) %}{{ 'x' * 1000 }}{% endfor %}",
]
ENDLESS = [
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "{{ (9**9) ** (9**9) }}",  # a single operation, which no other thread can interrupt
    "{% set n = namespace(s=[1]) %}{% for i in range(99) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ n.s }}",
]


@pytest.mark.parametrize("template", FAILING, ids=lambda template: template[:40])
def test_whatever_fails_in_a_template_is_a_value_error(template: str) -> None:
    with pytest.raises(ValueError, match="the chat template (cannot render this conversation|is not in the language)"):
        render(template, CHAT)


@pytest.mark.parametrize("template", ENDLESS, ids=lambda template: template[:40])
def test_a_template_without_end_is_stopped_and_the_next_one_works(
    template: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "one_second.py"
    text = chat_process.PROGRAM.read_text("utf-8")
    program.write_text(text.replace(f"MAX_SECONDS = {chat_sandbox.MAX_SECONDS}", "MAX_SECONDS = 1.0"), "utf-8")
    monkeypatch.setattr(chat_process, "PROGRAM", program)
    process, start = chat_process.TemplateProcess(), time.monotonic()
    with pytest.raises(ValueError, match="went beyond its limits|too much memory"):
        process.render(template, {})
    assert time.monotonic() - start < 30, "one second, and the start of Python on a busy machine"
    assert process.render("{{ x }}", {"x": 1}) == "1"
    process.stop()


values: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(values, st.text().filter(lambda text: "{" not in text and "\r" not in text))
def test_values_reach_a_template_as_they_are(value: Any, text: str) -> None:
    got = render("{{ value|tojson }}|{{ text }}", CHAT, value=value, text=text)
    assert got == chat_sandbox.to_json(value) + "|" + text


fragments = st.sampled_from(
    ["{{", "}}", "{%", "%}", "for x in", " messages", "|tojson", " if ", "else", "endfor", "endif", "(", ")", "1", "/0"]
    + ["'", '"', "*", "**", "10", "range", "set x = ", "macro f()", "endmacro", "f()", "\ud800", "\0", "é", "{#", "#}"]
)


@given(st.lists(fragments, max_size=12).map(" ".join))
def test_any_text_is_a_template_or_a_value_error(template: str) -> None:
    with suppress(ValueError):
        assert isinstance(render(template, CHAT), str)


def test_threads_share_the_process() -> None:
    got: dict[int, list[str]] = {}

    def work(number: int) -> None:
        got[number] = [render("{{ number }}:{{ i }}", CHAT, number=number, i=i) for i in range(30)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert got == {number: [f"{number}:{i}" for i in range(30)] for number in range(4)}


def test_an_interrupted_answer_is_not_taken_for_the_next_one(monkeypatch: Any) -> None:
    process, exchange = chat_process.TemplateProcess(), chat_process.exchange

    def interrupted(running: Any, request: bytes) -> tuple[bytes, bytes]:
        running.stdin.write(request)  # the request has gone out, and nobody reads its answer
        running.stdin.flush()
        raise KeyboardInterrupt

    monkeypatch.setattr(chat_process, "exchange", interrupted)
    with pytest.raises(KeyboardInterrupt):
        process.render("old", {})
    monkeypatch.setattr(chat_process, "exchange", exchange)
    assert process.render("new", {}) == "new"
    process.stop()


def test_a_process_that_has_ended_is_replaced_and_its_pipes_are_closed() -> None:
    process = chat_process.TemplateProcess()
    assert process.render("a", {}) == "a"
    old = process._process
    assert old is not None and old.stdin is not None and old.stdout is not None
    old.kill()
    old.wait()
    assert process.render("b", {}) == "b"
    assert old.stdin.closed and old.stdout.closed
    process.stop()


@pytest.mark.skipif(not hasattr(os, "getsid"), reason="needs the sessions of Unix")
def test_ctrl_c_at_a_terminal_does_not_reach_the_process() -> None:
    # It goes to all processes of the session that are in the foreground, also to one that cannot ignore it yet.
    process = chat_process.TemplateProcess()
    assert process.render("a", {}) == "a" and process._process is not None
    assert os.getsid(process._process.pid) == process._process.pid != os.getsid(0)
    process.stop()


def render_many(word: str) -> list[str]:
    return [render("{{ word }}{{ i }}", CHAT, word=word, i=i) for i in range(50)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_program_has_a_process_of_its_own() -> None:
    assert render("started before the fork", CHAT)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        answers = pool.map_async(render_many, ["a", "b"])
        assert render_many("c") == [f"c{i}" for i in range(50)]
        assert answers.get(60) == [[f"{word}{i}" for i in range(50)] for word in "ab"]


@pytest.mark.parametrize(
    "settings",
    [
        {"chat_template": [1]},
        {"chat_template": [{"name": "default"}]},
        {"chat_template": [{"name": [], "template": "x"}]},
        {"chat_template": 5},
        {"chat_template": {}},
        {"chat_template": None},
    ],
)
def test_settings_without_a_template_are_a_value_error(settings: dict) -> None:
    tokenizer = Tokenizer.train([""], 256)
    tokenizer.settings = settings
    with pytest.raises(ValueError, match="no chat template"):
        tokenizer.render_chat(CHAT)
