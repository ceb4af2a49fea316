"""Which tokens of an example are learned: the words of an assistant, and the token that ends its turn."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.data.errors import DataError
from llm.tuning.chat import conversation as encoding
from llm.tuning.chat.conversation import Encoder
from llm.tuning.chat.masks import heading_length, overlapping
from llm.tuning.examples.rows import Completion, Text
from tests.llm.conversations import (
    FAMILIES,
    PLACE,
    SPECIAL,
    chatml,
    chats,
    contents,
    conversation,
    expected_mask,
    tokenizer_with,
)
from tokenizer import BaseTokenizer, load
from tokenizer.formats.tokenizer_json import with_special_tokens
from tokenizer.text.template import begin_template

pytest.importorskip("jinja2")
each_family = pytest.mark.parametrize("name", FAMILIES)


def check(name: str, messages: list[dict], **options: Any) -> None:
    family = FAMILIES[name]
    tokenizer, pieces = tokenizer_with(family.template), family.pieces(messages)
    encoded = Encoder(tokenizer, **options)(conversation(messages))
    assert encoded.text == "".join(text for text, _ in pieces)
    assert encoded.ids.tolist() == tokenizer.encode(encoded.text, allowed_special="all")
    assert encoded.learned.tolist() == expected_mask(tokenizer, encoded.ids.tolist(), pieces)


@each_family
@given(messages=chats())
def test_the_tokens_of_answers_are_learned(name: str, messages: list[dict]) -> None:
    for allow_special in (False, True):
        check(name, messages, allow_special=allow_special)


@pytest.mark.control
@each_family
@pytest.mark.parametrize("change", ["dropped", "shifted", "all"])
def test_a_mask_that_is_dropped_or_shifted_is_noticed(name: str, change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*arguments: Any) -> np.ndarray:
        right = overlapping(*arguments)
        return {"dropped": right & False, "all": right | True, "shifted": np.roll(right, 1)}[change]

    monkeypatch.setattr(encoding, "overlapping", wrong)
    with pytest.raises(AssertionError):
        check(name, [{"role": "user", "content": "a"}, {"role": "assistant", "content": "the answer"}])


@given(chats(), st.sampled_from(SPECIAL), st.integers(0, 100))
def test_text_of_messages_never_becomes_a_special_token(messages: list[dict], name: str, where: int) -> None:
    """Nor does it end a turn, or begin one: the learned characters are those of the template's own turns."""
    said = messages[where % len(messages)]
    said["content"] = f"a{name}b"
    tokenizer = tokenizer_with(FAMILIES["chatml"].template)
    encoded, pieces = Encoder(tokenizer)(conversation(messages)), chatml(messages)
    special = [i for i in encoded.ids.tolist() if i in tokenizer.special_tokens.values()]
    assert len(special) == 2 * len(messages)
    assert encoded.text == "".join(text for text, _ in pieces)
    assert encoded.learned.tolist() == expected_mask(tokenizer, encoded.ids.tolist(), pieces)


@each_family
@given(messages=chats())
def test_answers_in_a_prompt_are_not_learned(name: str, messages: list[dict]) -> None:
    messages = [*messages, {"role": "user", "content": "a"}, {"role": "assistant", "content": "the answer"}]
    encoder = Encoder(tokenizer_with(FAMILIES[name].template))
    all_learned, last = (encoder(conversation(messages, first)) for first in (0, len(messages) - 1))
    assert last.turns == all_learned.turns[-1:]
    ignored = [{**message, "weight": 0} for message in messages[:-1]]
    assert encoder(conversation([*ignored, messages[-1]])).turns == last.turns


def test_equal_words_of_a_user_are_not_learned() -> None:
    messages = [{"role": role, "content": "the answer"} for role in ("user", "assistant", "user", "assistant")]
    encoded = Encoder(tokenizer_with(FAMILIES["chatml"].template))(conversation(messages))
    text, heading = encoded.text, "assistant\n"
    starts = [place(heading) + len(heading) for place in (text.index, text.rindex)]
    assert [turn.span[0] for turn in encoded.turns] == starts


def test_calls_of_tools_are_learned_whole() -> None:
    template = (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.content %}{{ m.content }}{% endif %}"
        "{% for call in m.tool_calls or [] %}{{ '<call>\n' + call.function | tojson + '\n</call>' }}{% endfor %}"
        "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]}
    messages = [
        {"role": "user", "content": "a"},
        call,
        {"role": "tool", "content": "1"},
        {"role": "assistant", "content": "4"},
    ]
    encoded = Encoder(tokenizer_with(template))(conversation(messages))
    learned = [encoded.text[slice(*turn.span)] for turn in encoded.turns]
    assert learned == ['<call>\n{"name": "f", "arguments": {"a": 1}}\n</call><|im_end|>', "4<|im_end|>"]


