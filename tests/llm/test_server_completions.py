"""/v1/completions: texts, their log-probabilities, and that a stream is the same answer in pieces."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("starlette")

from starlette.testclient import TestClient

from llm.inference.generate import next_logits
from llm.inference.logprobs import log_probabilities
from llm.inference.sampling import Sampling
from llm.inference.server.service import Service
from llm.inference.text import write_text
from tests.llm.servers import (
    CONTEXT,
    client_of,
    events,
    is_free,
    join_completions,
    rounded,
    small_service,
    small_writer,
    wait_until,
)

SEEDS = st.integers(0, 2**63)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)


def complete(client: TestClient, **body: Any) -> dict[str, Any]:
    response = client.post("/v1/completions", json=body)
    assert response.status_code == 200, response.text
    return response.json()


def stream(client: TestClient, **body: Any) -> list[dict[str, Any]]:
    response = client.post("/v1/completions", json=body | {"stream": True})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    return events(response.text)


bodies = st.fixed_dictionaries(
    {"prompt": st.one_of(TEXTS, st.lists(st.integers(0, 279), min_size=1, max_size=9)), "seed": SEEDS},
    optional={
        "max_tokens": st.integers(0, 30),
        "temperature": st.sampled_from([0, 0.7, 1.5]),
        "top_p": st.sampled_from([0.5, 1]),
        "top_k": st.sampled_from([-1, 1, 50]),
        "n": st.integers(1, 3),
        "stop": st.one_of(TEXTS.filter(bool), st.lists(st.sampled_from("abc\ufffd\nthe "), min_size=1)),
        "logprobs": st.integers(0, 5),
        "echo": st.booleans(),
        "frequency_penalty": st.sampled_from([-0.5, 0.5]),
        "logit_bias": st.dictionaries(st.integers(0, 279).map(str), st.integers(-100, 100), max_size=3),
    },
)


@given(bodies)
def test_a_stream_is_the_answer_in_pieces(client: TestClient, body: dict[str, Any]) -> None:
    whole = complete(client, **body)
    chunks = stream(client, **body, stream_options={"include_usage": True})
    assert rounded(join_completions(chunks[:-1])) == rounded(whole["choices"])
    assert (chunks[-1]["choices"], chunks[-1]["usage"]) == ([], whole["usage"])
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    assert {chunk["id"] for chunk in chunks} == {chunks[0]["id"]}


@given(TEXTS, SEEDS, st.integers(0, 20), st.sampled_from([0.0, 0.8]))
def test_the_text_is_that_of_the_library(
    client: TestClient, service: Service, prompt: str, seed: int, max_tokens: int, temperature: float
) -> None:
    answer = complete(client, prompt=prompt, seed=seed, max_tokens=max_tokens, temperature=temperature)
    sampling = Sampling(temperature=temperature)
    written = write_text(service.model, service.tokenizer, prompt, max_tokens=max_tokens, sampling=sampling, seed=seed)
    assert answer["choices"][0]["text"] == written


@given(SEEDS, st.integers(1, 4), st.lists(TEXTS, min_size=1, max_size=3))
def test_choices_are_in_order_and_each_has_the_text_of_its_own_request(
    client: TestClient, seed: int, n: int, prompts: list[str]
) -> None:
    together = complete(client, prompt=prompts, n=n, seed=seed, max_tokens=8)
    alone = [
        complete(client, prompt=prompt, seed=(seed + number) % 2**64, max_tokens=8)["choices"][0]["text"]
        for prompt in prompts
        for number in range(n)
    ]
    assert [choice["index"] for choice in together["choices"]] == list(range(len(alone)))
    assert [choice["text"] for choice in together["choices"]] == alone


def test_texts_without_a_seed_differ(client: TestClient) -> None:
    choices = complete(client, prompt=["the", "the"], n=3, max_tokens=20, temperature=1.5)["choices"]
    assert len({choice["text"] for choice in choices}) == 6


@given(st.lists(st.integers(0, 279), min_size=1, max_size=12), st.integers(0, 5), st.sampled_from([0, 1]))
def test_echo_tells_the_log_probabilities_of_the_prompt(
    client: TestClient, service: Service, ids: list[int], top: int, max_tokens: int
) -> None:
    body = {"prompt": ids, "echo": True, "logprobs": top, "max_tokens": max_tokens, "temperature": 0}
    choice = complete(client, **body)["choices"][0]
    lists = choice["logprobs"]
    assert {len(each) for each in lists.values()} == {len(ids) + max_tokens}
    assert lists["token_logprobs"][0] is None and lists["top_logprobs"][0] is None
    for place, id in enumerate(ids[1:], start=1):
        expected = log_probabilities(next_logits(service.model, ids[:place]))
        # The same sums in another order, in float64.
        assert np.isclose(lists["token_logprobs"][place], expected[id], rtol=0, atol=1e-9)
        assert lists["token_logprobs"][place] in lists["top_logprobs"][place].values()
        if top:
            assert np.isclose(max(lists["top_logprobs"][place].values()), expected.max(), rtol=0, atol=1e-9)
    if max_tokens == 0:
        assert choice["text"] == service.tokenizer.decode(ids)


@given(st.lists(st.integers(0, 279), min_size=1, max_size=12), st.integers(0, 9), SEEDS)
def test_a_token_stands_at_its_offset(client: TestClient, ids: list[int], max_tokens: int, seed: int) -> None:
    choice = complete(client, prompt=ids, echo=True, logprobs=0, max_tokens=max_tokens, seed=seed)["choices"][0]
    text, tokens, offsets = choice["text"], choice["logprobs"]["tokens"], choice["logprobs"]["text_offset"]
    assert offsets == sorted(offsets) and offsets[0] == 0
    if "\ufffd" not in text and not any(token.startswith("bytes:") for token in tokens):
        is_end = choice["finish_reason"] == "stop"
        own = tokens[:-1] if is_end else tokens  # the token at the end has no text
        assert "".join(own) == text
        assert [text[place:].startswith(token) for place, token in zip(offsets, own)] == [True] * len(own)


@given(
    st.lists(st.sampled_from([b"\xf0", b"\xc3", b"\x9f", b"\xa9", b"a", b"\n"]), min_size=1, max_size=9), st.booleans()
)
def test_a_token_stands_at_its_offset_also_after_bytes_that_are_no_character(
    client: TestClient, service: Service, data: list[bytes], ends: bool
) -> None:
    ids = [service.tokenizer.id_of(each) for each in data]
    end = {"max_tokens": 1, "logit_bias": {str(service.tokenizer.end_of_text): 100}, "temperature": 0}
    choice = complete(client, prompt=ids, echo=True, logprobs=0, **(end if ends else {"max_tokens": 0}))["choices"][0]
    text, offsets = choice["text"], choice["logprobs"]["text_offset"]
    assert offsets == sorted(offsets)
    for place, each in zip(offsets, data):
        assert not each.isascii() or text[place:].startswith(each.decode())
    if ends:
        assert offsets[-1] == len(text)


def test_the_token_that_ends_a_text_has_a_place_in_the_lists(service: Service, client: TestClient) -> None:
    end = service.tokenizer.end_of_text
    body = {"prompt": [1, 2, 3], "logit_bias": {str(end): 100}, "max_tokens": 1, "logprobs": 1, "echo": True}
    choice = complete(client, **body)["choices"][0]
    assert choice["finish_reason"] == "stop"
    assert len(choice["logprobs"]["tokens"]) == 4 and choice["logprobs"]["tokens"][-1] == "<|endoftext|>"
    assert choice["logprobs"]["text_offset"][-1] == len(choice["text"])


def test_a_part_of_a_character_is_named_by_its_bytes(service: Service, client: TestClient) -> None:
    ids = [service.tokenizer.id_of(bytes([byte])) for byte in "é🙂".encode()]
    lists = complete(client, prompt=ids, echo=True, logprobs=0, max_tokens=0)["choices"][0]["logprobs"]
    assert lists["tokens"] == [f"bytes:\\x{byte:02x}" for byte in "é🙂".encode()]
    assert lists["text_offset"] == [0, 0, 1, 1, 1, 1]


def test_nothing_is_put_before_ids_and_special_tokens_in_a_text_are_text(service: Service, client: TestClient) -> None:
    assert complete(client, prompt=[5, 6], max_tokens=1)["usage"]["prompt_tokens"] == 2
    plain = complete(client, prompt="<|im_end|>", max_tokens=1)["usage"]["prompt_tokens"]
    special = complete(client, prompt="<|im_end|>", max_tokens=1, allow_special=True)["usage"]["prompt_tokens"]
    assert (plain, special) == (len(service.tokenizer.encode_ordinary("<|im_end|>")), 1)


@given(SEEDS, st.integers(1, 3), st.data())
def test_a_text_ends_before_a_stop_string(client: TestClient, seed: int, size: int, data: st.DataObject) -> None:
    """The stop string is taken from the text itself, so it is there, wherever the borders of tokens are."""
    body = {"prompt": "the", "seed": seed, "max_tokens": 30, "logprobs": 0}
    text = complete(client, **body)["choices"][0]["text"]
    begin = data.draw(st.integers(0, max(len(text) - size, 0)))
    stop = text[begin : begin + size]
    if not stop:
        return
    choice = complete(client, **body, stop=["never, never", stop])["choices"][0]
    assert (choice["text"], choice["finish_reason"]) == (text[: text.index(stop)], "stop")
    shown = "".join(token for token in choice["logprobs"]["tokens"] if not token.startswith("bytes:"))
    assert len(shown.encode()) <= len(choice["text"].encode())


def test_a_text_ends_at_the_end_of_the_context(client: TestClient, service: Service) -> None:
    never = {str(end): -100 for end in service.end_ids}
    answer = complete(client, prompt=[1] * (CONTEXT - 5), max_tokens=500, logit_bias=never)
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["total_tokens"] == CONTEXT + 1
    assert complete(client, prompt=[1] * CONTEXT, max_tokens=1)["usage"]["completion_tokens"] <= 1


def test_the_same_seed_gives_the_same_text_whoever_shares_the_slots() -> None:
    texts = set()
    for slots in (1, 2, 4):
        with client_of(small_service(slots=slots)) as client:
            for _ in range(2):  # the second time, the beginning is in the cache
                choices = complete(client, prompt=["the cat", "a hat", "the"], seed=3, max_tokens=20)["choices"]
                texts.add(tuple(choice["text"] for choice in choices))
    assert len(texts) == 1


def test_ids_without_a_token_are_never_written() -> None:
    """A model may have more ids than its tokenizer."""
    with client_of(small_service(small_writer(vocab_size=1000))) as client:
        body = {"prompt": "the", "max_tokens": 40, "temperature": 2, "top_p": 1, "logprobs": 0}
        for seed in range(3):
            choice = complete(client, **body, seed=seed)["choices"][0]
            assert all(choice["logprobs"]["tokens"])
        response = client.post("/v1/completions", json={"prompt": [999], "echo": True})
        assert response.status_code == 400 and response.json()["error"]["param"] == "prompt"


def test_slots_are_free_after_an_answer(client: TestClient, service: Service) -> None:
    complete(client, prompt="the", n=5, max_tokens=3)
    wait_until(lambda: is_free(service))
