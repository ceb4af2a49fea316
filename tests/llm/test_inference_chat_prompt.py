"""A conversation as a prompt: the ids of the model's template, in which the text of messages is text."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.inference.chat_prompt import chat_ids
from tests.tokenizer.helpers import every_kind, file_in, load
from tokenizer import BaseTokenizer, Tokenizer

pytest.importorskip("jinja2")
REAL = ["smollm2", "llama3", "qwen2_5"]
EACH_REAL = pytest.mark.parametrize("name", REAL)
KINDS = every_kind()
BEGUN = {"add_generation_prompt": True}

# Templates do all this with texts of others: they trim, remove, compare, put them into names, and join them.
JOIN = "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}A:{% endif %}"
TRIM = JOIN.replace("m.content", "m.content | trim")
REMOVE = JOIN.replace("m.content", "m.content | replace('/think', '') | replace('.', '')")
ROLES = "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content + '[' + m.role + ']' }}{% endfor %}"
TEMPLATES = [JOIN, TRIM, REMOVE, ROLES]


@cache
def with_template(name: str, template: str) -> BaseTokenizer:
    kind = KINDS[name]
    tokenizer = BaseTokenizer.of(kind.record, {"chat_template": template})
    return tokenizer


def texts_for(tokenizer: BaseTokenizer) -> st.SearchStrategy[str]:
    """Texts with names of special tokens, parts of names, what a template removes, and what is not in a name."""
    names = list(tokenizer.special_tokens)[:8] or ["<s>"]
    parts = [part for name in names for part in (name, name[:-1], name[1:], name[:3], name[3:], name[1:-1])]
    return st.lists(st.sampled_from([*parts, "/think", ".", " ", "\n", "a", "日é"]), max_size=8).map("".join)


def conversations(tokenizer: BaseTokenizer, roles: st.SearchStrategy[str]) -> st.SearchStrategy[list[dict[str, Any]]]:
    message = st.fixed_dictionaries({"role": roles, "content": texts_for(tokenizer)})
    return st.lists(message, min_size=1, max_size=4)


def special(tokenizer: BaseTokenizer, ids: list[int]) -> list[int]:
    """The special tokens, without the one for unknown characters, which stands for text."""
    return [i for i in ids if i in tokenizer.special_tokens.values() and i != tokenizer.unknown]


def plain_copy(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The conversation, with texts that contain nothing special."""
    return [{"role": message["role"], "content": "hi"} for message in messages]


@pytest.mark.shared
@EACH_REAL
def test_in_real_templates_special_tokens_do_not_depend_on_the_text_of_messages(name: str, shared_data: Path) -> None:
    tokenizer = load(file_in(shared_data, name))

    @given(conversations(tokenizer, st.sampled_from(["system", "user", "assistant"])))
    def check(messages: list[dict[str, Any]]) -> None:
        ids = chat_ids(tokenizer, messages)
        assert special(tokenizer, ids) == special(tokenizer, tokenizer.encode_chat(plain_copy(messages), **BEGUN))
        # Nothing is lost and nothing remains of the marks.
        assert tokenizer.decode(ids) == tokenizer.render_chat(messages, **BEGUN)

    check()


@pytest.mark.shared
@EACH_REAL
def test_ordinary_conversations_have_the_ids_of_transformers(name: str, shared_data: Path) -> None:
    tokenizer = load(file_in(shared_data, name))
    message = st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant"]), "content": st.text() | st.sampled_from(["<", ">|<"])}
    )

    @given(st.lists(message, min_size=1, max_size=4))
    def check(messages: list[dict[str, Any]]) -> None:
        assert chat_ids(tokenizer, messages) == tokenizer.encode_chat(messages, **BEGUN)

    check()


@pytest.mark.parametrize("name", KINDS)
@given(data=st.data(), template=st.sampled_from(TEMPLATES))
def test_no_text_or_role_makes_a_special_token_whatever_the_template_does(
    name: str, template: str, data: st.DataObject
) -> None:
    tokenizer = with_template(name, template)
    messages = data.draw(conversations(tokenizer, st.sampled_from(["user", "assistant"]) | texts_for(tokenizer)))
    # None of these templates has a special token of its own, except one made of a usual role.
    made_of_roles = {tokenizer.token_to_id(f"<|{role}|>") for role in ("user", "assistant")}
    assert set(special(tokenizer, chat_ids(tokenizer, messages))) <= made_of_roles


@pytest.mark.parametrize("name", KINDS)
@given(data=st.data(), template=st.sampled_from([JOIN, TRIM]))
def test_text_without_names_has_the_same_ids_for_every_kind_of_tokenizer(
    name: str, template: str, data: st.DataObject
) -> None:
    tokenizer = with_template(name, template)
    text = st.lists(st.sampled_from(["a", "low", " ", "  ", "\n", ".", "e\u0301", "É"]), max_size=6).map("".join)
    messages = [{"role": "user", "content": content} for content in data.draw(st.lists(text, min_size=1, max_size=3))]
    assert chat_ids(tokenizer, messages) == tokenizer.encode_chat(messages, **BEGUN)


@pytest.mark.control
@pytest.mark.shared
@EACH_REAL
def test_with_allow_special_a_message_can_end_itself(name: str, shared_data: Path) -> None:
    tokenizer = load(file_in(shared_data, name))
    end = "<|eot_id|>" if name == "llama3" else "<|im_end|>"
    messages = [{"role": "user", "content": f"hi {end} ho"}]
    text, tokens = chat_ids(tokenizer, messages), chat_ids(tokenizer, messages, allow_special=True)
    assert tokens == tokenizer.encode_chat(messages, **BEGUN)
    assert tokens.count(tokenizer.id_of(end)) == text.count(tokenizer.id_of(end)) + 1


@pytest.mark.shared
def test_text_of_tools_and_names_is_text_too(shared_data: Path) -> None:
    tokenizer = load(file_in(shared_data, "qwen2_5"))

    def count(text: str) -> int:
        parameters = {"type": "object", "properties": {text: {"type": "string", "description": text}}}
        tools = [{"type": "function", "function": {"name": text, "description": text, "parameters": parameters}}]
        call = {"type": "function", "function": {"name": text, "arguments": {text: [text]}}}
        messages = [
            {"role": "user", "content": text},
            {"role": "assistant", "content": text, "tool_calls": [call]},
            {"role": "tool", "name": text, "content": text},
        ]
        ids = chat_ids(tokenizer, messages, tools=tools)
        assert tokenizer.decode(ids).count(text) >= 8
        return len(special(tokenizer, ids))

    assert count("<|im_end|>") == count("plain")


def test_without_a_template_one_sentence() -> None:
    with pytest.raises(ValueError, match="the model has no chat template, so it cannot chat"):
        chat_ids(Tokenizer.train([""], 256), [{"role": "user", "content": "hi"}])
