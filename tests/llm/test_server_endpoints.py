"""The endpoints beside texts: embeddings, the tokenizer, the model, numbers about the server, and the page's files."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("starlette")

from starlette.applications import Starlette
from starlette.testclient import TestClient

from llm.inference.inspection import attention_weights
from llm.inference.server.page_files import page_routes
from llm.inference.server.service import Service
from tests.llm.servers import CONTEXT, VOCAB, client_of, small_service

TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
IDS = st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=20)


@given(st.lists(IDS, min_size=1, max_size=3))
def test_an_embedding_is_the_mean_of_the_last_hidden_states(
    client: TestClient, service: Service, inputs: list[list[int]]
) -> None:
    answer = client.post("/v1/embeddings", json={"input": inputs}).json()
    coded = client.post("/v1/embeddings", json={"input": inputs, "encoding_format": "base64"}).json()
    for ids, one, other in zip(inputs, answer["data"], coded["data"], strict=True):
        mean = service.model.hidden(np.array([ids])).data[0].mean(axis=0)
        assert np.allclose(one["embedding"], mean / np.linalg.norm(mean), rtol=0, atol=1e-6)  # float32
        assert np.array_equal(np.frombuffer(base64.b64decode(other["embedding"]), "<f4"), np.float32(one["embedding"]))
    assert answer["usage"]["prompt_tokens"] == sum(map(len, inputs))


@given(TEXTS)
def test_text_to_tokens_and_back(client: TestClient, service: Service, text: str) -> None:
    answer = client.post("/tokenize", json={"prompt": text, "add_special_tokens": False}).json()
    assert answer["tokens"] == service.tokenizer.encode_ordinary(text) and answer["count"] == len(answer["tokens"])
    assert client.post("/detokenize", json={"tokens": answer["tokens"]}).json() == {"prompt": text}


@given(TEXTS)
def test_the_page_gets_the_tokens_of_a_text(client: TestClient, text: str) -> None:
    tokens = client.post("/page/tokens", json={"text": text + "<|im_end|>"}).json()["tokens"]
    assert bytes(byte for token in tokens for byte in token["bytes"]).decode() == text + "<|im_end|>"
    assert len(tokens) >= 10, "the name of a special token is text"


@given(IDS, st.data())
def test_the_page_gets_where_a_token_looks(
    client: TestClient, service: Service, ids: list[int], data: st.DataObject
) -> None:
    place, head = data.draw(st.integers(0, len(ids) - 1)), data.draw(st.integers(0, 1))
    body = {"ids": ids, "position": place, "layer": 0, "head": head}
    answer = client.post("/page/attention", json=body).json()
    assert [token["id"] for token in answer["tokens"]] == ids[: place + 1]
    expected = attention_weights(service.model, ids, 0)[head, place]
    assert np.allclose(answer["weights"], expected[: place + 1]) and np.isclose(sum(answer["weights"]), 1)
    for wrong in ({"position": len(ids)}, {"layer": 1}, {"head": 2}, {"ids": [VOCAB]}, {"ids": None}):
        assert client.post("/page/attention", json=body | wrong).status_code == 400
    assert client.post("/page/attention", json={"text": "the cat", "position": 1, "layer": 0, "head": 0}).is_success


def test_an_option_lets_special_tokens_in_texts_be_special() -> None:
    with client_of(small_service(allow_special=True)) as client:
        assert len(client.post("/tokenize", json={"prompt": "<|im_end|>"}).json()["tokens"]) == 1
        assert client.post("/v1/completions", json={"prompt": "<|im_end|>"}).json()["usage"]["prompt_tokens"] == 1
        plain = {"prompt": "<|im_end|>", "allow_special": False}
        assert len(client.post("/tokenize", json=plain).json()["tokens"]) > 1


def test_the_name_of_a_special_token_alone_is_this_token(client: TestClient, service: Service) -> None:
    """lm-eval puts a token before texts without a context, and asks for its id by its name."""
    for name, id in service.tokenizer.special_tokens.items():
        body = {"prompt": name, "add_special_tokens": False}
        assert client.post("/tokenize", json=body).json()["tokens"] == [id]
        within = client.post("/tokenize", json=body | {"prompt": f"a {name}"}).json()["tokens"]
        assert id not in within


@given(st.lists(st.sampled_from(["user", "assistant"]), min_size=1, max_size=4), st.booleans())
def test_a_conversation_becomes_tokens(client: TestClient, service: Service, roles: list[str], answer: bool) -> None:
    messages = [{"role": role, "content": f"the {number}"} for number, role in enumerate(roles)]
    ids = client.post("/tokenize", json={"messages": messages, "add_generation_prompt": answer}).json()["tokens"]
    complete = "".join(f"<|im_start|>{each['role']}\n{each['content']}<|im_end|>\n" for each in messages)
    begun = complete.removesuffix("<|im_end|>\n") if roles[-1] == "assistant" else complete + "<|im_start|>assistant\n"
    assert service.tokenizer.decode(ids) == (begun if answer else complete)


def test_a_text_and_a_conversation_are_not_given_together(client: TestClient) -> None:
    messages = [{"role": "user", "content": "a"}]
    for path, field in (("/tokenize", "prompt"), ("/page/prompt", "text")):
        response = client.post(path, json={field: "a", "messages": messages})
        assert response.status_code == 400 and "not both" in response.json()["error"]["message"]


def test_the_model_and_its_tokenizer_are_described(client: TestClient) -> None:
    (model,) = client.get("/v1/models").json()["data"]
    assert (model["id"], model["max_model_len"]) == ("tiny", CONTEXT)
    assert client.get("/v1/models/tiny").json() == model
    info = client.get("/tokenizer_info").json()
    assert (info["bos_token"], info["eos_token"]) == ("<|im_start|>", "<|im_end|>") and "chat_template" in info


def test_unknown_ids_have_no_text(client: TestClient) -> None:
    for tokens in ([VOCAB], [-1], [10**30]):
        assert client.post("/detokenize", json={"tokens": tokens}).status_code == 400
    assert client.post("/detokenize", json={"tokens": []}).json() == {"prompt": ""}


def test_prometheus_can_read_the_metrics(client: TestClient) -> None:
    written = client.post("/v1/completions", json={"prompt": "a", "max_tokens": 9}).json()["usage"]["completion_tokens"]
    client.post("/v1/completions", json={})
    response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    line = re.compile(r'minigrad_\w+(\{status="\d+"\})? [0-9.e+-]+')
    values = [each for each in response.text.splitlines() if not each.startswith("# ")]
    assert all(line.fullmatch(each) for each in values)
    numbers = {name: float(value) for name, value in (each.split(" ") for each in values)}
    assert numbers["minigrad_tokens_total"] >= written and numbers['minigrad_requests_total{status="400"}'] >= 1
    assert numbers["minigrad_texts_running"] == 0


def test_the_page_is_made_of_the_files_that_were_there_at_the_start(tmp_path: Path) -> None:
    for name in ("index.html", "page.js", "page.css", "notes.txt", "secret.py"):
        (tmp_path / name).write_text(name)
    client = TestClient(Starlette(routes=page_routes(tmp_path)))
    (tmp_path / "later.js").write_text("")
    for path, text in (("/", "index.html"), ("/page.js", "page.js"), ("/page.css", "page.css")):
        response = client.get(path)
        assert response.text == text
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy
        assert response.headers["x-content-type-options"] == "nosniff"
    for path in ("/notes.txt", "/secret.py", "/later.js", "/index.html/../secret.py", "/%2e%2e/secret.py", "/page.js/"):
        assert client.get(path, follow_redirects=False).status_code in (404, 307)