def test_whether_the_end_of_a_turn_is_learned() -> None:
    messages = [{"role": role, "content": "a"} for role in ("user", "assistant", "user", "assistant")]
    for name, expected in {"chatml": [True, True], "glm": [True, False], "plain": [False, False]}.items():
        encoded = Encoder(tokenizer_with(FAMILIES[name].template))(conversation(messages))
        assert [turn.has_end for turn in encoded.turns] == expected
    without_end = FAMILIES["chatml with generation"].template.replace(
        "{% generation %}{{ m['content'] + '<|im_end|>' }}{% endgeneration %}",
        "{% generation %}{{ m['content'] }}{% endgeneration %}{{ '<|im_end|>' }}",
    )
    encoded = Encoder(tokenizer_with(without_end))(conversation(messages))
    assert [(encoded.text[slice(*turn.span)], turn.has_end) for turn in encoded.turns] == [("a", False)] * 2


def test_an_answer_may_lack_the_thoughts_that_its_heading_begins() -> None:
    heading = "<|im_start|>assistant\n<think>\n"
    assert heading_length(f"{heading}why\n</think>4", heading, "4") == len(heading)
    assert heading_length("<|im_start|>assistant\n4", heading, "4") == len("<|im_start|>assistant\n")


@given(contents, contents, st.booleans())
def test_the_completion_of_a_text_is_learned_and_the_end_of_text(prompt: str, completion: str, has_name: bool) -> None:
    tokenizer = tokenizer_with()
    encode, place = Encoder(tokenizer), {"place": PLACE, "fields": {}}
    encoded = encode(Completion(prompt, completion + "<|endoftext|>" * has_name, **place))
    ids = tokenizer.encode(prompt + completion) + [tokenizer.end_of_text]
    assert encoded.ids.tolist() == ids
    assert encoded.learned.tolist() == expected_mask(
        tokenizer, ids, [(prompt, False), (completion + "<|endoftext|>", True)]
    )
    whole = encode(Text(prompt + completion, **place))
    assert (whole.ids.tolist(), whole.learned.all()) == (ids, True)


@given(contents, contents)
def test_a_text_begins_with_the_token_that_the_tokenizer_wants(prompt: str, completion: str) -> None:
    tokenizer = tokenizer_with()
    begin = tokenizer.special_tokens["<s>"]
    tokenizer.template = begin_template(begin)
    encoded = Encoder(tokenizer)(Completion(prompt, completion, place=PLACE, fields={}))
    assert encoded.text == f"<s>{prompt}{completion}<|endoftext|>"
    assert encoded.ids.tolist() == [begin, *tokenizer.encode(prompt + completion), tokenizer.end_of_text]
    pieces = [("<s>" + prompt, False), (completion + "<|endoftext|>", True)]
    assert encoded.learned.tolist() == expected_mask(tokenizer, encoded.ids.tolist(), pieces)
    assert [encoded.text[slice(*span)] for span in encoded.spans[:: len(encoded.spans) - 1]] == ["<s>", "<|endoftext|>"]


def test_a_refusal_of_the_template_names_the_row() -> None:
    encoder = Encoder(tokenizer_with("{{ raise_exception('no system') }}"))
    with pytest.raises(DataError, match="^chats.jsonl, line 1: .*no system$"):
        encoder(conversation([{"role": "assistant", "content": "a"}]))
    encoder = Encoder(tokenizer_with("{{ messages[0].content }}"))
    with pytest.raises(DataError, match="no loop over the messages"):
        encoder(conversation([{"role": "assistant", "content": "a"}]))


# --- others' results --------------------------------------------------------------------------------------------------


@pytest.mark.shared
def test_ids_and_masks_of_smollm2(shared_data: Path) -> None:
    """Made by transformers, which lets `<|im_end|>` of a user end his turn. We do so only if asked."""
    file = shared_data / "tuning" / "chat" / "smollm2.json"
    if not file.exists():
        pytest.skip("needs tuning/chat in the folder of real data")
    tokenizer = load(shared_data / "tokenizers" / "smollm2")
    for example in json.loads(file.read_text()):
        has_name = "<|im_end|>" in "".join(message["content"] for message in example["messages"])
        for allow_special in (True, False):
            encoded = Encoder(tokenizer, allow_special=allow_special)(conversation(example["messages"]))
            assert encoded.text == example["text"]
            same = (encoded.ids.tolist(), encoded.learned.astype(int).tolist()) == (
                example["ids"],
                example["assistant_mask"],
            )
            assert same is (allow_special or not has_name)


