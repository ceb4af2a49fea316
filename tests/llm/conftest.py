"""Fixtures for tests of the server and its page: one server, one browser for each module.

A module whose server is another one has a fixture `service` of its own, and the others use that.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # these packages are optional
    from playwright.sync_api import Browser, Page
    from starlette.testclient import TestClient

    from llm.inference.server.service import Service


@pytest.fixture(scope="module")
def service() -> Service:
    from tests.llm.servers import small_service

    return small_service()


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[TestClient]:
    """A client without a network."""
    from tests.llm.servers import client_of

    with client_of(service) as client:
        yield client


@pytest.fixture(scope="module")
def port(service: Service) -> Iterator[int]:
    """Where the server listens."""
    from tests.llm.servers import listening

    with listening(service) as port:
        yield port


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from tests.llm.browsers import chromium

    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, port: int) -> Iterator[Page]:
    """The page of the server, in a window of its own."""
    from tests.llm.browsers import opened

    with opened(browser, port) as page:
        yield page
