"""/v1/completions: a text is continued."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from llm.inference.server import fields as f
from llm.inference.server.answers import answer
from llm.inference.server.bodies import read_json
from llm.inference.server.choices import Shown
from llm.inference.server.logprobs import LogprobLists
from llm.inference.server.service import Prompt, Service, service_of
from llm.inference.server.wanted import COMMON, MOST_LOGPROBS, Wanted, read_wanted

MOST_TOKENS = 16  # if max_tokens is not given, as at OpenAI
FIELDS: dict[str, f.Check] = COMMON | {
    "prompt": f.prompts,
    "echo": f.boolean,
    "logprobs": f.whole_number(0, MOST_LOGPROBS),
}


async def completions(request: Request) -> Response:
    service = service_of(request)
    fields = f.read_fields(await read_json(request), FIELDS)
    given = f.require(fields, "prompt")
    wanted = read_wanted(
        fields,
        service.sampling,
        max_tokens=fields.get("max_tokens", MOST_TOKENS),
        echo=fields.get("echo", False),
        top_logprobs=fields.get("logprobs"),
        allow_special=service.allows_special(fields),
        adapter=service.adapter(fields),
    )
    prompts = await service.prompts(given, allow_special=wanted.allow_special)
    return await answer(request, service, CompletionShape(service, wanted, prompts), wanted, prompts)


class CompletionShape:
    """How completions are written down."""

    field, prefix = "prompt", "cmpl"
    whole_object = chunk_object = "text_completion"

    def __init__(self, service: Service, wanted: Wanted, prompts: list[Prompt]):
        every = [prompt for prompt in prompts for _ in range(wanted.n)]
        self.logprobs = [LogprobLists(service.names, wanted, prompt) for prompt in every]

    def first(self, index: int) -> None:
        return None

    def part(self, shown: Shown) -> list[dict[str, Any]]:
        return [self.whole(shown)]

    def whole(self, shown: Shown) -> dict[str, Any]:
        logprobs = self.logprobs[shown.choice].feed(shown)
        choice = {"index": shown.choice, "text": shown.text, "logprobs": logprobs}
        return choice | {"finish_reason": shown.finish_reason}
