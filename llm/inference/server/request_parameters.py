"""What a body asks for, of the fields that completions and chat have in common."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from llm.inference.sampling import Sampling
from llm.inference.server import checks
from llm.inference.server.errors import Refusal
from llm.inference.server.fields import refuse_both

MOST_CHOICES = 128  # texts for one request
MOST_LOGPROBS = 20  # the most likely tokens to report, for each place
MOST_SCHEMA = 100_000  # characters; to prepare a longer one takes seconds
MOST_REPORTED = 300_000  # log-probabilities in one answer

SAMPLING: dict[str, checks.Check] = {
    "temperature": checks.number,
    "top_p": checks.number,
    "top_k": checks.whole_number(-1, 2**31),
    "min_p": checks.number,
    "typical_p": checks.number,
    "repetition_penalty": checks.number,
    "frequency_penalty": checks.number,
    "presence_penalty": checks.number,
    "logit_bias": checks.logit_bias,
}


def response_format(value: Any) -> str | None:
    """What the text must be: None, any text; else "regex:PATTERN", "schema:JSON" or "object"."""
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "text":
        return None
    if kind == "json_object":
        return "object"
    inner = value.get("json_schema") if kind == "json_schema" else None
    if not isinstance(inner, dict) or not isinstance(inner.get("schema"), (dict, bool)):
        raise ValueError(
            '{"type": "text"}, {"type": "json_object"} or {"type": "json_schema", "json_schema": {"schema"}}'
        )
    schema = json.dumps(inner["schema"])
    if len(schema) > MOST_SCHEMA:
        raise ValueError(f"a schema of at most {MOST_SCHEMA:,} characters")
    return "schema:" + schema


def stream_options(value: Any) -> bool:
    """Whether the usage is to be told at the end."""
    if not isinstance(value, dict) or not isinstance(value.get("include_usage", False), bool):
        raise ValueError('an object such as {"include_usage": true}')
    if unknown := value.keys() - {"include_usage", "include_obfuscation"}:
        raise ValueError(f"an object without the field {min(unknown)!r:.60}")
    return value.get("include_usage", False)


COMMON: dict[str, checks.Check] = SAMPLING | {
    "max_tokens": checks.whole_number(0, 2**31),
    "n": checks.whole_number(1, MOST_CHOICES),
    "seed": checks.whole_number(-(2**63), 2**64),
    "stop": checks.stop_strings,
    "stream": checks.boolean,
    "stream_options": stream_options,
    "response_format": response_format,
    "regex": checks.text,
    "allow_special": checks.boolean,
}


@dataclass(frozen=True)
class RequestParameters:
    """How texts are to be continued, and what is to be told about them."""

    sampling: Sampling
    max_tokens: int | None  # None: up to the end of the context
    n: int = 1
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stream: bool = False
    include_usage: bool = False
    top_logprobs: int | None = None  # how many of the most likely tokens to report; None: no log-probabilities
    echo: bool = False
    constraint: str | None = None  # see `response_format`
    allow_special: bool = False  # whether the names of special tokens in texts are these tokens

    def seed_of(self, number: int) -> int:
        """The seed of text `number` of a prompt."""
        if self.seed is None:
            return secrets.randbelow(2**63)
        return (self.seed + number) % 2**64  # NumPy's seeds are not negative


def read_parameters(fields: Mapping[str, Any], sampling: Sampling, **others: Any) -> RequestParameters:
    """From fields checked by COMMON. `sampling`: where the fields do not say how."""
    if "stream_options" in fields and not fields.get("stream"):
        raise Refusal("stream_options need stream: true", param="stream_options")
    refuse_both(fields, "response_format", "regex")
    pattern = "regex:" + fields["regex"] if "regex" in fields else None
    return RequestParameters(
        sampling=read_sampling(fields, sampling),
        n=fields.get("n", 1),
        seed=fields.get("seed"),
        stop=tuple(fields.get("stop", ())),
        stream=fields.get("stream", False),
        include_usage=fields.get("stream_options", False),
        constraint=pattern or fields.get("response_format"),
        **others,
    )


def read_sampling(fields: Mapping[str, Any], sampling: Sampling) -> Sampling:
    given = {name: fields[name] for name in SAMPLING if name in fields}
    if given.get("top_k") in (0, -1):
        given["top_k"] = None  # how others say "all tokens"
    try:
        return replace(sampling, **given)
    except ValueError as error:
        name = next((name for name in given if str(error).startswith(name)), None)
        raise Refusal(str(error), param=name) from None
