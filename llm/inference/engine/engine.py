"""The engine: it continues many texts at once. The terminal, the server and the page all write with it.

    engine = Engine(model, slots=8)
    generation = engine.submit(Request(ids, max_tokens=100))
    while not generation.finished:
        engine.step()                       # generation.tokens grows, and so do those of all other requests

A text has ids, and the model has read some of them: their keys and values are in the cache. A step does two things:

1. Prefill: of one text with many unread ids, such as a new prompt, it reads a chunk.
2. Decode: of all texts with one unread id, the token that was drawn last, it reads this id, and draws the next one.
   That is one call of the model for all of them, because most of the time goes into reading the weights from memory.

So a request joins and leaves between two tokens ("continuous batching": Yu et al. 2022, Orca), and a long prompt does
not stop the others for long ("chunked prefill": Agrawal et al. 2023, arXiv 2308.16369). When old tokens are left out at
the end of the context, the other half of it is unread again, and is prefilled like a prompt.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from copy import deepcopy

import numpy as np

from llm.inference.engine.requests import Generation, Request, Token
from llm.inference.engine.slots import Slots
from llm.inference.generate import check_arguments, make_sampler, place
from llm.inference.logprobs import log_probabilities, most_likely
from llm.model.cache_pool import CHUNK, CachePool
from llm.model.gpt import GPT
from llm.model.no_dropout import no_dropout
from minigrad import no_grad
from minigrad.backend import to_device
from minigrad.tensor import Tensor


class Engine:
    """Continues up to `slots` texts at once; further ones wait. One thread at a time may use it.

    `context`: the largest number of tokens of a text, prompt included; default: that of the model. `chunk`: how many
    tokens of a prompt are read between two tokens of the other texts.
    """

    def __init__(self, model: GPT, slots: int = 1, *, context: int | None = None, chunk: int = CHUNK):
        self.model = model
        self.context = min(context or model.config.context, model.config.context)
        # In some models the rotary angles depend on the length of the text (rope_scaling.py). Then a beginning that
        # another text has read, or that was read as a chunk, could have other angles.
        shortest, longest = (place(model, length, self.context) for length in (1, self.context))
        self.fixed_angles = shortest == longest
        self.chunk = chunk if self.fixed_angles else self.context
        self.slots = Slots(CachePool(model.config, slots, self.context, self.chunk), reuse=self.fixed_angles)
        self.waiting: deque[Generation] = deque()
        self.running: list[Generation] = []

    def submit(self, request: Request) -> Generation:
        """Begin with a request, as soon as a slot is free. Raises ValueError if it is not possible."""
        check_arguments(self.model, request.ids, request.max_tokens, request.seed, request.sampling)
        if not request.slide and len(request.ids) > self.context:
            raise ValueError(
                f"the prompt has {len(request.ids):,} tokens and the context is {self.context:,}; shorten the prompt"
            )
        sampler = make_sampler(request.sampling, request.seed, len(request.ids))
        placement = place(self.model, len(request.ids), self.context)
        generation = Generation(request, list(request.ids), sampler, placement)
        if request.constraint is not None:
            generation.state = request.constraint.start()
        if request.max_tokens == 0 and not request.prompt_logprobs:
            generation.finish_reason = "length"
        else:
            self.waiting.append(generation)
        return generation

    def cancel(self, generation: Generation) -> None:
        """End a request now, if it has not ended."""
        if not generation.finished:
            generation.finish_reason = "cancelled"
            self._remove_finished()

    def abandon(self, error: str) -> None:
        """After a step that has failed: end all running requests. Nothing is known about what is in the cache."""
        for generation in self.running:
            generation.finish_reason, generation.error = "error", error
        self.running.clear()
        self.slots.forget_all()

    def run(self, request: Request) -> Iterator[Token]:
        """The tokens of one request, as they come."""
        return self.follow(self.submit(request))

    def follow(self, generation: Generation) -> Iterator[Token]:
        """The tokens of a request, as they come; the other requests go on meanwhile.

        Raises ValueError if no token can be drawn. The request is cancelled if the iterator is closed before its end.
        """
        sent = 0
        try:
            while sent < len(generation.tokens) or not generation.finished:
                while sent < len(generation.tokens):
                    yield generation.tokens[sent]
                    sent += 1
                if not generation.finished:
                    self.step()
        finally:
            self.cancel(generation)
        if generation.finish_reason == "error":
            raise ValueError(generation.error)

    def step(self) -> None:
        """Prefill a chunk of one text, and decode one token of each text that needs no prefill."""
        self._admit()
        # A model that has diverged overflows: that is seen in its logits, and needs no warnings of NumPy.
        with no_grad(), no_dropout(self.model), np.errstate(all="ignore"):
            decoding = [each for each in self.running if self._can_decode(each)]
            prefilling = [each for each in self.running if each not in decoding]
            if prefilling:
                self._prefill(prefilling[0])
            if len(decoding) == 1 and decoding[0].request.draft is not None and self.fixed_angles:
                self._speculate(decoding[0])
            elif decoding:
                self._decode(decoding)
        self._remove_finished()

    # --- the parts of a step --------------------------------------------------------------------------------------

    def _admit(self) -> None:
        """Give free slots to the requests that have waited longest."""
        while self.waiting and self.slots.free:
            generation = self.waiting.popleft()
            # To report the prompt, all of it must be read: what another text has read gives no logits now.
            reuse = not generation.request.prompt_logprobs
            generation.slot = self.slots.take(generation.visible_ids, reuse=reuse)
            self.running.append(generation)

    def _can_decode(self, generation: Generation) -> bool:
        """Whether the only unread id is the one that was drawn last."""
        return bool(generation.tokens) and len(self._unread(generation)) == 1

    def _prefill(self, generation: Generation) -> None:
        """Read a chunk of the unread ids. After the last one, draw a token."""
        ids = self._unread(generation)[: self.chunk]
        x = self._read([generation], [ids])  # (1, T, C)
        if generation.request.prompt_logprobs and not generation.tokens:
            self._report_prompt(generation, x)
        if not self._unread(generation):
            self._draw(generation, self._logits(x[:, -1])[0])

    def _decode(self, generations: list[Generation]) -> None:
        """Read the last token of each of these texts, all in one call, and draw the next ones."""
        if not self.fixed_angles and len(generations) > 1:  # texts of different lengths have different angles
            for each in generations:
                self._decode([each])
            return
        x = self._read(generations, [each.ids[-1:] for each in generations])  # (B, 1, C)
        for generation, logits in zip(generations, self._logits(x[:, -1]), strict=True):
            self._draw(generation, logits)

    def _speculate(self, generation: Generation) -> None:
        """Read the last token together with guesses of the next ones, and draw as long as the guesses are right."""
        guesses = self._guess(generation)
        right = len(self.slots.texts[generation.slot]) + 1  # ids in the cache that are right: so far, and the last one
        x = self._read([generation], [generation.ids[-1:] + guesses])  # (1, T, C)
        for guess, logits in zip([*guesses, None], self._logits(x)[0], strict=True):  # None: after the last guess
            self._draw(generation, logits)
            if generation.finished or generation.ids[-1] != guess:
                break
            right += 1
        if len(self.slots.texts[generation.slot]) > right:  # `_draw` may have emptied the slot (`_make_room`)
            self.slots.truncate(generation.slot, right)

    def _guess(self, generation: Generation) -> list[int]:
        """The next ids, as the draft proposes them, and no more than can be read and used."""
        draft, ids = generation.request.draft, generation.visible_ids
        assert draft is not None
        # All guesses may be right, and then one more token is drawn. The last of all is never read, so the context must
        # have room only for the others. A layer with a window has room for a chunk, which begins with the last token.
        room = min(generation.tokens_left - 1, self.context - len(ids), self.chunk - 1)
        # With a copy of the sampler, so that guesses use up none of the text's random numbers.
        return draft.propose(ids, deepcopy(generation.sampler))[: max(room, 0)]

    def _remove_finished(self) -> None:
        for generation in self.running:
            if generation.finished:
                self.slots.give_back(generation.slot)
        self.running = [each for each in self.running if not each.finished]
        self.waiting = deque(each for each in self.waiting if not each.finished)

    # --- reading and drawing --------------------------------------------------------------------------------------

    def _unread(self, generation: Generation) -> list[int]:
        return generation.ids[generation.placement.first + len(self.slots.texts[generation.slot]) :]

    def _read(self, generations: list[Generation], ids: list[list[int]]) -> Tensor:
        """Send ids (B, T) through the model, after what each text has in the cache: (B, T, C)."""
        slots = [each.slot for each in generations]
        x = self.model.hidden(np.array(ids), cache=self.slots.pool.rows(slots))
        for slot, row in zip(slots, ids, strict=True):
            self.slots.texts[slot] += row
        return x

    def _logits(self, x: Tensor) -> np.ndarray:
        """x (..., C) to logits (..., V) on the CPU."""
        return to_device(self.model.logits(x).data, "cpu")

    def _draw(self, generation: Generation, logits: np.ndarray) -> None:
        """Add the next token to a text, or finish it. `logits`: (V,)."""
        if generation.tokens_left > 0:  # otherwise only the prompt was to be read
            try:
                id = generation.draw(logits)
            except ValueError as error:
                generation.finish_reason, generation.error = "error", str(error)
                return
            token = None if id is None else make_token(id, logits, generation.request.top_logprobs)
            if token is None or token.id in generation.request.stop_ids:
                generation.finish_reason, generation.end = "stop", token
                return
            generation.append(token)
        if generation.tokens_left == 0:
            generation.finish_reason = "length"
        else:
            self._make_room(generation)

    def _make_room(self, generation: Generation) -> None:
        """Prepare a text for its next token: at the end of the context, leave out its oldest tokens or finish it."""
        if not generation.request.slide and len(generation.ids) > self.context:
            generation.finish_reason = "length"
        elif (placement := place(self.model, len(generation.ids), self.context)) != generation.placement:
            generation.placement = placement
            self.slots.truncate(generation.slot, 0)  # all that is still seen must be read again

    def _report_prompt(self, generation: Generation, x: Tensor) -> None:
        """Add to `prompt_tokens` the tokens of the prompt that x (1, T, C) predicts."""
        if not generation.prompt_tokens:  # nothing predicts the first one
            generation.prompt_tokens.append(Token(generation.visible_ids[0]))
        following = generation.visible_ids[len(generation.prompt_tokens) :]
        for id, logits in zip(following, self._logits(x)[0], strict=False):  # the last row predicts the first new token
            generation.prompt_tokens.append(make_token(id, logits, generation.request.top_logprobs or 0))


def make_token(id: int, logits: np.ndarray, count: int | None) -> Token:
    """A token with its log-probability and the `count` most likely ones, by logits (V,); None: without them."""
    if count is None:
        return Token(id)
    logprobs = log_probabilities(logits)
    return Token(id, float(logprobs[id]), tuple(most_likely(logprobs, count)))
