"""Which server is tested: one of this project with a tiny model, or any other.

pytest tests/conformance --base-url http://127.0.0.1:8080/v1 [--model NAME] [--api-key KEY]
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import pytest


class Target(NamedTuple):
    """The server that is tested."""

    url: str  # with /v1
    model: str
    api_key: str


def pytest_addoption(parser: pytest.Parser) -> None:
    for name, help in (
        ("--base-url", "test this server instead of our own, such as http://127.0.0.1:8080/v1"),
        ("--model", "the name of its model; default: the first one that it lists"),
        ("--api-key", "its key"),
    ):
        with suppress(ValueError):  # a plugin has an option of this name, with the same meaning
            parser.addoption(name, help=help)


@pytest.fixture(scope="session")
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    openai = pytest.importorskip("openai")
    key = request.config.getoption("--api-key", None) or "none"
    if url := request.config.getoption("--base-url", None):
        model = request.config.getoption("--model", None)
        yield Target(url, model or openai.OpenAI(base_url=url, api_key=key).models.list().data[0].id, key)
        return
    from tests.llm.servers import listening, small_service, small_writer

    with listening(small_service(small_writer(context=256))) as port:
        yield Target(f"http://127.0.0.1:{port}/v1", "tiny", key)


@pytest.fixture(scope="session")
def client(target: Target) -> Any:
    import openai

    return openai.OpenAI(base_url=target.url, api_key=target.api_key, max_retries=0, timeout=120)
