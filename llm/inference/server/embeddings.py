"""/v1/embeddings: a text as a vector: the mean of the model's last hidden states, of length 1 (L2).

A model that was trained to continue texts was not trained for this. Similar texts have similar vectors, but a model for
embeddings does better.
"""

from __future__ import annotations

import base64
from functools import partial
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from llm.inference.server import checks
from llm.inference.server.bodies import read_json
from llm.inference.server.errors import Refusal
from llm.inference.server.fields import read_fields, require
from llm.inference.server.json_text import Json
from llm.inference.server.service import Prompt, Service, service_of
from llm.inference.server.streaming import in_time
from llm.model.gpt import GPT
from llm.model.no_dropout import no_dropout
from minigrad import no_grad
from minigrad.backend import to_device

MOST_INPUTS = 2048
FIELDS: dict[str, checks.Check] = {
    "input": checks.prompts,
    "encoding_format": checks.one_of("float", "base64"),
    "allow_special": checks.boolean,
}


async def embeddings(request: Request) -> Response:
    service = service_of(request)
    fields = read_fields(await read_json(request), FIELDS)
    given = require(fields, "input")
    if len(given) > MOST_INPUTS:
        raise Refusal(f"at most {MOST_INPUTS:,} inputs for one request, got {len(given):,}", param="input")
    prompts = await service.prompts(given, allow_special=service.allows_special(fields))
    service.check_prompts(prompts, "input")
    vectors = await in_time(service.options.seconds, request.receive, embed_all(service, prompts))
    as_text = fields.get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": index, "embedding": written(vector, as_text=as_text)}
        for index, vector in enumerate(vectors)
    ]
    count = sum(len(prompt.ids) for prompt in prompts)
    usage = {"prompt_tokens": count, "total_tokens": count}
    return Json({"object": "list", "data": data, "model": service.name, "usage": usage})


async def embed_all(service: Service, prompts: list[Prompt]) -> list[np.ndarray]:
    """One after the other, so that texts are continued in between."""
    return [await service.worker.call(partial(embed, service.model, each.ids)) for each in prompts]


def embed(model: GPT, ids: list[int]) -> np.ndarray:
    """The vector (C,), float32, of a text."""
    with no_grad(), no_dropout(model):
        hidden = to_device(model.hidden(np.array([ids])).data, "cpu")[0]  # (T, C)
    mean = hidden.astype(np.float64).mean(axis=0)  # (C,)
    return (mean / max(float(np.linalg.norm(mean)), 1e-12)).astype(np.float32)


def written(vector: np.ndarray, *, as_text: bool) -> Any:
    """Numbers, or their bytes (float32, little endian) in base64, which clients of OpenAI ask for."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode() if as_text else vector.tolist()
