"""One text on a GPU, token by token, by CUDA graphs."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from benchmarks.competitor import Work
from benchmarks.peers import ours
from benchmarks.peers.decoding import PROMPT, WRITTEN, decoder
from benchmarks.task import Task
from llm.inference.captured import CapturedDecoder, one_text_pool
from llm.inference.engine.one_text import AHEAD
from minigrad import no_grad


def captured(task: Task) -> Work:
    """Each token is one launch; then its logits come to the host."""
    text = Text(task)
    return decoder(task, text.begin, lambda ids, _: text.read(ids))


def captured_and_chosen(task: Task) -> Work:
    """The GPU chooses each token itself; the host waits once for AHEAD of them."""
    text, prompt = Text(task), task.ids()[0][:, :PROMPT]

    def write() -> dict[str, float]:
        text.begin()
        id = int(text.read(prompt).argmax())
        began = time.perf_counter()
        for _ in range(WRITTEN // AHEAD):
            id = text.decoder.write(id, AHEAD)[-1]
        return {"seconds": time.perf_counter() - began}

    return write


class Text:
    """A text that a model continues, and its cache. Its graphs are recorded once."""

    def __init__(self, task: Task):
        self.model = ours._model(task).eval()
        self.decoder = CapturedDecoder(self.model, one_text_pool(self.model))

    def begin(self) -> None:
        self.decoder.pool.truncate(0, 0)

    def read(self, ids: np.ndarray) -> Any:
        """A prompt or a token, (1, T): the logits (1, V) of the token after it."""
        if ids.shape[1] == 1:
            return self.decoder.read(int(ids[0, 0])).get()[None]
        with no_grad():
            x = self.model.hidden(ids, cache=self.decoder.pool.rows([0]))  # (1, T, C)
            return self.model.logits(x[:, -1]).numpy()