# Templates in three parts, of which the second can be marked.
CHATML_BEGIN = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{% if m['role'] == 'assistant' %}"
CHATML_END = "{{ '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
TEMPLATES = {
    "smollm2": (
        CHATML_BEGIN,
        "{{ m['content'] + '<|im_end|>' }}",
        "{% else %}{{ m['content'] + '<|im_end|>' }}{% endif %}" + CHATML_END,
    ),
    "qwen2_5": (
        CHATML_BEGIN,
        "{{ m['content'].strip() + '<|im_end|>' }}",
        "{% else %}{{ m['content'] + '<|im_end|>' }}{% endif %}" + CHATML_END,
    ),
    "llama3": (
        "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' }}"
        "{% if m['role'] == 'assistant' %}",
        "{{ m['content'] | trim + '<|eot_id|>' }}",
        "{% else %}{{ m['content'] | trim + '<|eot_id|>' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
    ),
}


@pytest.mark.parity
@pytest.mark.shared
@pytest.mark.parametrize("name", TEMPLATES)
def test_masks_are_those_of_transformers(name: str, shared_data: Path) -> None:
    """Of a template with `{% generation %}`; without, the same tokens are found."""
    transformers = pytest.importorskip("transformers")
    folder = shared_data / "tokenizers" / name
    own, peer = load(folder), transformers.AutoTokenizer.from_pretrained(folder)
    begin, answer, end = TEMPLATES[name]
    marked, unmarked = begin + "{% generation %}" + answer + "{% endgeneration %}" + end, begin + answer + end
    settings = own.settings

    @given(chats())
    def masks_are_equal(messages: list[dict]) -> None:
        for template in (marked, unmarked):
            own.settings = settings | {"chat_template": template}
            encoded = Encoder(own)(conversation(messages))
            theirs = peer.apply_chat_template(
                messages, chat_template=marked, return_dict=True, return_assistant_tokens_mask=True
            )
            assert encoded.ids.tolist() == theirs["input_ids"]
            assert encoded.learned.astype(int).tolist() == theirs["assistant_masks"]

    try:
        masks_are_equal()
    finally:
        own.settings = settings


# --- templates of many families ---------------------------------------------------------------------------------------

SPECIAL_NAME = re.compile(r"<\|[^|<>' ]+\|>|<｜[^<>｜]+｜>|<(?:start|end)_of_turn>|<turn\|>|<end_of_utterance>")
CALL = [{"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}]
DIALOGS = {
    "one turn": [("user", "2+2?"), ("assistant", "Four.")],
    "two turns": [
        ("system", "brief"),
        ("user", "2+2?"),
        ("assistant", "Four."),
        ("user", "3+3?"),
        ("assistant", "Six."),
    ],
    "thoughts": [
        ("user", "2+2?"),
        ("assistant", "<think>\nhm\n</think>\n\nFour."),
        ("user", "3+3?"),
        ("assistant", "6"),
    ],
    "tools": [("user", "2+2?"), ("assistant", ""), ("tool", "4"), ("assistant", "Four.")],
}


def trl_templates() -> list[str]:
    """Names of templates of which TRL has another version with `{% generation %}`."""
    if importlib.util.find_spec("trl") is None:
        return []
    files = Path(str(importlib.util.find_spec("trl").origin)).parent.glob("chat_templates/*_training.jinja")
    names = sorted(file.name.removesuffix("_training.jinja") for file in files)
    return [
        name for name in names if name not in ("idefics3", "smolvlm", "llava_next", "diffusion_gemma")
    ]  # for images


@pytest.mark.parity
@pytest.mark.slow
@pytest.mark.parametrize("dialog", DIALOGS)
def test_turns_are_those_that_trl_marks_without_their_heading(dialog: str) -> None:
    """TRL's spans may begin with the heading, and go on with white space after the end of the turn."""
    folder = Path(pytest.importorskip("trl").__file__).parent / "chat_templates"
    messages = [{"role": role, "content": content} for role, content in DIALOGS[dialog]]
    if dialog == "tools":
        messages[1]["tool_calls"] = CALL
    compared = 0
    for name in trl_templates():
        turns = []
        for suffix in ("", "_training"):
            template = (folder / f"{name}{suffix}.jinja").read_text()
            tokenizer = tokenizer_with(template, bos_token="<s>", eos_token="</s>")
            names = sorted({*SPECIAL_NAME.findall(template), "<s>", "</s>"})
            settings, tokenizer = tokenizer.settings, BaseTokenizer.of(with_special_tokens(tokenizer.record, names))
            tokenizer.settings = settings
            try:
                encoded = Encoder(tokenizer)(conversation(messages))
            except DataError:  # the template refuses this conversation
                break
            found = [encoded.text[slice(*turn.span)].strip() for turn in encoded.turns]
            turns.append([text for text in found if text not in ("", "</s>")])
        else:
            own, theirs = turns
            if name == "glm4moe":  # TRL's version of the template adds <|user|> at the end of the conversation
                theirs[-1] = theirs[-1].removesuffix("<|user|>")
            assert len(own) == len(theirs), name
            assert all(text.endswith(turn) for turn, text in zip(own, theirs)), (name, own, theirs)
            compared += 1
    assert compared > len(trl_templates()) // 2
