"""Whatever a body contains, it gets an answer or an error that says why: never status 500, and never no answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("starlette")
pytest.importorskip("jinja2")

from starlette.testclient import TestClient

from tests.llm.servers import client_of, events, is_free, small_service, wait_until

HALVES = st.characters(categories=["Cs"])  # halves of surrogate pairs, which JSON can name and UTF-8 cannot
TEXTS = st.text(st.characters(), max_size=6) | st.text(HALVES, min_size=1, max_size=2)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.integers(-2, 300), st.floats(), TEXTS)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)
SCHEMAS = st.recursive(
    st.sampled_from(
        [True, {}, {"type": "integer"}, {"enum": [1, "a"]}, {"type": "string", "pattern": "a+"}, {"const": 0}]
    ),
    lambda inner: st.one_of(
        st.builds(lambda each: {"type": "array", "items": each, "maxItems": 2}, inner),
        st.builds(lambda each: {"type": "object", "properties": {"a": each}, "required": ["a"]}, inner),
        st.builds(lambda one, other: {"anyOf": [one, other]}, inner, inner),
    ),
    max_leaves=4,
)
MESSAGE = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "system"]), "content": TEXTS})
# For each field, values that are often right.
LIKELY: dict[str, st.SearchStrategy[Any]] = {
    "model": TEXTS,
    "prompt": st.one_of(TEXTS, st.lists(st.integers(0, 300), max_size=9), st.lists(TEXTS, max_size=3)),
    "input": st.one_of(TEXTS, st.lists(st.lists(st.integers(0, 279), min_size=1, max_size=9), max_size=3)),
    "messages": st.lists(MESSAGE, max_size=3),
    "text": TEXTS,
    "ids": st.lists(st.integers(0, 279), max_size=9),
    "position": st.integers(0, 9),
    "layer": st.integers(0, 2),
    "head": st.integers(0, 2),
    "tokens": st.lists(st.integers(-1, 300), max_size=9),
    "max_tokens": st.integers(0, 9),
    "max_completion_tokens": st.integers(0, 9),
    "temperature": st.floats(0, 3),
    "top_p": st.floats(0, 1),
    "top_k": st.integers(-1, 9),
    "min_p": st.floats(0, 1),
    "typical_p": st.floats(0, 1),
    "repetition_penalty": st.floats(0.1, 3),
    "frequency_penalty": st.floats(-2, 2),
    "presence_penalty": st.floats(-2, 2),
    "logit_bias": st.dictionaries(st.integers(0, 300).map(str), st.integers(-100, 100), max_size=3),
    "n": st.integers(1, 3),
    "seed": st.integers(),
    "stop": st.one_of(TEXTS, st.lists(TEXTS, max_size=3)),
    "stream": st.booleans(),
    "stream_options": st.fixed_dictionaries({"include_usage": st.booleans()}),
    "echo": st.booleans(),
    "logprobs": st.one_of(st.booleans(), st.integers(0, 20)),
    "top_logprobs": st.integers(0, 20),
    "response_format": st.one_of(
        st.sampled_from([{"type": "text"}, {"type": "json_object"}]),
        st.builds(lambda each: {"type": "json_schema", "json_schema": {"name": "x", "schema": each}}, SCHEMAS),
    ),
    "regex": st.one_of(st.sampled_from(["a+", "(yes|no)", "[^a]{2,5}", "(", "a{9}{9}"]), TEXTS),
    "allow_special": st.booleans(),
    "encoding_format": st.sampled_from(["float", "base64"]),
    "add_special_tokens": st.booleans(),
    "best_of": st.integers(0, 3),
    "user": TEXTS,
    "tools": st.just([]),
}
PATHS = {
    "/v1/completions": "prompt",
    "/v1/chat/completions": "messages",
    "/v1/embeddings": "input",
    "/tokenize": "prompt",
    "/detokenize": "tokens",
    "/page/tokens": "text",
    "/page/attention": "ids",
}


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, Any]:
    """A path, and a body: often one that is nearly right, sometimes anything."""
    path = draw(st.sampled_from(list(PATHS)))
    if draw(st.integers(0, 9)) == 0:
        return path, draw(JSON)
    names = draw(st.sets(st.sampled_from(sorted(LIKELY)), max_size=4))
    is_wrong = draw(st.integers(0, 3)) == 0
    wrong = draw(st.sampled_from(sorted(names))) if names and is_wrong else None
    body = {name: draw(JSON if name == wrong else LIKELY[name]) for name in sorted(names)}
    unknown = draw(st.dictionaries(TEXTS, JSON, max_size=1)) if is_wrong else {}
    return path, {PATHS[path]: draw(LIKELY[PATHS[path]])} | body | unknown


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    service = small_service()
    with client_of(service) as client:
        yield client
        wait_until(lambda: is_free(service))


def is_answered(client: TestClient, path: str, body: Any) -> None:
    data = json.dumps(body).encode()  # with NaN and Infinity, as Python writes them
    response = client.post(path, content=data, headers={"content-type": "application/json"})
    assert response.status_code in (200, 400), (response.status_code, response.text)
    if response.headers["content-type"].startswith("text/event-stream"):
        if '"error":' not in response.text:
            events(response.text)
    elif response.status_code == 400:
        assert response.json()["error"]["message"]
    else:
        assert isinstance(response.json(), dict)


@given(requests())
@settings(max_examples=8 * settings().max_examples)
def test_every_body_is_answered(client: TestClient, request: tuple[str, Any]) -> None:
    is_answered(client, *request)


@pytest.mark.slow
@given(requests())
@settings(max_examples=10_000)
def test_ten_thousand_bodies_are_answered(client: TestClient, request: tuple[str, Any]) -> None:
    is_answered(client, *request)
