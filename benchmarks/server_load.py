"""Many clients at once stream texts from `generate.py --serve`: is every token there, in order, and how fast?

    python -m benchmarks.server_load --model SmolLM2-135M-Instruct.Q4_1.gguf --clients 64 --seconds 120

Each client asks for one text after the other. Of each stream it checks that each token stands where the text before it
ends, that the number of tokens is the one that the server counts, and that the end is there. Once in a while it hangs
up in the middle, if --hang-up says so. The memory of the server is read from Linux.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tyro

SCRIPT = Path(__file__).parents[1] / "generate.py"
HEAD = "POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nConnection: close\r\n"
PROMPTS = [
    "Once upon a time",
    "The capital of France is",
    "A long letter to my sister: " + "the sea and the rain. " * 20,
]


@dataclass(frozen=True)
class Options:
    """Let many clients stream texts from a server."""

    model: str | None = None
    """What `generate.py --model` takes. Default: the newest run."""
    clients: int = 64
    """How many clients there are at a time."""
    seconds: float = 120
    """For how long they begin new texts."""
    tokens: int = 48
    """The largest number of tokens of a text."""
    slots: int = 16
    """How many texts the server writes at a time."""
    hang_up: float = 0.1
    """The share of the texts in whose middle the client hangs up."""


@dataclass
class Results:
    """What the clients have seen."""

    context: int  # of the model
    first: list[float] = field(default_factory=list)  # seconds to the first token
    tokens: int = 0
    texts: int = 0
    left: int = 0  # the client has hung up
    faults: list[str] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)  # of the server, in MB, each second


def main(arguments: list[str] | None = None) -> int:
    options = tyro.cli(Options, args=arguments, prog="benchmarks.server_load")
    with running_server(options) as (process, port):
        results, seconds = asyncio.run(load(options, process.pid, port))
    print(*report(results, seconds, options), sep="\n")
    return 1 if results.faults else 0


@contextmanager
def running_server(options: Options) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The server as a program of its own, and its port."""
    model = [] if options.model is None else ["--model", options.model]
    places = ["--slots", str(options.slots), "--waiting", str(options.clients + 1)]
    command = [sys.executable, str(SCRIPT), *model, "--serve", "--port", "0", *places]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            line = next(line for line in process.stderr if "answers at" in line)
            yield process, int(line.split("http://127.0.0.1:")[1].split("/")[0])
        finally:
            process.terminate()


async def load(options: Options, server: int, port: int) -> tuple[Results, float]:
    """Let the clients work; returns what they have seen, and how long it took."""
    results, began = Results(context_of(port)), time.perf_counter()
    end = began + options.seconds
    watching = asyncio.create_task(watch_memory(server, results))
    await asyncio.gather(*(work(number, end, port, options, results) for number in range(options.clients)))
    seconds = time.perf_counter() - began
    watching.cancel()
    return results, seconds


def context_of(port: int) -> int:
    """The largest number of tokens of a text."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models") as answer:
        return json.load(answer)["data"][0]["max_model_len"]


async def watch_memory(server: int, results: Results) -> None:
    status = Path(f"/proc/{server}/status")
    while status.is_file():
        line = next((line for line in status.read_text().splitlines() if line.startswith("VmRSS")), "VmRSS: 0 kB")
        results.memory.append(int(line.split()[1]) / 1024)
        await asyncio.sleep(1)


async def work(number: int, end: float, port: int, options: Options, results: Results) -> None:
    """One client: text after text."""
    rng = random.Random(number)
    while time.perf_counter() < end:
        body = {
            "prompt": f"{number}. {rng.choice(PROMPTS)}"[: results.context // 2],  # a token has at least a character
            "max_tokens": rng.randint(1, options.tokens),
            "seed": rng.randrange(2**32),
            "logprobs": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        leaves = rng.random() < options.hang_up
        try:
            await follow(body, port, results, leave_after=rng.randint(0, 9) if leaves else None)
        except (OSError, ValueError, AssertionError, KeyError) as error:
            results.faults.append(f"client {number}: {type(error).__name__} {error}")


async def follow(body: dict[str, Any], port: int, results: Results, leave_after: int | None) -> None:
    """Stream one text, and check it."""
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        data = json.dumps(body).encode()
        writer.write(f"{HEAD}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        length, tokens, usage, reason = 0, 0, None, None
        async for event in events(reader):
            if leave_after is not None and tokens >= leave_after:
                results.left += 1
                return
            for choice in event["choices"]:
                if tokens == 0:
                    results.first.append(time.perf_counter() - began)
                lists = choice["logprobs"]
                assert all(place >= length for place in lists["text_offset"][:1]), (
                    "a token is not at the end of the text"
                )
                assert lists["text_offset"] == sorted(lists["text_offset"]), "tokens are not in order"
                assert reason is None, "something comes after the end"
                length, tokens = length + len(choice["text"]), tokens + len(lists["tokens"])
                results.tokens += len(lists["tokens"])
                reason = choice["finish_reason"]
            usage = event["usage"]
        assert reason is not None and usage is not None, "the stream has no end"
        ended = reason == "stop"  # the token that ends a text is in the lists, and is not counted
        assert usage["completion_tokens"] == tokens - ended, f"{usage} for {tokens} tokens"
        results.texts += 1
    finally:
        writer.close()


async def events(reader: asyncio.StreamReader) -> AsyncIterator[dict[str, Any]]:
    """The objects of a stream. Raises ValueError if it is none, or ends without [DONE]."""
    status = await reader.readline()
    if b" 200 " not in status:
        raise ValueError(f"{status!r} {await reader.read(2000)!r}")
    async for line in reader:
        if line.startswith(b"data: [DONE]"):
            return
        if line.startswith(b"data: "):
            yield json.loads(line[6:])
    raise ValueError("a stream without [DONE]")


def report(results: Results, seconds: float, options: Options) -> list[str]:
    """Lines for a reader."""
    first, memory = np.array(results.first or [0.0]), np.array(results.memory or [0.0])
    third = max(len(memory) // 3, 1)
    return [
        f"{options.clients} clients, {options.slots} slots, {seconds:.1f} s: {results.texts:,} texts to their end, "
        f"{results.left:,} left in the middle, {len(results.faults)} lost or wrong",
        f"{results.tokens / seconds:,.1f} tokens/s together",
        f"time to the first token: median {np.median(first):.2f} s, 95% {np.quantile(first, 0.95):.2f} s, "
        f"longest {first.max():.2f} s",
        f"memory of the server: {memory[0]:,.0f} MB at first, median of the second third "
        f"{np.median(memory[third : 2 * third]) if len(memory) >= 3 else memory[-1]:,.0f} MB, of the last third "
        f"{np.median(memory[-third:]):,.0f} MB",
        *results.faults[:10],
    ]


if __name__ == "__main__":
    sys.exit(main())
