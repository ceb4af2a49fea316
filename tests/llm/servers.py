"""A small server for tests: a tiny model with random weights, and a tokenizer of bytes that knows a chat template."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("httpx")

from starlette.testclient import TestClient

from llm.inference.model_choice import LoadedModel
from llm.inference.sampling import Sampling
from llm.inference.server.app import create_app
from llm.inference.server.options import ServerOptions
from llm.inference.server.run import Server, configuration, listen
from llm.inference.server.service import Service
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from tests.llm.gpts import random_gpt
from tokenizer import END_OF_TEXT, BaseTokenizer, Tokenizer

CONTEXT = 96
VOCAB = 280
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def small_tokenizer(*, chats: bool = True) -> BaseTokenizer:
    """A token for each byte, for " the", "é" and other frequent strings, and special ones."""
    texts = ["the cat and the hat and the café on the mat, thence a theatre 🙂 in Manhattan, that hated cattle "] * 9
    tokenizer = Tokenizer.train(texts, vocab_size=VOCAB, special_tokens=[END_OF_TEXT, "<|im_start|>", "<|im_end|>"])
    assert tokenizer.vocab_size == VOCAB
    if chats:
        tokenizer.settings = {"chat_template": TEMPLATE, "eos_token": "<|im_end|>", "bos_token": "<|im_start|>"}
    return tokenizer


def small_writer(seed: int = 0, *, chats: bool = True, **fields: Any) -> LoadedModel:
    """In float64, in which a text is the same to the bit whoever shares the batch, see test_inference_engine.py."""
    tokenizer = small_tokenizer(chats=chats)
    shape = {"vocab_size": VOCAB, "context": CONTEXT, "layers": 1, "heads": 2, "dim": 16} | fields
    model: GPT = random_gpt(GPTConfig(**shape), seed, np.float64)
    return LoadedModel("models/tiny.gguf", model, tokenizer)


def small_service(loaded: LoadedModel | None = None, sampling: Sampling | None = None, **options: Any) -> Service:
    return Service(loaded or small_writer(), sampling or Sampling(), ServerOptions(**{"slots": 3, **options}))


@contextmanager
def client_of(service: Service, api_key: str | None = None) -> Iterator[TestClient]:
    """A client without a network. What fails in the server is an answer with status 500, as for others."""
    app = create_app(service, api_key)
    with TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False) as client:
        yield client


@contextmanager
def listening(service: Service, api_key: str | None = None) -> Iterator[int]:
    """The server as it really runs, in a thread; yields its port."""
    listener = listen("127.0.0.1", 0)
    # Small buffers, so that it is soon noticed when a client reads nothing.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 13)
    server = Server(configuration(service, api_key), service)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    wait_until(lambda: server.started)
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        service.close()
        thread.join()
        listener.close()


def wait_until(condition: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def is_free(service: Service) -> bool:
    """Whether no text is being written, or waits."""
    return not service.worker.engine.running and not service.worker.engine.waiting


def events(text: str) -> list[dict[str, Any]]:
    """The objects of a stream, which must end with [DONE]."""
    lines = text.split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    assert all(line.startswith("data: ") for line in lines[:-1])
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]


def join_completions(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The choices of a streamed completion, put together."""
    choices: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        for part in chunk["choices"]:
            whole = choices.setdefault(part["index"], {"text": "", "logprobs": None, "finish_reason": None})
            assert whole["finish_reason"] is None, "nothing comes after the last part of a choice"
            whole["text"] += part["text"]
            whole["finish_reason"] = part["finish_reason"]
            if part["logprobs"] is not None:
                whole["logprobs"] = joined_lists(whole["logprobs"], part["logprobs"])
    return [choices[index] | {"index": index} for index in sorted(choices)]


def joined_lists(first: dict[str, list] | None, second: dict[str, list]) -> dict[str, list]:
    return second if first is None else {name: first[name] + second[name] for name in first}


def rounded(value: Any) -> Any:
    """The value with all its numbers rounded: the order of sums in the model changes a log-probability by 1e-12."""
    if isinstance(value, float):
        return round(value, 9)
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    return [rounded(each) for each in value] if isinstance(value, list) else value
