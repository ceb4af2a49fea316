"""The tokenizer over HTTP: /tokenize, /detokenize and /tokenizer_info are those of vLLM, as lm-eval asks for them."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from llm.inference.server import checks
from llm.inference.server.bodies import read_json
from llm.inference.server.chat import conversation_ids, messages
from llm.inference.server.fields import read_fields, refuse_both, require
from llm.inference.server.json_text import Json
from llm.inference.server.service import Service, service_of
from tokenizer.text.chat_template import named_tokens

TOKENIZE: dict[str, checks.Check] = {
    "prompt": checks.text,
    "messages": messages,
    "add_special_tokens": checks.boolean,
    "add_generation_prompt": checks.boolean,
    "allow_special": checks.boolean,
}


async def tokenize(request: Request) -> Response:
    """Of a prompt, or of a conversation."""
    service = service_of(request)
    fields = read_fields(await read_json(request), TOKENIZE)
    refuse_both(fields, "prompt", "messages")
    ids = await (conversation_ids if "messages" in fields else text_ids)(service, fields)
    return Json({"tokens": ids, "count": len(ids), "max_model_len": service.context})


async def text_ids(service: Service, fields: dict[str, Any]) -> list[int]:
    """The ids of the field `prompt`."""
    prompt, allow_special = require(fields, "prompt"), service.allows_special(fields)
    service.check_length(prompt)
    # The name of a special token is text, but for one that stands alone: lm-eval puts such a token before texts without
    # a context, and asks for its id in this way. With the text of its name, all their scores would be wrong.
    if "allow_special" not in fields and prompt in service.tokenizer.special_tokens:
        allow_special = True
    ids = await service.encoding(lambda: service.encode(prompt, allow_special=allow_special))
    return service.tokenizer.template.fill(ids) if fields.get("add_special_tokens", True) else ids


async def detokenize(request: Request) -> Response:
    service = service_of(request)
    fields = read_fields(await read_json(request), {"tokens": checks.any_ids})
    text = await service.encoding(service.tokenizer.decode, require(fields, "tokens"))
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
