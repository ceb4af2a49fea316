"""Conversations become the same text and ids as in transformers, and a template can do nothing else."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tokenizer.helpers import awkward, file_in, load
from tokenizer import Tokenizer
from tokenizer.text.chat_template import choose_template, named_tokens, render

jinja2 = pytest.importorskip("jinja2")
TURN = "{% for m in messages %}\n  {{ m.role }}: {{ m.content | trim }}\n{% endfor %}\n"
TURN += "{% if add_generation_prompt %}a:{% endif %}"
TOOLS = [{"type": "function", "function": {"name": "f", "description": "é <x>", "parameters": {"type": "object"}}}]
CALL = [{"type": "function", "function": {"name": "f", "arguments": {"a": "é'"}}}]


def user(content: Any, **more: Any) -> dict:
    return {"role": "user", "content": content, **more}


def test_blocks_leave_no_empty_lines() -> None:
    assert render(TURN, [user(" hi "), user("ho")], add_generation_prompt=True) == "  user: hi\n  user: ho\na:"


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ tools | tojson }}", '[{"a": "é<"}]'),
        ("{{ tools | tojson(indent=1) }}", '[\n {\n  "a": "é<"\n }\n]'),
        ("{{ bos_token }}{{ messages[0]['content'] }}", "<s>hi"),
        ("{% generation %}{% set x = 1 %}x{% endgeneration %}{{ x is defined }}", "xFalse"),
        ("{% for m in [1, 2, 3] %}{% if m == 2 %}{% break %}{% endif %}{{ m }}{% endfor %}", "1"),
        ("{{ strftime_now('%%') }}", "%"),
        ("{{ messages[0].reasoning_content }}{{ messages[0].thinking }}", "whywhy"),
        ("{% set ns = namespace(n=1) %}{% set ns.n = 2 %}{{ ns.n }}", "2"),
    ],
)
def test_what_a_template_can_use(template: str, text: str) -> None:
    assert render(template, [user("hi", reasoning="why")], tools=[{"a": "é<"}], bos_token="<s>") == text


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% for %}", "not in the language of Jinja2"),
        ("{{ raise_exception('only two roles') }}", "cannot render this conversation: only two roles"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ messages.append(1) }}", "unsafe|not safely callable"),
        ("{{ messages[0].nothing.at_all }}", "has no attribute 'nothing'"),
    ],
)
def test_what_a_template_cannot_do(template: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        render(template, [user("hi")])


def test_the_messages_of_the_caller_are_not_changed() -> None:
    messages = [user([{"type": "text", "text": "hi"}])]
    assert render("{{ messages[0].content[0].text }}", messages, continue_final_message=True) == "hi"
    assert messages == [user([{"type": "text", "text": "hi"}])]


@pytest.mark.parametrize(
    ("messages", "options", "message"),
    [
        ([user(object())], {}, "not object"),
        (["hi"], {}, "a message is a dict"),
        ([], {"continue_final_message": True}, "no final message"),
        ([user("hi")], {"continue_final_message": True, "add_generation_prompt": True}, "not both"),
        ([user("hi there")], {"continue_final_message": True, "short": True}, "leaves out a part"),
        ([user([{"type": "image"}])], {"continue_final_message": True}, "no text that could be continued"),
    ],
)
def test_a_wrong_conversation_is_an_error(messages: list, options: dict, message: str) -> None:
    template = "{{ messages[0].content[:3] if short is defined else messages[0].content }}"
    with pytest.raises((ValueError, TypeError), match=message):
        render(template, messages, **options)


def test_the_final_message_stays_open() -> None:
    messages = [user("q"), {"role": "assistant", "content": "so far "}]
    assert (
        render("{% for m in messages %}<{{ m.content }}>{% endfor %}", messages, continue_final_message=True)
        == "<q><so far "
    )
    assert render(TURN, messages, continue_final_message=True) == "  user: q\n  assistant: so far"


def test_templates_and_tokens_of_the_settings() -> None:
    several = {"chat_template": [{"name": "default", "template": "d"}, {"name": "tool_use", "template": "t"}]}
    assert choose_template(several, None, has_tools=False) == "d"
    assert (
        choose_template(several, None, has_tools=True) == choose_template(several, "tool_use", has_tools=False) == "t"
    )
    with pytest.raises(ValueError, match="no chat template 'rag', only 'default', 'tool_use'"):
        choose_template(several, "rag", has_tools=False)
    settings = {"eos_token": {"content": "</s>", "lstrip": False}, "bos_token": "<s>", "pad_token": None, "other": "x"}
    assert named_tokens(settings) == {"eos_token": "</s>", "bos_token": "<s>"}
    with pytest.raises(ValueError, match="has no chat template"):
        Tokenizer.train([""], 256).render_chat([user("hi")])
    assert Tokenizer.train([""], 256).render_chat([user("hi")], chat_template=TURN) == "  user: hi\n"


def test_without_jinja2_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *args: Any) -> Any:
        if name.startswith("jinja2"):
            raise ImportError(name)
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match="chat templates need jinja2: pip install jinja2"):
        render("a template that is not compiled yet", [user("hi")])


@pytest.mark.parity
@pytest.mark.shared
@pytest.mark.parametrize(
    "name", ["qwen2_5", "smollm2", *(pytest.param(name, marks=pytest.mark.slow) for name in ("llama3", "qwen3"))]
)
def test_text_and_ids_are_those_of_transformers(name: str, shared_data: Path) -> None:
    transformers = pytest.importorskip("transformers")
    folder = file_in(shared_data, name)
    own, peer = load(folder), transformers.AutoTokenizer.from_pretrained(folder)
    choices: list[dict] = [{}, {"add_generation_prompt": True}, {"continue_final_message": True}]
    choices += [{"date_string": "1 Jan 2020"}, {"tools": TOOLS}, {"tools": TOOLS, "tools_in_user_message": False}]
    choices += [{"enable_thinking": thinks, "add_generation_prompt": True} for thinks in (True, False)]
    called = {"role": "assistant", "content": "", "tool_calls": CALL}
    thought = called | {"reasoning_content": "why\n"}
    answer = {"role": "tool", "name": "f", "content": "r"}
    calls = [] if name == "smollm2" else [[user("q"), called, answer], [user("q"), thought, answer, thought, answer]]
    say = awkward.filter(str.strip)
    chats = st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), say), min_size=1, max_size=4)

    def check(messages: list[dict], options: dict) -> None:
        if options.get("continue_final_message"):
            messages = [*messages, {"role": "assistant", "content": "and so "}]
        text = peer.apply_chat_template(messages, tokenize=False, **options)
        assert own.render_chat(messages, **options) == text
        assert own.encode_chat(messages, **options) == peer.apply_chat_template(messages, **options)["input_ids"]

    @given(chats, st.sampled_from(choices))
    def conversations_are_equal(chat: list[tuple[str, str]], options: dict) -> None:
        messages = [{"role": role, "content": content} for role, content in chat]
        if options.get("tools") and len(messages) < 2:
            messages.append(user("more"))
        check(messages, options)

    conversations_are_equal()
    for call in calls:
        check(call, {"tools": TOOLS})
