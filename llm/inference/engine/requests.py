"""What is asked of the engine, and what comes back.

A `Request` says which text is to be continued, and how. A `Generation` is a request that the engine works on: it adds
tokens until the request is finished.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from llm.inference.engine.speculation import Draft
from llm.inference.generate import Placement, Sampler
from llm.inference.sampling import Sampling

# stop: an id of stop_ids was drawn. length: max_tokens, or the end of the context. error: it could not be continued.
FinishReason = Literal["stop", "length", "cancelled", "error"]


class Constraint(Protocol):
    """Which tokens may come next: a regular expression or a JSON schema (constrain/)."""

    def start(self) -> Any:
        """The state before the first token. States never change."""

    def allowed(self, state: Any) -> np.ndarray:
        """The tokens that may come next, (V,) bool. If there are none, the text must end here."""

    def advance(self, state: Any, id: int) -> Any:
        """The state after one more token."""


class Token(NamedTuple):
    """A token of a text, with log-probabilities where the request asks for them."""

    id: int
    logprob: float | None = None  # what the model thought of it, before temperature, filters and penalties
    top: Sequence[tuple[int, float]] = ()  # the most likely tokens, with their log-probabilities


@dataclass(frozen=True)
class Request:
    """A text that is to be continued. What comes depends on these fields only, not on other requests."""

    ids: Sequence[int]  # the prompt
    max_tokens: int
    sampling: Sampling = Sampling()
    seed: int = 0
    stop_ids: Collection[int] = ()  # the text ends when one of them is drawn, which is not part of the text
    top_logprobs: int | None = None  # how many of the most likely tokens to report; None: no log-probabilities at all
    prompt_logprobs: bool = False  # report the tokens of the prompt too
    constraint: Constraint | None = None  # which texts are allowed
    draft: Draft | None = None  # guesses the next tokens, which changes nothing but the speed
    # At the end of the context: leave out the oldest tokens and go on (generate.py says how), or finish.
    slide: bool = True


@dataclass(eq=False)
class Generation:
    """A request, and what has been written for it. `tokens` grows until `finish_reason` is set."""

    request: Request
    ids: list[int]  # the prompt, and what has been drawn
    sampler: Sampler
    placement: Placement  # what its keys and values in the cache depend on
    tokens: list[Token] = field(default_factory=list)
    prompt_tokens: list[Token] = field(default_factory=list)  # with `prompt_logprobs`; the first has no log-probability
    finish_reason: FinishReason | None = None
    end: Token | None = None  # the token that ended the text: one of stop_ids
    error: Exception | None = None  # why the text could not be continued; ValueError: no token can be drawn
    slot: int = -1  # of the cache, where its keys and values are; -1: it still waits for one
    state: Any = None  # of the constraint

    @property
    def finished(self) -> bool:
        return self.finish_reason is not None

    @property
    def tokens_left(self) -> int:
        return self.request.max_tokens - len(self.tokens)

    @property
    def visible_ids(self) -> list[int]:
        """The ids that the model still sees: all of them, or the newer part of a text longer than the context."""
        return self.ids[self.placement.first :]

    @property
    def reports_prompt(self) -> bool:
        """Whether what is read now is part of a prompt that is to be reported."""
        return self.request.prompt_logprobs and not self.tokens

    @property
    def can_reuse(self) -> bool:
        """Whether it may begin with what another text has read."""
        return not self.request.prompt_logprobs  # to report the prompt, its logits are needed: all of it must be read

    def draw(self, logits: np.ndarray) -> int | None:
        """The next id, from logits (V,); None if nothing can follow. Raises ValueError if none can be drawn."""
        constraint = self.request.constraint
        if constraint is not None:
            allowed = constraint.allowed(self.state)  # (V,)
            if not allowed.any():  # the text matches, and nothing can follow
                return None
            logits = np.where(allowed, logits, -np.inf)
        return self.sampler(logits, self.ids)

    def fail(self, error: Exception) -> None:
        """End with an error."""
        self.finish_reason, self.error = "error", error

    @contextmanager
    def own_errors(self) -> Iterator[None]:
        """What fails inside ends this text, and no other: a sampler, a constraint, logits that are not numbers."""
        try:
            yield
        except Exception as error:
            self.fail(error)

    def append(self, token: Token) -> None:
        """Add a drawn token."""
        self.ids.append(token.id)
        self.tokens.append(token)
        if self.request.constraint is not None:
            self.state = self.request.constraint.advance(self.state, token.id)
