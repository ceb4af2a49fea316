"""What all parts of the server share: the model, its worker, and the work that is done before the engine begins.

That work is done in threads of its own, so that the event loop never waits: texts become ids, patterns become
constraints. Each kind has one thread, because tokenizers and constraints keep caches that one thread may use.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from starlette.requests import Request as HTTPRequest

from llm.inference.constrain import Constraint
from llm.inference.engine.engine import Engine
from llm.inference.engine.requests import Request
from llm.inference.model_choice import LoadedModel
from llm.inference.sampling import Sampling
from llm.inference.server.errors import Refusal
from llm.inference.server.metrics import Metrics
from llm.inference.server.options import ServerOptions
from llm.inference.server.request_parameters import MOST_CHOICES, MOST_REPORTED, RequestParameters
from llm.inference.server.token_names import TokenNames
from llm.inference.server.worker import Job, Worker
from llm.inference.text import start_ids

T = TypeVar("T")
KEPT_CONSTRAINTS = 16
CHARACTERS_PER_TOKEN = 16  # more than in any text that somebody has written: English has 4 or 5
ENCODED_AT_ONCE = 400_000  # characters, which takes no second; lm-eval cuts a long text only after it has the tokens


@dataclass(frozen=True)
class Prompt:
    """The ids to continue. The first `begin` of them were put before a text, and have no text themselves."""

    ids: list[int]
    begin: int = 0


class Service:
    """A model that writes for the clients of a server."""

    def __init__(self, loaded: LoadedModel, sampling: Sampling, options: ServerOptions):
        self.model, self.tokenizer = loaded.model, loaded.tokenizer
        self.name = model_name(loaded.name)
        self.created = int(time.time())
        self.sampling, self.options = sampling, options
        self.end_ids = loaded.all_end_ids
        engine = Engine(loaded.model, options.slots, context=options.context)
        self.context = engine.context
        self.worker = Worker(engine, options.waiting)
        self.names, self.metrics = TokenNames(loaded.tokenizer), Metrics()
        used = {id for id, token in enumerate(self.tokenizer.tokens) if token is not None}
        self._unused = {id: -math.inf for id in range(self.model.config.vocab_size) if id not in used}
        self._constraints: OrderedDict[str, Constraint] = OrderedDict()
        self._encoding, self._constraining = ThreadPoolExecutor(1, "encoding"), ThreadPoolExecutor(1, "constraining")

    def close(self) -> None:
        self.worker.close()
        self._encoding.shutdown(cancel_futures=True)
        self._constraining.shutdown(cancel_futures=True)

    # --- what comes before the engine -----------------------------------------------------------------------------

    async def encoding(self, function: Callable[..., T], *arguments: Any) -> T:
        """The result of a function that uses the tokenizer. Raises Refusal where it raises ValueError."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._encoding, function, *arguments)
        except ValueError as error:
            raise Refusal(str(error)) from None

    def allows_special(self, fields: Mapping[str, Any]) -> bool:
        """Whether the names of special tokens in a text are these tokens."""
        return fields.get("allow_special", self.options.allow_special)

    async def prompts(self, given: Sequence[str | list[int]], *, allow_special: bool) -> list[Prompt]:
        """Texts, or ids, to which nothing is added."""
        for each in given:
            self.check_length(each)
        # One after the other, so that those of another client can come in between.
        return [await self.encoding(self._prompt, each, allow_special) for each in given]

    def check_length(self, text: str | list[int]) -> None:
        """Refuse a text that has surely more tokens than the context, before it is encoded, which may take seconds."""
        most = max(CHARACTERS_PER_TOKEN * self.context, ENCODED_AT_ONCE)
        if len(text) > most:
            raise Refusal(
                f"a text may have {most:,} characters here, and got {len(text):,}", code="context_length_exceeded"
            )

    def _prompt(self, given: str | list[int], allow_special: bool) -> Prompt:
        if isinstance(given, list):
            return Prompt(given)
        if not given:  # a new text
            ids = start_ids(self.tokenizer)
            return Prompt(ids, len(ids))
        begin = self.tokenizer.template.begin_ids()
        return Prompt(begin + self.encode(given, allow_special=allow_special), len(begin))

    def encode(self, text: str, *, allow_special: bool) -> list[int]:
        """Text is text: the names of special tokens in it are not these tokens, unless that is allowed."""
        if allow_special:
            return self.tokenizer.encode(text, allowed_special="all")
        return self.tokenizer.encode_ordinary(text)

    async def constraint(self, source: str | None) -> Constraint | None:
        """That of a `response_format` (request_parameters.py)."""
        if source is None:
            return None
        try:
            return await asyncio.get_running_loop().run_in_executor(self._constraining, self._constraint, source)
        except ValueError as error:
            raise Refusal(f"the text cannot be constrained so: {error}", param="response_format") from None

    def _constraint(self, source: str) -> Constraint:
        constraint = self._constraints.pop(source, None) or self._make_constraint(source)
        self._constraints[source] = constraint
        if len(self._constraints) > KEPT_CONSTRAINTS:
            self._constraints.popitem(last=False)
        return constraint

    def _make_constraint(self, source: str) -> Constraint:
        kind, _, content = source.partition(":")
        size = self.model.config.vocab_size
        if kind == "regex":
            return Constraint.from_regex(content, self.tokenizer, end_ids=self.end_ids, vocab_size=size)
        if kind == "schema":
            return Constraint.from_schema(json.loads(content), self.tokenizer, end_ids=self.end_ids, vocab_size=size)
        return Constraint.json_object(self.tokenizer, end_ids=self.end_ids, vocab_size=size)

    # --- the engine -----------------------------------------------------------------------------------------------

    async def begin(self, prompts: Sequence[Prompt], parameters: RequestParameters) -> Job:
        """Begin to write `n` texts for each prompt that `check` has found possible. Raises Refusal."""
        constraint = await self.constraint(parameters.constraint)
        common: dict[str, Any] = {
            "sampling": self.without_unused(parameters.sampling),
            "stop_ids": self.end_ids,
            "top_logprobs": parameters.top_logprobs,
            "prompt_logprobs": parameters.echo and parameters.top_logprobs is not None,
            "constraint": constraint,
            "slide": False,
        }
        requests = [
            Request(prompt.ids, self.room(prompt, parameters), seed=parameters.seed_of(number), **common)
            for prompt in prompts
            for number in range(parameters.n)
        ]
        return await self.worker.begin(requests)

    def without_unused(self, sampling: Sampling) -> Sampling:
        """The same, but ids that have no token are never drawn: some models have more ids than their tokenizer."""
        if not self._unused or sampling.sampler != "numpy":
            return sampling
        return replace(sampling, logit_bias=tuple({**dict(sampling.logit_bias), **self._unused}.items()))

    def room(self, prompt: Prompt, parameters: RequestParameters) -> int:
        """The largest number of tokens to write."""
        room = self.context + 1 - len(prompt.ids)  # the last token is written, but never read
        return room if parameters.max_tokens is None else min(parameters.max_tokens, room)

    def check_prompts(self, prompts: Sequence[Prompt], field: str) -> None:
        """Refuse what the model cannot read."""
        longest, size = max(len(prompt.ids) for prompt in prompts), self.model.config.vocab_size
        if longest > self.context:
            sentence = f"{field} has {longest:,} tokens and the context is {self.context:,}; shorten it"
            raise Refusal(sentence, param=field, code="context_length_exceeded")
        if any(min(prompt.ids) < 0 or max(prompt.ids) >= size for prompt in prompts):
            raise Refusal(f"{field} has ids that the model does not know; it knows 0 to {size - 1}", param=field)

    def check(self, prompts: Sequence[Prompt], parameters: RequestParameters, field: str) -> None:
        """Refuse what the engine would refuse, and what is too much for one answer. `field` has the prompts."""
        self.check_prompts(prompts, field)
        if len(prompts) * parameters.n > MOST_CHOICES:
            raise Refusal(f"at most {MOST_CHOICES} texts for one request: prompts times n", param="n")
        if parameters.top_logprobs is not None:
            tokens = (
                sum(parameters.echo * len(each.ids) + self.room(each, parameters) for each in prompts) * parameters.n
            )
            if tokens * (1 + parameters.top_logprobs) > MOST_REPORTED:
                raise Refusal(f"at most {MOST_REPORTED:,} log-probabilities for one request", param="logprobs")
        try:
            parameters.sampling.check_vocabulary(self.model.config.vocab_size)
        except ValueError as error:
            raise Refusal(str(error), param="logit_bias") from None


def service_of(request: HTTPRequest) -> Service:
    """The service of the application that answers a request."""
    return request.app.state.service


def model_name(name: str) -> str:
    """The name of a model for its clients, who need not know in which folder it is."""
    return Path(name).name.removesuffix(".gguf").removesuffix(".bin") or "minigrad"
