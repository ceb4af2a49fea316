"""What the server refuses: the status, and the error that clients of OpenAI expect."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("starlette")
pytest.importorskip("jinja2")

from starlette.testclient import TestClient

from llm.inference.server import bodies as limits
from llm.inference.server import service
from tests.llm.servers import CONTEXT, VOCAB, client_of, small_service
from tokenizer import Tokenizer

HELLO = [{"role": "user", "content": "a"}]
SCHEMA = {"type": "json_schema", "json_schema": {"schema": {"type": "no such type"}}}


@pytest.fixture(scope="module")
def locked() -> Iterator[TestClient]:
    with client_of(small_service(), api_key="right") as client:
        yield client


def error_of(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str) and error["message"] and isinstance(error["type"], str)
    return error


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [[]]}, "prompt"),
        ({"prompt": 3}, "prompt"),
        ({"prompt": [1, "a"]}, "prompt"),
        ({"prompt": [1.0]}, "prompt"),
        ({"prompt": [True]}, "prompt"),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": [VOCAB]}, "prompt"),
        ({"prompt": [10**30]}, "prompt"),
        ({"prompt": [1] * (CONTEXT + 1)}, "prompt"),
        ({"prompt": "a" * 500}, "prompt"),
        ({"prompt": "a", "max_tokens": -1}, "max_tokens"),
        ({"prompt": "a", "max_tokens": 1.5}, "max_tokens"),
        ({"prompt": "a", "n": 0}, "n"),
        ({"prompt": "a", "n": 10**6}, "n"),
        ({"prompt": ["a"] * 60, "n": 60}, "n"),
        ({"prompt": "a", "best_of": 2}, "best_of"),
        ({"prompt": "a", "suffix": "b"}, "suffix"),
        ({"prompt": "a", "temperature": -1}, "temperature"),
        ({"prompt": "a", "temperature": "hot"}, "temperature"),
        ({"prompt": "a", "top_p": 0}, "top_p"),
        ({"prompt": "a", "top_p": 1.1}, "top_p"),
        ({"prompt": "a", "top_k": -2}, "top_k"),
        ({"prompt": "a", "seed": 1.5}, "seed"),
        ({"prompt": "a", "seed": 2**70}, "seed"),
        ({"prompt": "a", "stop": ""}, "stop"),
        ({"prompt": "a", "stop": [3]}, "stop"),
        ({"prompt": "a", "stream": "yes"}, "stream"),
        ({"prompt": "a", "stream_options": {"include_usage": True}}, "stream_options"),
        ({"prompt": "a", "stream": True, "stream_options": {"include": True}}, "stream_options"),
        ({"prompt": "a", "echo": 1}, "echo"),
        ({"prompt": "a", "logprobs": True}, "logprobs"),
        ({"prompt": "a", "logprobs": 100}, "logprobs"),
        ({"prompt": "a", "logit_bias": {"x": 1}}, "logit_bias"),
        ({"prompt": "a", "logit_bias": {"1": 101}}, "logit_bias"),
        ({"prompt": "a", "logit_bias": {"1": True}}, "logit_bias"),
        ({"prompt": "a", "logit_bias": {str(VOCAB): 1}}, "logit_bias"),
        ({"prompt": "a", "response_format": {"type": "sound"}}, "response_format"),
        ({"prompt": "a", "response_format": SCHEMA}, "response_format"),
        ({"prompt": "a", "regex": "(("}, "response_format"),
        ({"prompt": "a", "ignore_eos": True}, "ignore_eos"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_completion_is_refused_by_the_name_of_the_field(client: TestClient, body: Any, param: str) -> None:
    for more in ({}, {"stream": True}) if "stream" not in body and "stream_options" not in body else ({},):
        error = error_of(client.post("/v1/completions", json=body | more), 400)
        assert error["param"] == param and error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "messages"),
        ({"messages": None}, "messages"),
        ({"messages": "string"}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [123]}, "messages"),
        ({"messages": [{}]}, "messages"),
        ({"messages": [{"role": 123, "content": "a"}]}, "messages"),
        ({"messages": [{"role": "user", "content": 123}]}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages"),
        ({"messages": [{"role": "tool", "content": "a"}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]}, "messages"),
        ({"messages": [{"role": "user", "content": "a", "tool_calls": [1]}]}, "messages"),
        ({"messages": HELLO, "tools": [{"type": "function"}]}, "tools"),
        ({"messages": HELLO, "functions": [{"name": "f"}]}, "functions"),
        ({"messages": HELLO, "tool_choice": "required"}, "tool_choice"),
        ({"messages": HELLO, "top_logprobs": 3}, "top_logprobs"),
        ({"messages": HELLO, "logprobs": 3}, "logprobs"),
        ({"messages": HELLO, "max_completion_tokens": "3"}, "max_completion_tokens"),
        ({"messages": HELLO, "response_format": {"type": "json_schema"}}, "response_format"),
        ({"messages": HELLO, "reasoning_effort": "high"}, "reasoning_effort"),
        ({"messages": HELLO, "modalities": ["text", "audio"]}, "modalities"),
        ({"messages": HELLO, "prompt": "a"}, "prompt"),
        ({"messages": [{"role": "user", "content": "a" * 500}]}, "messages"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_chat_is_refused_by_the_name_of_the_field(client: TestClient, body: Any, param: str) -> None:
    assert error_of(client.post("/v1/chat/completions", json=body), 400)["param"] == param


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b"3",
        b'"prompt"',
        b"null",
        b'{"prompt": NaN}',
        b'{"prompt": "a", "temperature": Infinity}',
        b'{"prompt": "a", "temperature": 1e999}',
        b'{"prompt": "a", "seed": ' + b"9" * 5000 + b"}",
        b'{"prompt": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"prompt": "a", "\\ud800": 1}',  # half of a surrogate pair, in the error as `param`
        b'{"prompt": "a", "response_format": {"type": "json_schema", "json_schema": {"schema": '
        + b'{"items": ' * 900
        + b"{}"
        + b"}" * 902
        + b"}",
    ],
    ids=lambda data: str(data[:40]),
)
def test_what_is_no_json_object_is_refused(client: TestClient, data: bytes) -> None:
    headers = {"content-type": "application/json"}
    error_of(client.post("/v1/completions", content=data, headers=headers), 400)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_a_body_that_is_not_declared_as_json_is_refused(client: TestClient, kind: str) -> None:
    data = json.dumps({"prompt": "a"}).encode()
    error_of(client.post("/v1/completions", content=data, headers={"content-type": kind}), 415)


def test_a_large_body_is_refused(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_BYTES", 1000)
    headers = {"content-type": "application/json"}
    data = json.dumps({"prompt": "a" * 1000}).encode()
    error_of(client.post("/v1/completions", content=data, headers=headers), 413)
    error_of(client.post("/v1/completions", content=iter([data]), headers=headers), 413)  # without its length


def test_too_many_log_probabilities_are_refused(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    body = {"prompt": [[1] * 20] * 4, "max_tokens": 5, "echo": True, "logprobs": 4}
    number = 4 * (20 + 5) * (4 + 1)
    monkeypatch.setattr(service, "MOST_REPORTED", number)
    assert client.post("/v1/completions", json=body).status_code == 200
    monkeypatch.setattr(service, "MOST_REPORTED", number - 1)
    assert error_of(client.post("/v1/completions", json=body), 400)["param"] == "logprobs"


def test_a_text_that_is_much_too_long_is_refused_before_it_is_encoded(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise AssertionError("it was encoded")

    monkeypatch.setattr(Tokenizer, "encode_ordinary", fail)
    monkeypatch.setattr(Tokenizer, "encode_chat", fail)
    long = "a" * 500_000
    message = {"role": "user", "content": long}
    for path, body in (
        ("/v1/completions", {"prompt": ["a", long]}),
        ("/v1/chat/completions", {"messages": [message]}),
        ("/v1/embeddings", {"input": long}),
        ("/tokenize", {"prompt": long}),
        ("/tokenize", {"messages": [message]}),
        ("/page/tokens", {"text": long}),
    ):
        assert error_of(client.post(path, json=body), 400)["code"] == "context_length_exceeded"


def test_what_is_not_there_is_said_to_be_not_there(client: TestClient) -> None:
    for path in ("/v1/nothing", "/../../etc/passwd", "/page/../app.py", "/v1/models/other"):
        error_of(client.get(path), 404)
    assert error_of(client.get("/v1/completions"), 405)["message"] == "'/v1/completions' does not take GET; use POST"
    error_of(client.post("/v1/models", json={}), 405)


def test_who_forgets_v1_is_told(client: TestClient) -> None:
    for path in ("/models", "/chat/completions", "/v1"):
        assert "OpenAI's API is at /v1" in error_of(client.get(path), 404)["message"]


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "10.0.0.1", "", "[::2]"]
)
def test_a_foreign_host_is_refused(client: TestClient, host: str) -> None:
    error_of(client.get("/v1/models", headers={"host": host}), 403)
    error_of(client.post("/v1/completions", json={"prompt": "a"}, headers={"host": host}), 403)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8000", "LOCALHOST", "[::1]:8000", "127.9.9.9:1"])
def test_the_hosts_own_names_are_not_refused(client: TestClient, host: str) -> None:
    assert client.get("/v1/models", headers={"host": host}).status_code == 200


def test_further_names_can_be_allowed() -> None:
    with client_of(small_service(allow_host=("models.example",))) as client:
        assert client.get("/health", headers={"host": "models.example"}).status_code == 200
        error_of(client.get("/health", headers={"host": "other.example"}), 403)
    with client_of(small_service(host="0.0.0.0")) as client:
        assert client.get("/health", headers={"host": "10.0.0.1:8000"}).status_code == 200
        error_of(client.get("/health", headers={"host": "evil.example"}), 403)


def test_pages_of_other_origins_are_refused_unless_asked() -> None:
    other = {"origin": "https://other.example"}
    ask = other | {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    with client_of(small_service()) as client:
        response = client.options("/v1/completions", headers=ask)
        assert response.status_code >= 400 and not any("access-control" in name for name in response.headers)
        error_of(client.post("/v1/completions", json={"prompt": "a"}, headers=other), 403)
        error_of(client.post("/v1/completions", json={"prompt": "a"}, headers={"origin": "null"}), 403)
        own = {"origin": "http://127.0.0.1:8000"}
        assert client.post("/v1/completions", json={"prompt": "a"}, headers=own).status_code == 200
    with client_of(small_service(cors=("https://other.example",))) as client:
        response = client.options("/v1/completions", headers=ask)
        assert response.headers["access-control-allow-origin"] == "https://other.example"
        answer = client.post("/v1/completions", json={"prompt": "a"}, headers=other)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "https://other.example"
        error_of(client.post("/v1/completions", json={"prompt": "a"}, headers={"origin": "https://evil.example"}), 403)


@given(st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=12))
def test_a_wrong_key_is_refused(locked: TestClient, key: str) -> None:
    for value in (f"Bearer {key}", key, f"Basic {key}"):
        if value.strip() != "Bearer right":
            headers = {"authorization": value.encode("latin-1")}
            assert error_of(locked.get("/v1/models", headers=headers), 401)["code"] == "invalid_api_key"


def test_the_right_key_is_not_refused_and_health_needs_none(locked: TestClient) -> None:
    error_of(locked.get("/v1/models"), 401)
    error_of(locked.get("/metrics"), 401)
    assert locked.get("/v1/models", headers={"authorization": "Bearer right"}).status_code == 200
    assert locked.get("/health").status_code == 200
