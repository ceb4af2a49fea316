"""What the page asks about the model, and about the tokens that a text or a conversation becomes.

With these tokens the page can continue a text from another token than the one that the model wrote: it sends the ids
up to there to /v1/completions.
"""

from __future__ import annotations

from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import Response

from llm.inference.chat_prompt import has_chat_template
from llm.inference.server import checks
from llm.inference.server.bodies import read_json
from llm.inference.server.chat import conversation_ids, messages
from llm.inference.server.fields import read_fields, refuse_both
from llm.inference.server.json_text import Json
from llm.inference.server.page_data import described
from llm.inference.server.service import service_of

SHOWN = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "frequency_penalty", "presence_penalty")


async def page_model(request: Request) -> Response:
    """What the page shows of the model, and how the next token is chosen where a request does not say it."""
    service = service_of(request)
    sampling, config = asdict(service.sampling), service.model.config
    return Json(
        {
            "name": service.name,
            "parameters": service.model.num_parameters(),
            "layers": config.layers,
            "heads": config.heads,
            "vocabulary": service.tokenizer.vocab_size,
            "context": service.context,
            "chat": has_chat_template(service.tokenizer),
            "end_ids": sorted(service.end_ids),
            "sampling": {name: sampling[name] for name in SHOWN},
        }
    )


PROMPT: dict[str, checks.Check] = {"text": checks.text, "messages": messages, "allow_special": checks.boolean}


async def page_prompt(request: Request) -> Response:
    """The tokens of a text, or of a conversation up to the answer, with those that the server puts before it."""
    service = service_of(request)
    fields = read_fields(await read_json(request), PROMPT)
    refuse_both(fields, "text", "messages")
    if "text" in fields:
        (prompt,) = await service.prompts([fields["text"]], allow_special=service.allows_special(fields))
        return Json({"tokens": described(service, prompt.ids)})
    return Json({"tokens": described(service, await conversation_ids(service, fields))})
