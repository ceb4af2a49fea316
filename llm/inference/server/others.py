"""What is to be known about the server and its model: /v1/models, /health, /metrics, and the tokenizer's endpoints.

/tokenize, /detokenize and /tokenizer_info are those of vLLM, as lm-eval asks for them.
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from llm.inference.server import fields as f
from llm.inference.server.bodies import read_json
from llm.inference.server.chat import messages, prompt_ids
from llm.inference.server.errors import Refusal
from llm.inference.server.json_text import Json
from llm.inference.server.service import Service, service_of
from tokenizer.text.chat_template import named_tokens

MOST_CHARACTERS = 400_000  # to tokenize: programs that score texts cut a long one only after that
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


async def models(request: Request) -> Response:
    """The model, and its adapters: a request chooses one by its name."""
    service = service_of(request)
    return Json({"object": "list", "data": [described(service, name) for name in [service.name, *service.adapters]]})


async def model(request: Request) -> Response:
    service, name = service_of(request), request.path_params["name"]
    names = [service.name, *service.adapters]
    if name not in names:
        raise Refusal(f"there is no model {name!r:.80}, only {', '.join(names)}", status=404, code="model_not_found")
    return Json(described(service, name))


def described(service: Service, name: str) -> dict[str, Any]:
    card = {"id": name, "object": "model", "created": service.created, "owned_by": "minigrad"}
    parent = {} if name == service.name else {"parent": service.name}
    return card | parent | {"max_model_len": service.context}


async def health(request: Request) -> Response:
    if not service_of(request).worker.is_alive:
        raise Refusal("the server is ending", status=503, code="shutting_down")
    return Json({"status": "ok"})


async def metrics(request: Request) -> Response:
    service = service_of(request)
    engine = service.worker.engine
    return PlainTextResponse(service.metrics.text(len(engine.running), len(engine.waiting)), media_type=PROMETHEUS)


TOKENIZE = {
    "prompt": f.text,
    "messages": messages,
    "add_special_tokens": f.boolean,
    "add_generation_prompt": f.boolean,
    "allow_special": f.boolean,
}


async def tokenize(request: Request) -> Response:
    """Of a prompt, or of a conversation up to the answer."""
    service = service_of(request)
    fields = f.read_fields(await read_json(request), TOKENIZE)
    texts = [fields.get("prompt", ""), *(each["content"] for each in fields.get("messages", []))]
    service.check_length("".join(texts), MOST_CHARACTERS)
    ids = await service.encoding(tokens_of, service, fields)
    return Json({"tokens": ids, "count": len(ids), "max_model_len": service.context})


def tokens_of(service: Service, fields: dict[str, Any]) -> list[int]:
    allow_special = service.allows_special(fields)
    if "messages" in fields:
        return prompt_ids(service, fields["messages"], allow_special)
    prompt = f.require(fields, "prompt")
    # The name of a special token is text, but for one that stands alone: lm-eval puts such a token before texts without
    # a context, and asks for its id in this way. With the text of its name, all their scores would be wrong.
    if "allow_special" not in fields and prompt in service.tokenizer.special_tokens:
        allow_special = True
    ids = service.encode(prompt, allow_special=allow_special)
    return service.tokenizer.template.fill(ids) if fields.get("add_special_tokens", True) else ids


async def detokenize(request: Request) -> Response:
    service = service_of(request)
    fields = f.read_fields(await read_json(request), {"tokens": f.any_ids})
    text = await service.encoding(service.tokenizer.decode, f.require(fields, "tokens"))
    return Json({"prompt": text})


async def tokenizer_info(request: Request) -> Response:
    service = service_of(request)
    tokenizer = service.tokenizer
    end = None if tokenizer.end_of_text is None else tokenizer.id_to_token(tokenizer.end_of_text)
    info = {
        "tokenizer_class": type(tokenizer).__name__,
        "vocab_size": tokenizer.vocab_size,
        "model_max_length": service.context,
        "bos_token": None,
        "eos_token": end,
        "pad_token": None,
        "chat_template": tokenizer.settings.get("chat_template"),
    }
    return Json(info | named_tokens(tokenizer.settings))
