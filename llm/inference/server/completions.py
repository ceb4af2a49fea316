"""/v1/completions: a text is continued."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from llm.inference.server import checks
from llm.inference.server.answers import answer
from llm.inference.server.bodies import read_json
from llm.inference.server.choices import Shown
from llm.inference.server.fields import read_fields, require
from llm.inference.server.logprobs import LogprobLists
from llm.inference.server.request_parameters import COMMON, MOST_LOGPROBS, RequestParameters, read_parameters
from llm.inference.server.service import Prompt, Service, service_of

MOST_TOKENS = 16  # if max_tokens is not given, as at OpenAI
FIELDS: dict[str, checks.Check] = COMMON | {
    "prompt": checks.prompts,
    "echo": checks.boolean,
    "logprobs": checks.whole_number(0, MOST_LOGPROBS),
}


async def completions(request: Request) -> Response:
    service = service_of(request)
    fields = read_fields(await read_json(request), FIELDS)
    given = require(fields, "prompt")
    parameters = read_parameters(
        fields,
        service.sampling,
        max_tokens=fields.get("max_tokens", MOST_TOKENS),
        echo=fields.get("echo", False),
        top_logprobs=fields.get("logprobs"),
        allow_special=service.allows_special(fields),
    )
    prompts = await service.prompts(given, allow_special=parameters.allow_special)
    return await answer(request, service, CompletionShape(service, parameters, prompts), parameters, prompts)


class CompletionShape:
    """How completions are written down."""

    field, prefix = "prompt", "cmpl"
    whole_object = chunk_object = "text_completion"

    def __init__(self, service: Service, parameters: RequestParameters, prompts: list[Prompt]):
        every = [prompt for prompt in prompts for _ in range(parameters.n)]
        self.logprobs = [LogprobLists(service.names, parameters, prompt) for prompt in every]

    def first(self, index: int) -> None:
        return None

    def part(self, shown: Shown) -> list[dict[str, Any]]:
        return [self.whole(shown)]

    def whole(self, shown: Shown) -> dict[str, Any]:
        logprobs = self.logprobs[shown.choice].feed(shown)
        choice = {"index": shown.choice, "text": shown.text, "logprobs": logprobs}
        return choice | {"finish_reason": shown.finish_reason}
