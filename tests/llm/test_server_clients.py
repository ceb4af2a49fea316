"""Clients that misbehave, by plain sockets against the server as it really runs: their places become free."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("starlette")

from llm.inference.server import bodies, connections
from llm.inference.server.service import Service
from tests.llm.servers import is_free, listening, small_service, small_writer, wait_until

LONG = {"prompt": [1, 2, 3], "max_tokens": 4000, "temperature": 0}
# Slow enough that a text is not at its end before a client has hung up.
SHAPE = {"context": 4096, "layers": 1, "heads": 2, "dim": 16}


@pytest.fixture(scope="module")
def service() -> Service:
    return small_service(small_writer(**SHAPE), slots=2, waiting=20)


@pytest.fixture(autouse=True)
def _all_are_free_again(service: Service, port: int) -> Iterator[None]:
    yield
    wait_until(lambda: is_free(service))
    assert post(port, {"prompt": "a", "max_tokens": 1}).startswith(b"HTTP/1.1 200"), "and it still answers"


def endless(service: Service, **body: Any) -> dict[str, Any]:
    """A request for a text that ends only at the end of the context."""
    return LONG | {"logit_bias": {str(end): -100 for end in service.end_ids}} | body


def head(size: int, path: str = "/v1/completions", host: str = "127.0.0.1") -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
    ).encode()


def request(body: dict[str, Any]) -> bytes:
    data = json.dumps(body).encode()
    return head(len(data)) + data


def last_request(body: dict[str, Any]) -> bytes:
    """After the answer, the server closes the connection."""
    return request(body).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def post(port: int, body: dict[str, Any]) -> bytes:
    """The whole answer."""
    with connect(port) as client:
        client.sendall(last_request(body))
        return read_all(client)


def read_all(client: socket.socket) -> bytes:
    data = b""
    while piece := client.recv(1 << 16):
        data += piece
    return data


def is_running(service: Service, texts: int = 1) -> Any:
    return lambda: len(service.worker.engine.running) >= texts


@pytest.mark.parametrize("streams", [False, True])
def test_who_hangs_up_while_a_text_is_written_frees_the_slot(service: Service, port: int, streams: bool) -> None:
    with connect(port) as client:
        client.sendall(request(endless(service, stream=streams)))
        wait_until(is_running(service))
        if streams:
            assert client.recv(100)
    wait_until(lambda: is_free(service))


def test_who_hangs_up_while_waiting_frees_the_place(service: Service, port: int) -> None:
    clients = [connect(port) for _ in range(6)]
    for number, client in enumerate(clients):
        client.sendall(request(endless(service, stream=number % 2 == 0)))
    wait_until(lambda: len(service.worker.engine.waiting) == 4)
    for client in reversed(clients):  # those that wait first
        client.close()
    wait_until(lambda: is_free(service))


@pytest.mark.parametrize("streams", [False, True])
def test_who_hangs_up_while_the_prompt_is_read_frees_the_slot(service: Service, port: int, streams: bool) -> None:
    with connect(port) as client:
        body = {"prompt": list(range(250)) * 16, "max_tokens": 1, "logprobs": 5, "echo": True, "stream": streams}
        client.sendall(request(body))
        wait_until(lambda: is_running(service)() or service.metrics.current == 0)
    wait_until(lambda: is_free(service))


@pytest.mark.parametrize("sent", [0, 1, 20, -1, -20])
def test_who_hangs_up_within_the_request_leaves_nothing(service: Service, port: int, sent: int) -> None:
    data = request(endless(service))
    with connect(port) as client:
        client.sendall(data[:sent])
    time.sleep(0.05)
    assert is_free(service)


def test_who_breaks_the_connection_frees_the_slot(service: Service, port: int) -> None:
    client = connect(port)
    client.sendall(request(endless(service, stream=True)))
    assert client.recv(100)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close() sends a reset
    client.close()
    wait_until(lambda: is_free(service))


def test_who_reads_nothing_stops_nobody_and_is_hung_up_on(
    service: Service, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "STALL_SECONDS", 0.5)
    with connect(port) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(request(endless(service, stream=True, logprobs=20, n=2)))
        wait_until(is_running(service))
        assert post(port, {"prompt": "a", "max_tokens": 3}).startswith(b"HTTP/1.1 200")
        wait_until(lambda: is_free(service), seconds=60)
        wait_until(lambda: service.metrics.current == 0)


def test_half_a_head_and_half_a_body_are_given_up(service: Service, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.2)
    monkeypatch.setattr(bodies, "MOST_SECONDS", 0.2)
    with connect(port) as client:
        client.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: 127")
        assert client.recv(100) == b""
    with connect(port) as client:  # and in the second request of a connection
        client.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        answer = b""
        while not answer.endswith(b'{"status":"ok"}'):
            answer += client.recv(1000)
        client.sendall(b"GET /health HTTP/1.1\r\nHost: 127")
        assert client.recv(100) == b""
    with connect(port) as client:
        client.sendall(head(100) + b'{"prompt": ')
        assert client.recv(100).startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize(
    "data",
    [
        b"\0" * 100,
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1e9\r\n\r\n",
        b"GET /health HTTP/1.1\r\n\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=lambda data: str(data[:30]),
)
def test_what_is_no_http_gets_an_error(port: int, data: bytes) -> None:
    with connect(port) as client:
        try:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            answer = read_all(client)
        except OSError:  # it was hung up on before it had sent all
            return
        assert answer == b"" or answer[9:10] == b"4"


@pytest.mark.parametrize("framing", [b"Content-Length: 8388608", b"Transfer-Encoding: chunked"])
def test_who_sends_all_of_a_body_that_is_too_large_gets_the_answer(port: int, framing: bytes) -> None:
    piece = b"a" * (1 << 20)
    is_chunked = b"chunked" in framing
    with connect(port) as client:
        client.sendall(head(0).replace(b"Content-Length: 0", framing))
        for _ in range(8):
            client.sendall(b"100000\r\n" + piece + b"\r\n" if is_chunked else piece)
        client.sendall(b"0\r\n\r\n" if is_chunked else b"")
        answer = read_all(client)
    assert answer.startswith(b"HTTP/1.1 413") and answer.endswith(b"}}")


def test_too_many_are_refused_and_may_come_again(service: Service, port: int) -> None:
    clients = []

    def is_full() -> bool:
        if service.metrics.current < 22:  # on a slow machine, the first texts end before the last request has come
            clients.append(connect(port))
            clients[-1].sendall(request(endless(service)))
        return service.metrics.current == 22

    wait_until(is_full)
    answer = post(port, {"prompt": "a"})
    assert answer.startswith(b"HTTP/1.1 429") and b"retry-after: 1" in answer.lower()
    for client in clients:
        client.close()


def test_many_at_once_get_their_own_texts(service: Service, port: int) -> None:
    alone = {seed: json.loads(post(port, wanted(seed)).partition(b"\r\n\r\n")[2]) for seed in range(12)}
    together: dict[int, Any] = {}

    def ask(seed: int) -> None:
        together[seed] = json.loads(post(port, wanted(seed)).partition(b"\r\n\r\n")[2])

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in alone]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {seed: answer["choices"] for seed, answer in together.items()} == {
        seed: answer["choices"] for seed, answer in alone.items()
    }


def wanted(seed: int) -> dict[str, Any]:
    return {"prompt": f"the {seed}", "seed": seed, "max_tokens": 30}


def test_a_request_that_takes_too_long_ends() -> None:
    service = small_service(small_writer(**SHAPE), seconds=0.3)
    with listening(service) as port:
        answer = post(port, endless(service))
        assert answer.startswith(b"HTTP/1.1 503") and b'"code":"timeout"' in answer
        stream = post(port, endless(service, stream=True))
        assert stream.startswith(b"HTTP/1.1 200") and b'"code":"timeout"' in stream and b"[DONE]" not in stream
        wait_until(lambda: is_free(service))


def test_when_the_server_ends_everybody_is_told() -> None:
    service = small_service(small_writer(**SHAPE), slots=1)
    with listening(service) as port:
        clients = [connect(port) for _ in range(3)]
        for number, client in enumerate(clients):
            client.sendall(last_request(endless(service, stream=number > 0)))
        wait_until(lambda: is_running(service)() and len(service.worker.engine.waiting) == 2)
        service.worker.close()
        answers = [read_all(client) for client in clients]
    assert all(b'"code":"shutting_down"' in answer for answer in answers)
