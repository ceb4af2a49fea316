"""The thread of the engine goes on, whatever fails in it."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("starlette")

from tests.llm.servers import client_of, is_free, small_service, wait_until

BODY = {"prompt": [1, 2, 3], "max_tokens": 5, "seed": 1}


@pytest.mark.parametrize(("error", "code"), [(MemoryError(), "out_of_memory"), (KeyError("x"), "internal_error")])
@pytest.mark.parametrize("stream", [False, True])
def test_a_step_that_fails_is_an_error_of_those_concerned(
    monkeypatch: pytest.MonkeyPatch, error: Exception, code: str, stream: bool
) -> None:
    service = small_service()
    with client_of(service) as client:
        before = client.post("/v1/completions", json=BODY).json()["choices"]
        hidden, calls = service.model.hidden, []

        def fail_once(*arguments: Any, **options: Any) -> Any:
            calls.append(arguments)
            if len(calls) == 3:
                raise error
            return hidden(*arguments, **options)

        monkeypatch.setattr(service.model, "hidden", fail_once)
        response = client.post("/v1/completions", json=BODY | {"stream": stream, "prompt": [4, 5]})
        assert response.status_code == (200 if stream else 500)
        assert f'"code":"{code}"' in response.text and "[DONE]" not in response.text
        assert client.get("/health").status_code == 200
        assert client.post("/v1/completions", json=BODY).json()["choices"] == before
        wait_until(lambda: is_free(service))


def test_embeddings_that_fail_do_not_end_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    service = small_service()
    with client_of(service) as client:
        with monkeypatch.context() as patch:
            patch.setattr(service.model, "hidden", lambda *_, **__: 1 / 0)
            assert client.post("/v1/embeddings", json={"input": "a"}).status_code == 500
        assert client.post("/v1/embeddings", json={"input": "a"}).status_code == 200


def test_a_token_that_nothing_allows_is_an_error_of_one_request() -> None:
    service = small_service()
    with client_of(service) as client:
        model = service.model.logits
        service.model.logits = lambda x: model(x) * float("nan")  # type: ignore[method-assign]
        response = client.post("/v1/completions", json=BODY)
        assert response.status_code == 500 and "diverged" in response.json()["error"]["message"]
        service.model.logits = model  # type: ignore[method-assign]
        assert client.post("/v1/completions", json=BODY).status_code == 200


def test_after_its_end_the_server_says_so() -> None:
    service = small_service()
    with client_of(service) as client:
        service.worker.close()
        for path, body in (("/v1/completions", BODY), ("/v1/embeddings", {"input": "a"})):
            response = client.post(path, json=body)
            assert response.status_code == 503 and response.json()["error"]["code"] == "shutting_down"
        assert client.get("/health").status_code == 503
