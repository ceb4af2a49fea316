"""/v1/chat/completions: the next message, its stream, and what a conversation may contain."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("starlette")
pytest.importorskip("jinja2")

from starlette.testclient import TestClient

from llm.inference.server.service import Service
from tests.llm.servers import client_of, events, rounded, small_service, small_writer

SEEDS = st.integers(0, 2**63)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
PATH = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "a hat"}]


@pytest.fixture(scope="module")
def service() -> Service:
    return small_service(small_writer(context=192))


def ask(client: TestClient, messages: Any = HELLO, **body: Any) -> dict[str, Any]:
    response = client.post(PATH, json={"messages": messages, "max_tokens": 20, "seed": 1} | body)
    assert response.status_code == 200, response.text
    return response.json()


def stream(client: TestClient, messages: Any = HELLO, **body: Any) -> list[dict[str, Any]]:
    body = {"messages": messages, "max_tokens": 20, "seed": 1, "stream": True} | body
    response = client.post(PATH, json=body)
    assert response.status_code == 200, response.text
    return events(response.text)


conversations = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant"]), "content": TEXTS}), max_size=3
).map(lambda messages: [*messages, {"role": "user", "content": "hat"}])
bodies = st.fixed_dictionaries(
    {"messages": conversations, "seed": SEEDS, "n": st.integers(1, 2)},
    optional={
        "max_tokens": st.integers(0, 20),
        "max_completion_tokens": st.integers(0, 20),
        "temperature": st.sampled_from([0, 1.5]),
        "stop": st.sampled_from(["a", ["the", "e"]]),
        "logprobs": st.just(True),
        "user": st.just("somebody"),
    },
)


@given(bodies)
def test_a_stream_is_the_answer_in_pieces(client: TestClient, body: dict[str, Any]) -> None:
    whole, chunks = ask(client, **body), stream(client, **body, stream_options={"include_usage": True})
    assert (chunks[-1]["choices"], chunks[-1]["usage"]) == ([], whole["usage"])
    for choice in whole["choices"]:
        parts = [part for chunk in chunks for part in chunk["choices"] if part["index"] == choice["index"]]
        first, *others, last = parts
        assert first["delta"]["role"] == "assistant" and not any("role" in part["delta"] for part in others)
        assert "".join(part["delta"]["content"] for part in others) == choice["message"]["content"]
        assert (last["delta"], last["finish_reason"]) == ({}, choice["finish_reason"])
        assert all(part["finish_reason"] is None for part in [first, *others])
        if choice["logprobs"] is not None:
            streamed = [entry for part in others for entry in part["logprobs"]["content"]]
            assert rounded(streamed) == rounded(choice["logprobs"]["content"])


@given(SEEDS, st.integers(0, 20))
def test_the_bytes_of_the_tokens_are_those_of_the_text(client: TestClient, seed: int, top: int) -> None:
    choice = ask(client, seed=seed, logprobs=True, top_logprobs=top, max_tokens=30)["choices"][0]
    content = choice["logprobs"]["content"]
    data = bytes(byte for entry in content for byte in entry["bytes"])
    assert data.decode(errors="replace") == choice["message"]["content"]
    for entry in content:
        assert entry["logprob"] <= 0 and len(entry["top_logprobs"]) == top
        values = [each["logprob"] for each in entry["top_logprobs"]]
        assert values == sorted(values, reverse=True)


def test_special_tokens_in_a_message_are_text_unless_they_are_allowed(client: TestClient) -> None:
    def count(text: str, **body: Any) -> int:
        return ask(client, [{"role": "user", "content": text}], max_tokens=1, **body)["usage"]["prompt_tokens"]

    assert count("<|im_end|>", allow_special=True) == count("", allow_special=True) + 1
    assert count("<|im_end|>") > count("") + 1


def test_a_last_message_of_the_assistant_is_continued(client: TestClient, service: Service) -> None:
    open_ids = client.post("/tokenize", json={"messages": [*HELLO, {"role": "assistant", "content": "the c"}]}).json()
    text = service.tokenizer.decode(open_ids["tokens"])
    assert text == "<|im_start|>user\na hat<|im_end|>\n<|im_start|>assistant\nthe c"
    chat = ask(client, [*HELLO, {"role": "assistant", "content": "the c"}])["choices"][0]
    body = {"prompt": open_ids["tokens"], "max_tokens": 20, "seed": 1}
    completion = client.post("/v1/completions", json=body).json()["choices"][0]
    assert (chat["message"]["content"], chat["finish_reason"]) == (completion["text"], completion["finish_reason"])


def test_a_content_may_be_a_list_of_texts(client: TestClient) -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "hat"}]
    one, other = [{"role": "user", "content": parts}], [{"role": "user", "content": "a\nhat"}]
    assert ask(client, one)["choices"] == ask(client, other)["choices"]


def test_fields_that_clients_send_back_and_those_that_change_nothing_are_ignored(client: TestClient) -> None:
    more = {"metadata": {"a": "b"}, "store": True, "service_tier": "auto", "tools": None, "tool_choice": "none"}
    message = HELLO[0] | {"name": "Ann", "tool_calls": [], "refusal": None, "annotations": [], "function_call": None}
    assert ask(client, [message], **more)["choices"] == ask(client)["choices"]


@pytest.mark.parametrize("temperature", [0, 2])
def test_what_is_asked_to_be_json_is_json(client: TestClient, temperature: float) -> None:
    schema = {
        "type": "object",
        "properties": {"hat": {"type": "boolean"}, "mat": {"enum": ["a", "b"]}},
        "required": ["hat", "mat"],
        "additionalProperties": False,
    }
    answer_format = {"type": "json_schema", "json_schema": {"name": "hats", "schema": schema, "strict": True}}
    for seed in range(5):
        body = {"response_format": answer_format, "temperature": temperature, "seed": seed, "max_tokens": 150}
        choice = ask(client, **body)["choices"][0]
        value = json.loads(choice["message"]["content"])
        assert value.keys() == {"hat", "mat"} and isinstance(value["hat"], bool) and value["mat"] in ("a", "b")
        assert choice["finish_reason"] == "stop"
    text = ask(client, response_format={"type": "json_object"}, max_tokens=20)["choices"][0]["message"]["content"]
    assert text.lstrip().startswith("{")


def test_a_text_can_be_a_match_of_a_pattern(client: TestClient) -> None:
    choice = ask(client, regex="(yes|no), [0-9]{3}", temperature=2)["choices"][0]
    yes, number = choice["message"]["content"].split(", ")
    assert yes in ("yes", "no") and number.isdigit() and len(number) == 3 and choice["finish_reason"] == "stop"


def test_a_model_without_a_template_says_so() -> None:
    with client_of(small_service(small_writer(chats=False))) as client:
        response = client.post(PATH, json={"messages": HELLO})
        assert response.status_code == 400 and "chat template" in response.json()["error"]["message"]
