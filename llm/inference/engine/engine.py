"""The engine: it continues many texts at once. The terminal, the server and the page all write with it.

    engine = Engine(model, slots=8)
    generation = engine.submit(Request(ids, max_tokens=100))
    while not generation.finished:
        engine.step()                       # generation.tokens grows, and so do those of all other requests

A text has ids, and the model has read some of them: their keys and values are in the cache. A step is one call of the
model. It reads new ids of all texts, because most of the time goes into reading the weights from memory:

- Decode: of each text with one unread id, the token that was drawn last, it reads this id.
- Prefill: of texts with many unread ids, such as new prompts, it reads some of them, of all together at most a chunk.

Then it draws the next token of each text that has no unread ids.

So a request joins and leaves between two tokens ("continuous batching": Yu et al. 2022, Orca), and a long prompt does
not stop the others for long ("chunked prefill": Agrawal et al. 2023, arXiv 2308.16369). When old tokens are left out at
the end of the context, the other half of it is unread again, and is prefilled like a prompt.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from copy import deepcopy

import numpy as np

from llm.inference.engine.requests import Generation, Reading, Request, Token, make_token
from llm.inference.engine.slots import Slots, common_length
from llm.inference.generate import check_arguments, make_sampler, place
from llm.model.cache_pool import CHUNK, CachePool, ranges
from llm.model.gpt import GPT
from llm.model.no_dropout import no_dropout
from minigrad import no_grad
from minigrad.backend import Array, device_of, to_device
from minigrad.tensor import Tensor

WORTH_WAITING = 16  # tokens: it takes less time to read fewer twice than to wait until another text has read them


class Engine:
    """Continues up to `slots` texts at once; further ones wait. One thread at a time may use it.

    `context`: the largest number of tokens of a text, prompt included; default: that of the model. `chunk`: how many
    tokens of prompts are read between two tokens of the other texts. `adapters`: models with the weights of `model`,
    and an adapter each (llm/model/adapters), by the names that requests give.
    """

    def __init__(
        self,
        model: GPT,
        slots: int = 1,
        *,
        context: int | None = None,
        chunk: int = CHUNK,
        adapters: Mapping[str, GPT] | None = None,
    ):
        self.model = model
        self.models: dict[str | None, GPT] = {None: model} | dict(adapters or {})
        self.context = min(context or model.context, *(each.context for each in self.models.values()))
        virtual = {name: model.config.context - each.context for name, each in self.models.items()}
        # In some models the rotary angles depend on the length of the text (rope_scaling.py). Then a beginning that
        # another text has read, or that was read as a chunk, could have other angles: prompts are read as a whole.
        shortest, longest = (place(model, length, self.context) for length in (1, self.context))
        self.fixed_angles = shortest == longest
        self.chunk = chunk if self.fixed_angles else self.context * slots
        pool = CachePool(model.config, slots, self.context + max(virtual.values()), self.chunk)
        self.slots = Slots(pool, reuse=self.fixed_angles, virtual=virtual)
        self.waiting: deque[Generation] = deque()
        self.running: list[Generation] = []

    def submit(self, request: Request) -> Generation:
        """Begin with a request, as soon as a slot is free. Raises ValueError if it is not possible."""
        if request.adapter not in self.models:
            raise ValueError(f"there is no adapter {request.adapter!r}, only {', '.join(filter(None, self.models))}")
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

    def abandon(self, error: Exception) -> None:
        """After a step that has failed: end all running requests. Nothing is known about what is in the cache."""
        for generation in self.running:
            generation.fail(error)
        self.running.clear()
        self.slots.forget_all()

    def run(self, request: Request) -> Iterator[Token]:
        """The tokens of one request, as they come."""
        return self.follow(self.submit(request))

    def follow(self, generation: Generation) -> Iterator[Token]:
        """The tokens of a request, as they come; the other requests go on meanwhile.

        Raises the error of a text that cannot be continued: ValueError if no token can be drawn. The request is
        cancelled if the iterator is closed before its end.
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
        if generation.error is not None:
            raise generation.error

    def step(self) -> None:
        """Read new ids of all running texts, and draw a token of each text that has no unread ids then."""
        self._admit()
        # A model that has diverged overflows: that is seen in its logits, and needs no warnings of NumPy.
        with no_grad(), no_dropout(self.model), np.errstate(all="ignore"):
            decoding = [each for each in self.running if self._can_decode(each)]
            prompts = [each for each in self.running if each not in decoding]
            readings = [*self._decode(decoding), *self._prefill(prompts)]
            for together in self._calls(readings):
                self._continue(together)
        self._remove_finished()

    # --- the parts of a step --------------------------------------------------------------------------------------

    def _admit(self) -> None:
        """Give free slots to the requests that have waited longest."""
        while self.waiting and self.slots.free and not self._is_read_by_another(self.waiting[0]):
            generation = self.waiting.popleft()
            ids, adapter = generation.visible_ids, generation.request.adapter
            generation.slot = self.slots.take(ids, adapter, reuse=generation.can_reuse)
            self.running.append(generation)

    def _is_read_by_another(self, generation: Generation) -> bool:
        """Whether a running text is about to read much of this prompt, which then need not be read again."""
        if not (self.fixed_angles and generation.can_reuse):
            return False
        ids = generation.visible_ids[:-1]
        alike = [each for each in self.running if each.request.adapter == generation.request.adapter]
        reading = [each for each in alike if len(self._unread(each)) > WORTH_WAITING]
        read = [len(self.slots.texts[each.slot]) for each in reading]
        common = [common_length(each.visible_ids, ids) for each in reading]
        return any(a - b > WORTH_WAITING for a, b in zip(common, read, strict=True))

    def _calls(self, readings: list[Reading]) -> list[list[Reading]]:
        """What is read together: the texts of each adapter."""
        if not self.fixed_angles:  # texts of different lengths may have different angles, so each has its own call
            return [[each] for each in readings]
        calls: dict[str | None, list[Reading]] = {}
        for each in readings:
            calls.setdefault(each.generation.request.adapter, []).append(each)
        return list(calls.values())

    def _can_decode(self, generation: Generation) -> bool:
        """Whether the only unread id is the one that was drawn last."""
        return bool(generation.tokens) and len(self._unread(generation)) == 1

    def _decode(self, generations: list[Generation]) -> list[Reading]:
        """The last token of each text; with guesses of the next ones, if it is the only text."""
        alone = len(generations) == 1 and self.fixed_angles
        return [Reading(each, each.ids[-1:], self._guess(each) if alone else []) for each in generations]

    def _prefill(self, generations: list[Generation]) -> list[Reading]:
        """Of all texts together as many unread ids as a chunk has, shared equally."""
        # What a short prompt leaves of its share is for the longer ones after it.
        prompts = sorted(((each, self._unread(each)) for each in generations), key=lambda pair: len(pair[1]))
        readings, room = [], self.chunk
        for number, (generation, unread) in enumerate(prompts):
            ids = unread[: room // (len(prompts) - number)]
            room -= len(ids)
            readings.append(Reading(generation, ids, []))
        return [each for each in readings if each.ids]

    def _continue(self, readings: list[Reading]) -> None:
        """Read these ids, all in one call of the model, and draw the next tokens."""
        # Sorted, because texts of the same length in neighbouring slots are faster (cache_pool.py).
        readings = sorted(readings, key=lambda each: each.generation.slot)
        model = self.models[readings[0].generation.request.adapter]
        x = self._read(model, readings)  # (N, C)
        stops = np.cumsum([len(each.ids) + len(each.guesses) for each in readings])  # in x, of each text
        counts = np.array([self._predictions(each) for each in readings])
        if not counts.sum():
            return
        logits = self._logits(model, x, ranges(stops - counts, counts))  # (sum of the counts, V)
        for each, rows in zip(readings, np.split(logits, np.cumsum(counts)[:-1]), strict=True):
            with each.generation.own_errors():
                self._use(each, rows)

    def _predictions(self, reading: Reading) -> int:
        """How many of the tokens of a reading, the last ones, are to predict the next token."""
        generation = reading.generation
        if generation.reports_prompt:
            return len(reading.ids)
        return 0 if self._unread(generation) else 1 + len(reading.guesses)

    def _use(self, reading: Reading, logits: np.ndarray) -> None:
        """Report the prompt if that is asked for, and draw as long as the guesses are right. `logits`: (count, V)."""
        generation, guesses = reading.generation, reading.guesses
        if generation.reports_prompt:
            self._report_prompt(generation, logits)
        if generation.finished or self._unread(generation):
            return
        read = self.slots.texts[generation.slot]
        right = len(read) - len(guesses)  # ids in the cache that are right
        for guess, row in zip([*guesses, None], logits[-1 - len(guesses) :], strict=True):  # None: after the last guess
            self._draw(generation, row)
            if generation.finished or generation.ids[-1] != guess:
                break
            right += 1
        if len(read) > right:  # `_draw` may have emptied the slot (`_make_room`)
            self.slots.truncate(generation.slot, right)

    def _guess(self, generation: Generation) -> list[int]:
        """The next ids, as the draft proposes them, and no more than can be read and used."""
        draft, ids = generation.request.draft, generation.visible_ids
        if draft is None:
            return []
        # All guesses may be right, and then one more token is drawn. The last of all is never read, so the context must
        # have room only for the others. A layer with a window has room for a chunk, which begins with the last token.
        room = min(generation.tokens_left - 1, self.context - len(ids), self.chunk - 1)
        with generation.own_errors():
            # With a copy of the sampler, so that guesses use up none of the text's random numbers.
            return draft.propose(ids, deepcopy(generation.sampler))[: max(room, 0)]
        return []

    def _remove_finished(self) -> None:
        for generation in self.running:
            if generation.finished:
                self.slots.give_back(generation.slot)
        self.running = [each for each in self.running if not each.finished]
        self.waiting = deque(each for each in self.waiting if not each.finished)

    # --- reading and drawing --------------------------------------------------------------------------------------

    def _unread(self, generation: Generation) -> list[int]:
        return generation.ids[generation.placement.first + len(self.slots.texts[generation.slot]) :]

    def _read(self, model: GPT, readings: list[Reading]) -> Array:
        """Send ids through the model, after what each text has in the cache: (N, C) for all of them."""
        slots = [each.generation.slot for each in readings]
        new = [each.ids + each.guesses for each in readings]
        ids = np.concatenate(new)[None] if len(new) == 1 else np.concatenate(new)[:, None]  # (1, N) or (N, 1)
        x = model.hidden(ids, cache=self.slots.pool.rows(slots, [len(row) for row in new]))
        for slot, row in zip(slots, new, strict=True):
            self.slots.texts[slot] += row
        return x.data.reshape(ids.size, -1)

    def _logits(self, model: GPT, x: Array, rows: np.ndarray) -> np.ndarray:
        """Some rows of x (N, C) to logits (rows, V) on the CPU."""
        return to_device(model.logits(Tensor(x[to_device(rows, device_of(x))])).data, "cpu")

    def _draw(self, generation: Generation, logits: np.ndarray) -> None:
        """Draw the next token of a text, and add it. `logits`: (V,)."""
        if generation.tokens_left == 0:  # only the prompt was to be read
            generation.finish_reason = "length"
            return
        id = generation.draw(logits)
        self._add(generation, None if id is None else make_token(id, logits, generation.request.top_logprobs))

    def _add(self, generation: Generation, token: Token | None) -> None:
        """Add a token to a text, or finish it. None: nothing can follow."""
        if token is None or token.id in generation.request.stop_ids:
            generation.finish_reason, generation.end = "stop", token
            return
        generation.append(token)
        self._make_room(generation)

    def _make_room(self, generation: Generation) -> None:
        """Prepare a text for its next token, if there is one. At the context's end, leave out its oldest tokens."""
        ends = not generation.request.slide and len(generation.ids) > self.context
        if generation.tokens_left == 0 or ends:
            generation.finish_reason = "length"
        elif (placement := place(self.model, len(generation.ids), self.context)) != generation.placement:
            generation.placement = placement
            self.slots.truncate(generation.slot, 0)  # all that is still seen must be read again

    def _report_prompt(self, generation: Generation, logits: np.ndarray) -> None:
        """Add to `prompt_tokens` the tokens of the prompt that logits (T, V) predict."""
        if not generation.prompt_tokens:  # nothing predicts the first one
            generation.prompt_tokens.append(Token(generation.visible_ids[0]))
        following = generation.visible_ids[len(generation.prompt_tokens) :]
        for id, row in zip(following, logits, strict=False):  # the last row predicts the first new token
            generation.prompt_tokens.append(make_token(id, row, generation.request.top_logprobs or 0))
