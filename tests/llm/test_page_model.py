"""What the page asks: about the model, and the ids with which a text can be continued from another token."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("starlette")

from starlette.testclient import TestClient

from tests.llm.servers import client_of, events, small_service, small_writer

MESSAGES = [{"role": "user", "content": "the cat <|im_end|>"}]


def ids_of(client: TestClient, **body: Any) -> list[int]:
    return [token["id"] for token in client.post("/page/prompt", json=body).json()["tokens"]]


def test_the_model_is_described(client: TestClient) -> None:
    found = client.get("/page/model").json()
    assert found["chat"] and (found["layers"], found["heads"], found["context"]) == (1, 2, 96)
    assert found["sampling"]["temperature"] == 0.8 and found["sampling"]["top_k"] is None
    with client_of(small_service(small_writer(chats=False))) as other:
        assert not other.get("/page/model").json()["chat"]


def test_the_ids_of_a_conversation_are_those_that_the_chat_continues(client: TestClient) -> None:
    common = {"max_tokens": 12, "temperature": 0, "logprobs": True, "top_logprobs": 3}
    chat = client.post("/v1/chat/completions", json={"messages": MESSAGES, **common}).json()
    entries = chat["choices"][0]["logprobs"]["content"]
    prompt = ids_of(client, messages=MESSAGES)
    assert len(prompt) == chat["usage"]["prompt_tokens"]
    rest = {
        "prompt": [*prompt, *(entry["id"] for entry in entries[:4])],
        "max_tokens": 8,
        "temperature": 0,
        "logprobs": 3,
    }
    lists = client.post("/v1/completions", json=rest).json()["choices"][0]["logprobs"]
    assert lists["token_ids"][: len(entries) - 4] == [entry["id"] for entry in entries[4:]]


@pytest.mark.parametrize("text", ["", "the café", "<|im_end|>"])
def test_the_ids_of_a_text_are_those_that_a_completion_continues(client: TestClient, text: str) -> None:
    wanted = {"max_tokens": 8, "temperature": 0}
    by_text = client.post("/v1/completions", json={"prompt": text, **wanted}).json()["choices"][0]["text"]
    by_ids = client.post("/v1/completions", json={"prompt": ids_of(client, text=text), **wanted}).json()["choices"][0]
    assert by_text == by_ids["text"]


def test_an_alternative_has_an_id_and_the_same_place_in_each_form(client: TestClient) -> None:
    body = {"prompt": "the cat", "max_tokens": 6, "logprobs": 5, "seed": 1, "stream": True}
    for chunk in events(client.post("/v1/completions", json=body).text):
        lists = chunk["choices"][0]["logprobs"]
        for top, ids, name, id in zip(lists["top_logprobs"], lists["top_ids"], lists["tokens"], lists["token_ids"]):
            assert top.keys() == ids.keys() and len(set(ids.values())) == len(ids) >= 5 and ids[name] == id


@pytest.mark.parametrize("body", [{}, {"text": "a", "messages": MESSAGES}, {"text": 1}, {"messages": []}])
def test_what_is_no_prompt_is_refused(client: TestClient, body: dict[str, Any]) -> None:
    answer = client.post("/page/prompt", json=body)
    assert answer.status_code == 400 and answer.json()["error"]["message"]
