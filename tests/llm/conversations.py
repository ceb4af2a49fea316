"""Conversations and chat templates for tests of tuning, and what must be learned of them, found in another way.

Each family has a template, and a function that writes a conversation in pieces, of which some are learned. It is the
definition that the template must agree with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from llm.data.records import Place
from llm.tuning.examples.rows import Conversation
from tokenizer import BaseTokenizer, Tokenizer

Pieces = list[tuple[str, bool]]  # texts, and whether they are learned
# fmt: off
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
           "<s>", "</s>", "<start_of_turn>", "<end_of_turn>", "<|user|>", "<|assistant|>", "<|system|>", "<|tool|>"]
# fmt: on
WORDS = [
    "the answer",
    "a",
    " ",
    "\n",
    "é",
    "日本",
    "😀",
    "user",
    "assistant",
    "<b>",
    "is",
    "</think",
    "\n\n",
    "'s",
    "4",
]
PLACE = Place("chats.jsonl", 1)


def chatml(messages: Sequence[dict]) -> Pieces:
    pieces: Pieces = []
    for message in messages:
        answers = message["role"] == "assistant"
        pieces += [
            (f"<|im_start|>{message['role']}\n", False),
            (f"{message['content']}<|im_end|>", answers),
            ("\n", False),
        ]
    return pieces


def llama3(messages: Sequence[dict]) -> Pieces:
    pieces: Pieces = [("<s>", False)]
    for message in messages:
        pieces += [(f"<|start_header_id|>{message['role']}<|end_header_id|>\n\n", False)]
        pieces += [(f"{message['content'].strip()}<|eot_id|>", message["role"] == "assistant")]
    return pieces


def mistral(messages: Sequence[dict]) -> Pieces:
    """It has no heading that asks for an answer, so its first space is not learned."""
    pieces: Pieces = [("<s>", False)]
    for message in messages:
        content = message["content"].strip()
        if message["role"] == "assistant":
            pieces += [(" ", not content), (f"{content}</s>", True)]
        else:
            pieces += [(f"[INST] {content} [/INST]", False)]
    return pieces


def glm(messages: Sequence[dict]) -> Pieces:
    """A turn ends with the first token of the next message."""
    pieces: Pieces = []
    for number, message in enumerate(messages):
        after_answer = number > 0 and messages[number - 1]["role"] == "assistant"
        pieces += [
            (f"<|{message['role']}|>", after_answer),
            (f"\n{message['content']}", message["role"] == "assistant"),
        ]
    return pieces


def plain(messages: Sequence[dict]) -> Pieces:
    """It has no special tokens."""
    pieces: Pieces = []
    for message in messages:
        pieces += [(f"{message['role']}:", False), (f" {message['content']}\n", message["role"] == "assistant")]
    return pieces


def thoughts(messages: Sequence[dict]) -> Pieces:
    """Only the last message keeps its thoughts, so what a conversation begins with changes when it goes on."""
    pieces: Pieces = [("<|im_start|>system\nBe brief.<|im_end|>\n", False)]
    for number, message in enumerate(messages):
        content, answers = message["content"], message["role"] == "assistant"
        thought = f"<think>\n{len(content)}\n</think>\n\n" if answers and number == len(messages) - 1 else ""
        pieces += [
            (f"<|im_start|>{message['role']}\n", False),
            (f"{thought}{content}<|im_end|>", answers),
            ("\n", False),
        ]
    return pieces


@dataclass(frozen=True)
class Family:
    pieces: Callable[[Sequence[dict]], Pieces]
    template: str


LOOP, HEADING = "{% for m in messages %}", "{{ '<|im_start|>' + m['role'] + '\n' }}"
ASK = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
ANSWER = "{% if m['role'] == 'assistant' %}"
HEADER = "'<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n'"
FAMILIES = {
    "chatml": Family(chatml, LOOP + HEADING + "{{ m['content'] + '<|im_end|>' + '\n' }}{% endfor %}" + ASK),
    "chatml with generation": Family(
        chatml,
        f"{LOOP}{HEADING}{ANSWER}"
        "{% generation %}{{ m['content'] + '<|im_end|>' }}{% endgeneration %}"
        "{% else %}{{ m['content'] + '<|im_end|>' }}{% endif %}{{ '\n' }}{% endfor %}" + ASK,
    ),
    "llama3": Family(
        llama3,
        "{{ '<s>' }}" + LOOP + "{% set content = " + HEADER + " + m['content'] | trim + '<|eot_id|>' %}"
        "{{ content }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
    ),
    "mistral": Family(
        mistral,
        "{{ '<s>' }}" + LOOP + ANSWER + "{{ ' ' + m['content'] | trim + '</s>' }}"
        "{% else %}{{ '[INST] ' + m['content'] | trim + ' [/INST]' }}{% endif %}{% endfor %}",
    ),
    "glm": Family(
        glm,
        LOOP + "{{ '<|' + m['role'] + '|>\n' + m['content'] }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}",
    ),
    "plain": Family(
        plain,
        LOOP + "{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}",
    ),
    "thoughts": Family(
        thoughts,
        # The first loop looks at the messages from the end and writes nothing, as in the template of Qwen 3.
        "{% set ns = namespace(last=none) %}{% for m in messages[::-1] %}{% if ns.last is none %}{% set ns.last = m %}"
        "{% endif %}{% endfor %}{{ '<|im_start|>system\nBe brief.<|im_end|>\n' }}" + LOOP + HEADING + ""
        "{% if m['role'] == 'assistant' and loop.last %}"
        "{{ '<think>\n' + m['content'] | length | string + '\n</think>\n\n' }}{% endif %}"
        "{{ m['content'] + '<|im_end|>\n' }}{% endfor %}" + ASK,
    ),
}


def tokenizer_with(template: str | None = None, **settings: Any) -> BaseTokenizer:
    """A small byte-pair tokenizer with many special tokens."""
    text = " ".join(WORDS) + " INST system: user: the answer is the answer\n\nthink\n\nassistant: the answer"
    tokenizer = Tokenizer.train([text] * 3, 320, special_tokens=SPECIAL)
    tokenizer.settings = settings | ({} if template is None else {"chat_template": template})
    return tokenizer


contents = st.lists(st.sampled_from(WORDS), max_size=6).map("".join)


@st.composite
def chats(draw: st.DrawFn) -> list[dict]:
    """Messages of users and assistants in turns, the last of which is an assistant's, perhaps after a system's."""
    turns = draw(st.lists(contents, min_size=1, max_size=3))
    messages = [{"role": "system", "content": draw(contents)}] if draw(st.booleans()) else []
    for answer in turns:
        messages += [{"role": "user", "content": draw(contents)}, {"role": "assistant", "content": answer}]
    return messages


def conversation(messages: Sequence[dict], first: int = 0) -> Conversation:
    return Conversation(messages, first, place=PLACE, fields={"messages": messages})


def expected_mask(tokenizer: BaseTokenizer, ids: Sequence[int], pieces: Pieces) -> list[bool]:
    """Which tokens have a byte of a piece that is learned: their bytes, one after the other, are those of the text."""
    learned = np.array(
        [learns for text, learns in pieces for character in text for _ in character.encode()], dtype=bool
    )
    # A part of a character counts as the whole character, all of whose bytes are in the same piece.
    ends = np.cumsum([len(data) for data in tokenizer.token_bytes(ids)])
    return [bool(learned[start:end].any()) for start, end in zip([0, *ends], ends)]
