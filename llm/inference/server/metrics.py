"""Numbers about the server, for /metrics. They are counted in the event loop, by one thread."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Metrics:
    def __init__(self) -> None:
        self.requests: Counter[int] = Counter()  # status -> how many
        self.current = 0
        self.seconds = 0.0
        self.written = 0  # tokens
        self.first_tokens, self.first_seconds = 0, 0.0  # how many texts have begun, and how long that took together

    @contextmanager
    def request(self) -> Iterator[Callable[[int], object]]:
        """Counts a request; yields what is to be called with its status."""
        began = time.perf_counter()
        statuses: list[int] = []
        self.current += 1
        try:
            yield statuses.append
        finally:
            self.current -= 1
            self.seconds += time.perf_counter() - began
            self.requests[statuses[0] if statuses else 499] += 1  # 499: the client has hung up (nginx)

    def count_tokens(self, tokens: int, seconds: float, *, is_first: bool) -> None:
        """New tokens of a text, `seconds` after it was asked for."""
        self.written += tokens
        if is_first and tokens:
            self.first_tokens += 1
            self.first_seconds += seconds

    def text(self, running: int, waiting: int) -> str:
        """In the format of Prometheus."""
        lines = [
            *described("requests_total", "counter", "Answered requests by status."),
            *(f'minigrad_requests_total{{status="{status}"}} {n}' for status, n in sorted(self.requests.items())),
        ]
        for name, kind, help, value in (
            ("requests_current", "gauge", "Requests that are being answered.", self.current),
            ("request_seconds_total", "counter", "Time of all answered requests together.", round(self.seconds, 6)),
            ("texts_running", "gauge", "Texts that are being written.", running),
            ("texts_waiting", "gauge", "Texts that wait for a slot.", waiting),
            ("tokens_total", "counter", "Tokens that were written.", self.written),
            ("first_tokens_total", "counter", "Texts that have begun.", self.first_tokens),
            ("first_token_seconds_total", "counter", "Time to their first tokens.", round(self.first_seconds, 6)),
        ):
            lines += [*described(name, kind, help), f"minigrad_{name} {value}"]
        return "\n".join(lines) + "\n"


def described(name: str, kind: str, help: str) -> list[str]:
    return [f"# HELP minigrad_{name} {help}", f"# TYPE minigrad_{name} {kind}"]
