"""The options of `generate.py --serve`. This file needs no other package, so that --help works without them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from llm.runs.parsing import DEFAULT_IN_TEXT, flag

API_KEY_VARIABLE = "MINIGRAD_API_KEY"


@dataclass(frozen=True)
class ServerOptions:
    """How texts are written over HTTP."""

    host: str = "127.0.0.1"
    """For --serve: the address to listen on. With 127.0.0.1, only programs on this machine can connect."""
    port: int = 8000
    """For --serve: the port to listen on. 0: one that is free."""
    api_key: Annotated[str | None, DEFAULT_IN_TEXT] = None
    """For --serve: answer only clients that send this key. Default: the environment variable MINIGRAD_API_KEY, which
    other users of the machine cannot see, or no key.
    """
    cors: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """For --serve: let web pages of this origin use the server, such as http://localhost:3000. Can be given several
    times. Other pages than the server's own cannot use it.
    """
    allow_host: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """For --serve: a further name of this server, such as that of a proxy before it. Can be given several times."""
    allow_special: bool = False
    """For --serve: let the name of a special token in a text, such as <|im_end|>, be that token. Without it, all that
    users send is ordinary text. A request can ask for it too.
    """
    slots: int = 16
    """For --serve: how many texts are written at the same time. With more slots, texts begin earlier and come faster
    together, but each of them comes more slowly. A slot takes memory for the tokens that it has held.
    """
    context: Annotated[int | None, DEFAULT_IN_TEXT] = None
    """For --serve: the largest number of tokens of a text, prompt included. Default: that of the model."""
    waiting: int = 128
    """For --serve: how many requests may wait. Further ones are refused."""
    seconds: float = 600
    """For --serve: the longest time for one request."""

    def __post_init__(self) -> None:
        for name in ("slots", "waiting", "seconds"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{flag(name)} must be above 0, got {getattr(self, name)}")
        if self.context is not None and self.context < 2:
            raise ValueError(f"--context must be at least 2, got {self.context}")
        if not 0 <= self.port < 1 << 16:
            raise ValueError(f"--port must be from 0 to {(1 << 16) - 1:,}, got {self.port}")
        if self.api_key == "":
            raise ValueError("--api-key must have at least one character")
