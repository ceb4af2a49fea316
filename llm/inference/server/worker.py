"""The thread that owns the engine. All other code of the server runs in the event loop, and never waits for the model.

The event loop gives the thread commands: begin these requests, cancel them, call a function. Between two steps of the
engine, the thread carries them out. After each step it sends what is new to those who asked.

    job = await worker.begin(requests)
    async for update in job.follow():       # what is new of one of the requests
        ...
    job.cancel()                            # in any case at the end; those that are finished are not changed
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Any, NamedTuple, TypeVar

from llm.inference.engine.engine import Engine
from llm.inference.engine.requests import FinishReason, Generation, Request, Token
from llm.inference.server.errors import Refusal

T = TypeVar("T")
log = logging.getLogger(__name__)


class Update(NamedTuple):
    """What is new of request number `request_index` of a job."""

    request_index: int
    prompt_tokens: list[Token]  # at first, if the request asks for them
    tokens: list[Token]
    finish_reason: FinishReason | None = None
    end: Token | None = None  # the token that ended the text
    error: Refusal | None = None


class Job:
    """Requests that were sent together. Made and used in the event loop; only `send` is for the worker."""

    def __init__(self, worker: Worker, requests: Sequence[Request]):
        self.worker, self.requests = worker, requests
        self.loop = asyncio.get_running_loop()
        self.accepted: asyncio.Future[None] = self.loop.create_future()
        self.updates: asyncio.Queue[list[Update]] = asyncio.Queue()

    async def follow(self) -> AsyncGenerator[Update]:
        """The updates, without end: the last one of each request has a finish_reason."""
        while True:
            for update in await self.updates.get():
                yield update

    def cancel(self, index: int | None = None) -> None:
        """End request number `index`, or all of them; their slots are free at the next step."""
        self.worker.send(partial(self.worker.cancel, self, index))

    def send(self, function: Callable[..., object], *arguments: Any) -> None:
        """Let the event loop call a function."""
        try:
            self.loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # the loop has ended, and nobody waits any more
            self.cancel()

    def accept(self, refusal: Refusal | None = None) -> None:
        """Say that the requests wait for their slots, or why they do not."""
        if self.accepted.done():  # the client has hung up
            return
        if refusal is None:
            self.accepted.set_result(None)
        else:
            self.accepted.set_exception(refusal)


@dataclass(eq=False)
class ActiveRequest:
    """A request of a job in the engine."""

    job: Job
    index: int
    generation: Generation
    sent: int = 0  # tokens

    def update(self) -> Update | None:
        """What is new since the last call."""
        generation, first = self.generation, self.sent == 0
        tokens = generation.tokens[self.sent :]
        if not tokens and not generation.finished:
            return None
        self.sent += len(tokens)
        prompt = generation.prompt_tokens if first else []
        return Update(self.index, prompt, tokens, generation.finish_reason, generation.end, self._error())

    def _error(self) -> Refusal | None:
        """Why the text could not be continued: what was asked forbids all tokens, or the model or we are to blame."""
        error = self.generation.error
        if error is None:
            return None
        if not isinstance(error, ValueError):
            return refusal_of(error, status=500)
        request = self.generation.request
        is_asked = request.constraint is not None or request.sampling.changes_logits
        return Refusal(str(error), status=400 if is_asked else 500)


class Worker:
    """`waiting`: how many requests may wait in the engine."""

    def __init__(self, engine: Engine, waiting: int):
        self.engine, self.waiting = engine, waiting
        self._commands: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._active: list[ActiveRequest] = []
        self._closed = False
        self._thread = Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    # --- for the event loop ---------------------------------------------------------------------------------------

    async def begin(self, requests: Sequence[Request]) -> Job:
        """Let the engine begin with requests. Raises Refusal if too many wait, or if they are not possible."""
        job = Job(self, requests)
        self._require_open()
        self.send(partial(self._begin, job))
        try:
            await job.accepted
        except BaseException:
            job.cancel()
            raise
        return job

    async def call(self, function: Callable[[], T]) -> T:
        """The result of a function that uses the model, called between two steps."""
        self._require_open()
        future: Future[T] = Future()
        self.send(partial(_call_into, future, function))
        return await asyncio.wrap_future(future)

    def send(self, command: Callable[[], object]) -> None:
        self._commands.put(command)

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive() and not self._closed

    def close(self) -> None:
        """End all requests with an error, and the thread."""
        if not self._closed:
            self._closed = True
            self.send(lambda: None)  # wake it
            self._thread.join()

    def _require_open(self) -> None:
        if not self.is_alive:
            raise Refusal("the server is ending", status=503, code="shutting_down")

    # --- in the thread --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closed:
            is_idle = not (self.engine.running or self.engine.waiting)
            # As many as there are now: a stream of commands must not keep the texts from being continued.
            for _ in range(max(self._commands.qsize(), is_idle)):
                self._carry_out(self._commands.get())
            if self.engine.running or self.engine.waiting:
                self._step()
            self._send_updates()
        self._end_all(Refusal("the server is ending", status=503, code="shutting_down"))

    def _carry_out(self, command: Callable[[], object]) -> None:
        try:
            command()
        except Exception:
            log.exception("a command of the server has failed")

    def _begin(self, job: Job) -> None:
        free, asked = self.waiting - len(self.engine.waiting), len(job.requests)
        if asked > free and self.engine.waiting:
            refusal = Refusal("too many requests are waiting; try again later", status=429, code="too_many_requests")
            job.send(job.accept, refusal)
            return
        begun: list[ActiveRequest] = []
        try:
            for index, request in enumerate(job.requests):
                begun.append(ActiveRequest(job, index, self.engine.submit(request)))
        except (ValueError, MemoryError) as error:
            for each in begun:
                self.engine.cancel(each.generation)
            job.send(job.accept, refusal_of(error))
            return
        self._active += begun
        job.send(job.accept)

    def cancel(self, job: Job, index: int | None) -> None:
        for each in self._active:
            if each.job is job and index in (None, each.index):
                self.engine.cancel(each.generation)

    def _step(self) -> None:
        try:
            self.engine.step()
        except Exception as error:
            log.exception("a step of the engine has failed")
            self._abandon(error)
            return
        for each in self._active:
            if not isinstance(each.generation.error, ValueError | None):
                log.error("a text could not be continued", exc_info=each.generation.error)

    def _abandon(self, error: Exception) -> None:
        """End the requests that took part in a step that has failed."""
        failure = error if isinstance(error, MemoryError) else RuntimeError("a step of the engine has failed")
        self.engine.abandon(failure)
        for each in self._active:
            if each.generation not in self.engine.waiting and not each.generation.finished:
                each.generation.fail(failure)

    def _send_updates(self) -> None:
        news: dict[Job, list[Update]] = {}
        for each in self._active:
            if each.generation.finish_reason != "cancelled" and (update := each.update()) is not None:
                news.setdefault(each.job, []).append(update)
        for job, updates in news.items():
            job.send(job.updates.put_nowait, updates)
        self._active = [each for each in self._active if not each.generation.finished]

    def _end_all(self, refusal: Refusal) -> None:
        for job, index in [(each.job, each.index) for each in self._active]:
            job.send(job.updates.put_nowait, [Update(index, [], [], "error", None, refusal)])
        while not self._commands.empty():
            self._carry_out(self._commands.get())


def _call_into(future: Future[T], function: Callable[[], T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(function())
    except BaseException as error:
        future.set_exception(error)


def refusal_of(error: Exception, status: int = 400) -> Refusal:
    if isinstance(error, MemoryError):
        return Refusal("the server has not enough memory for this request", status=500, code="out_of_memory")
    if status == 500:
        return Refusal("the server has failed; its own messages say why", status=500, code="internal_error")
    return Refusal(str(error), status=status)
