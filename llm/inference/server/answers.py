"""The answer to a request for texts, in one piece or as a stream. A `Shape` says what it looks like."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import Response

from llm.inference.engine.requests import Token
from llm.inference.server.choices import Choice, Shown, make_choices, show, usage
from llm.inference.server.json_text import to_json
from llm.inference.server.request_parameters import RequestParameters
from llm.inference.server.service import Prompt, Service
from llm.inference.server.streaming import EventStream, in_time
from llm.inference.server.worker import Job


class Shape(Protocol):
    """How completions, or chats, are written down."""

    field: str  # of the body, which has the prompts
    prefix: str  # of the id of an answer
    whole_object: str
    chunk_object: str

    def first(self, index: int) -> dict[str, Any] | None:
        """The choice of a chunk before all others."""

    def part(self, shown: Shown) -> list[dict[str, Any]]:
        """The choices of the chunks for a piece."""

    def whole(self, shown: Shown) -> dict[str, Any]:
        """A choice of an answer in one piece."""


@dataclass
class Answer:
    """One answer in work."""

    service: Service
    shape: Shape
    parameters: RequestParameters
    prompts: Sequence[Prompt]
    job: Job
    choices: list[Choice]
    id: str = field(default_factory=lambda: secrets.token_hex(12))
    created: int = field(default_factory=lambda: int(time.time()))

    async def whole(self) -> Response:
        """All of it."""
        pieces: list[list[Shown]] = [[] for _ in self.choices]
        async with aclosing(self.shown()) as shown:
            async for each in shown:
                pieces[each.choice].append(each)
        choices = []
        for of_choice in pieces:
            choices.append(to_json(self.shape.whole(join(of_choice))))
            await asyncio.sleep(0)  # with many log-probabilities it takes long: let others come in between
        envelope = to_json(self._envelope(self.shape.whole_object) | {"usage": usage(self.prompts, self.choices)})
        text = f'{envelope[:-1]},"choices":[{",".join(choices)}]}}'
        return Response(text, media_type="application/json")

    async def chunks(self) -> AsyncGenerator[dict[str, Any]]:
        """Piece by piece."""
        for index in range(len(self.choices)):
            if (first := self.shape.first(index)) is not None:
                yield self._chunk([first])
        async with aclosing(self.shown()) as shown:
            async for each in shown:
                for choice in self.shape.part(each):
                    yield self._chunk([choice])
        if self.parameters.include_usage:
            yield self._chunk([]) | {"usage": usage(self.prompts, self.choices)}

    async def shown(self) -> AsyncGenerator[Shown]:
        """What can be shown. However it ends, the job ends too."""
        try:
            async with aclosing(show(self.service, self.job, self.choices)) as shown:
                async for each in shown:
                    yield each
        finally:
            self.job.cancel()

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        usage = {"usage": None} if self.parameters.include_usage else {}
        return self._envelope(self.shape.chunk_object) | {"choices": choices} | usage

    def _envelope(self, kind: str) -> dict[str, Any]:
        return {
            "id": f"{self.shape.prefix}-{self.id}",
            "object": kind,
            "created": self.created,
            "model": self.service.name,
        }


async def answer(
    request: Request, service: Service, shape: Shape, parameters: RequestParameters, prompts: Sequence[Prompt]
) -> Response:
    """The answer to a request whose body has been read. Raises Refusal, or Disconnected if the client hangs up."""
    seconds = service.options.seconds

    async def begin() -> Answer:
        service.check(prompts, parameters, shape.field)
        choices = make_choices(service, prompts, parameters)
        job = await service.begin(prompts, parameters)
        return Answer(service, shape, parameters, prompts, job, choices)

    async def whole() -> Response:
        return await (await begin()).whole()

    if not parameters.stream:
        return await in_time(seconds, request.receive, whole())
    begun = await in_time(seconds, request.receive, begin())  # what is refused is no stream
    return EventStream(begun.chunks(), seconds, begun.job.cancel)


def join(pieces: Sequence[Shown]) -> Shown:
    """All pieces of a choice as one."""
    tokens: list[Token] = [token for piece in pieces for token in piece.tokens]
    last = pieces[-1]
    return last._replace(text="".join(piece.text for piece in pieces), tokens=tokens)
