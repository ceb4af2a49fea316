"""`generate.py --serve` as a program: it says where it listens, ends cleanly, and can be started again at once."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from tests.llm.runs import make_run
from tests.llm.test_server_clients import last_request, read_all
from tokenizer import Tokenizer

SCRIPT = Path(__file__).parents[2] / "generate.py"
WINDOWS = pytest.mark.skipif(sys.platform == "win32", reason="needs the signals of Unix")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work") / "runs"
    folder.mkdir()
    return make_run(folder / "bytes-1", Tokenizer.train(["the rain"], vocab_size=260)).folder


def command(run: Path, *options: str) -> list[str]:
    return [sys.executable, str(SCRIPT), "--run", str(run), "--threads", "1", "--serve", *options]


@contextmanager
def running(run: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The program and its port."""
    with subprocess.Popen(command(run, *options), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        try:
            match = re.search(r"answers at http://127\.0\.0\.1:(\d+)/", line)
            assert match is not None, line
            yield process, int(match[1])
        finally:
            process.kill()


def complete(port: int, **body: Any) -> Any:
    data = json.dumps({"prompt": "the", "max_tokens": 5} | body).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/completions", data, {"Content-Type": "application/json"}
    )
    return json.load(urllib.request.urlopen(request, timeout=60))


@WINDOWS
@pytest.mark.parametrize("times", [pytest.param(2, marks=pytest.mark.slow), 3])
def test_ctrl_c_several_times_ends_without_a_traceback(run: Path, times: int) -> None:
    with running(run, "--port", "0") as (process, port):
        assert complete(port)["usage"]["completion_tokens"] == 5
        endless = {"prompt": ["the"] * 100, "max_tokens": 10**6, "stream": True}
        with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
            client.sendall(last_request(endless))
            assert client.recv(1000).startswith(b"HTTP/1.1 200")
            for _ in range(times):
                process.send_signal(signal.SIGINT)
                time.sleep(0.002)
            read_until_broken(client)
        assert process.wait(30) == 0
        assert process.stderr is not None and "Traceback" not in process.stderr.read()


@WINDOWS
@pytest.mark.parametrize("sent", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_it_answers_and_ends_cleanly_in_the_middle_of_a_text(run: Path, sent: signal.Signals) -> None:
    with running(run, "--port", "0", "--slots", "1") as (process, port):
        assert complete(port)["usage"]["completion_tokens"] == 5
        endless = {"prompt": ["the"] * 100, "max_tokens": 10**6, "stream": True}
        with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
            client.sendall(last_request(endless))
            assert client.recv(1000).startswith(b"HTTP/1.1 200")
            process.send_signal(sent)
            rest = read_all(client)
        assert b'"code":"shutting_down"' in rest or b"[DONE]" in rest
        assert process.wait(30) in (0, -sent)
        assert process.stderr is not None and "Traceback" not in process.stderr.read()


@WINDOWS
def test_a_client_that_hangs_up_does_not_end_the_program(run: Path) -> None:
    with running(run, "--port", "0") as (process, port):
        # What the system sends to a program that writes to a connection after the other side has closed it.
        process.send_signal(signal.SIGPIPE)
        assert complete(port)["choices"]
        assert process.poll() is None


@pytest.mark.slow
@WINDOWS
def test_after_a_kill_it_can_be_started_again_at_once(run: Path) -> None:
    with running(run, "--port", "0") as (process, port), socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(last_request({"prompt": ["the"] * 100, "max_tokens": 10**6, "stream": True}))
        assert client.recv(1000).startswith(b"HTTP/1.1 200")
        process.kill()
        reader = threading.Thread(target=read_until_broken, args=(client,))
        reader.start()
        reader.join(30)
        assert not reader.is_alive(), "the client is told"
        with running(run, "--port", str(port)) as (_, again):
            assert again == port and complete(port)["choices"]


def read_until_broken(client: socket.socket) -> None:
    with suppress(OSError):
        read_all(client)


def test_a_port_that_is_taken_is_said_in_a_sentence(run: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = subprocess.run(command(run, "--port", port), capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    assert f"cannot listen at 127.0.0.1 port {port} ({os.strerror(errno.EADDRINUSE)});" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_context_that_the_model_does_not_have_is_said(run: Path) -> None:
    with running(run, "--port", "0", "--context", "100000") as (process, _):
        assert process.stderr is not None and "--context 100000 is" in process.stderr.readline()
        process.terminate()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--slots", "0"), "--slots must be above 0"),
        pytest.param(("--port", "70000"), "--port must be from 0 to 65,535", marks=pytest.mark.slow),
        pytest.param(("--context", "1"), "--context must be at least 2", marks=pytest.mark.slow),
    ],
)
def test_options_that_are_not_possible(run: Path, options: tuple[str, ...], sentence: str) -> None:
    result = subprocess.run(command(run, *options), capture_output=True, text=True, timeout=60)
    assert result.returncode != 0 and "Traceback" not in result.stderr
    assert sentence in re.sub(r"[\s│]+", " ", result.stdout + result.stderr)


def test_without_starlette_a_sentence_says_what_to_install(run: Path) -> None:
    code = (
        f"import sys; sys.modules['starlette.applications'] = None; sys.argv = {command(run)[1:]!r}; "
        f"import runpy; runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.returncode == 1 and "pip install -e '.[serve]'" in result.stderr and "Traceback" not in result.stderr


@pytest.mark.slow
def test_the_text_does_not_need_starlette(run: Path) -> None:
    code = (
        f"import sys; sys.modules['starlette'] = sys.modules['uvicorn'] = None; "
        f"sys.argv = {[str(SCRIPT), '--run', str(run), '--prompt', 'the', '--max-tokens', '1']!r}; "
        f"import runpy; runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of the server from /proc")
def test_many_clients_lose_nothing(run: Path) -> None:
    load = [sys.executable, "-m", "benchmarks.server_load", "--clients", "64", "--seconds", "10", "--tokens", "20"]
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parent)}
    # The newest run of the working directory.
    result = subprocess.run(load, cwd=run.parents[1], env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0 and " 0 lost or wrong" in result.stdout, result.stdout + result.stderr
