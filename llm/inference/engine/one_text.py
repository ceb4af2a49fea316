"""The engine for one text at a time. On a GPU, it reads single tokens by CUDA graphs (llm/inference/captured.py).

Prompts, guesses of a draft, and everything where graphs are not possible are read as by any engine. If the likeliest
token is always chosen, the GPU chooses it itself, and writes some tokens ahead before the host looks at them.
"""

from __future__ import annotations

import numpy as np

from llm.inference.captured import CapturedDecoder, obstacle, one_text_pool, warn_once
from llm.inference.engine.engine import Engine
from llm.inference.engine.requests import Generation, Reading, Request, Token
from llm.inference.engine.slots import Slots
from llm.inference.sampling import check_logits
from llm.model.gpt import GPT
from minigrad.backend import to_device

AHEAD = 8  # tokens: so many are read for nothing at most, after the end of a text


def one_text_engine(model: GPT) -> Engine:
    """An engine with one slot. A warning says once why it has no graphs on a GPU."""
    if model.device == "cpu":
        return Engine(model)
    if reason := obstacle(model):
        warn_once(reason)
        return Engine(model)
    return CapturedEngine(model)


class CapturedEngine(Engine):
    """An engine with one slot, for a model without an `obstacle`."""

    def __init__(self, model: GPT):
        super().__init__(model)
        pool = one_text_pool(model)
        self.slots = Slots(pool)
        self.decoder: CapturedDecoder | None = CapturedDecoder(model, pool)

    def _continue(self, readings: list[Reading]) -> None:
        (reading,) = readings
        if self.decoder is None or len(reading.ids) + len(reading.guesses) != 1:
            super()._continue(readings)
            return
        try:
            self._read_one(self.decoder, reading)
        except RuntimeError as error:  # those of CuPy and CUDA, where they refuse to record
            warn_once(str(error))
            self.decoder = None
            slot = reading.generation.slot
            self.slots.truncate(slot, len(self.slots.texts[slot]))  # some tokens may have been written ahead
            super()._continue(readings)

    def _read_one(self, decoder: CapturedDecoder, reading: Reading) -> None:
        """Read one token, and use what it predicts."""
        generation = reading.generation
        read = self.slots.texts[generation.slot]
        if is_greedy(generation.request) and not self._unread(generation)[1:]:
            # The last token of all is never read, so one more can be written than there is room for.
            count = min(AHEAD, generation.tokens_left, self.context - len(read))
            chosen = decoder.write(reading.ids[0], count)
            read += [*reading.ids, *chosen[:-1]]
            with generation.own_errors():
                self._use_chosen(generation, chosen)
            return
        logits = to_device(decoder.read(reading.ids[0]), "cpu")
        read += reading.ids
        with generation.own_errors():
            self._use(reading, logits[None])

    def _use_chosen(self, generation: Generation, chosen: list[int]) -> None:
        """Add tokens until the text is finished; all but the last of them have been read."""
        read = self.slots.texts[generation.slot]
        right = len(read) - len(chosen) + 1
        for id in chosen:
            if id < 0:
                check_logits(np.full(1, np.nan))  # raises the error of logits that are not finite
            self._add(generation, Token(id))
            if generation.finished:
                break
            right += 1
        if len(read) > right:  # `_add` may have emptied the slot
            self.slots.truncate(generation.slot, right)


def is_greedy(request: Request) -> bool:
    """Whether nothing but the likeliest token matters."""
    others = request.sampling.changes_logits, request.prompt_logprobs, request.constraint, request.draft
    plain = request.sampling.temperature == 0 and request.top_logprobs is None and request.sampling.sampler == "numpy"
    return plain and not any(others)
