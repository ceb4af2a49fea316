"""The profiler: it measures how long each op took, forward and backward, and how much memory it took.

    with minigrad.profile() as p:
        loss = model(x)
        loss.backward()
    print(p)                        # the table; p.table(by="module") adds up by the parts of the model instead
    p.draw("memory.svg")            # the live memory over time, and which ops made it

What counts as the time of an op:

    forward     An op calls the profiler when its result is there (`record`). Its time begins where the op before it in
                the same thread ended, or where the module around it was entered, whichever is later. So Python code
                between two ops counts to the second one.
    backward    The time begins with the gradient rule and ends when the engine frees the node or runs the next rule. It
                contains the ops that the rule is made of, sums of gradients, and LazyGradients, which the engine
                computes after the rule has returned. A checkpoint runs its ops again, and these count as forward; the
                gradients that leave it count to the checkpoint.
    span        Work that is not an op: `with span("AdamW"):`. The ops inside do not count to the span.

Every moment of a thread counts once: what runs inside something else is subtracted from it. The rest of the wall time
is Python outside of all this, waiting for other threads, and the profiler's own work. On a GPU an op returns before its
kernels have run, so an op that waits for the GPU gets the time of those before it.

What counts as the memory of an op:

    allocated   The arrays that the op returns or saves for its gradient. Temporaries do not count, and views are free.
    moved       Forward the inputs and what was allocated; backward the gradients that came in and went out, and the
                arrays that the rule had saved. Each counts as read or written once, so this is too low for an op that
                needs several passes, and too high for one that looks at few elements.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from minigrad.backend import Array
from minigrad.graph import Rule, op_name
from minigrad.lazy import Gradient, LazyGradient
from minigrad.modes import mode, op_hook
from minigrad.nn.running import current_path, module_start_time
from minigrad.profiler.memory import Memory, is_array, owner, saved_by
from minigrad.profiler.report import GRADIENTS, Event, Report
from minigrad.tensor import Tensor, array_of


class _Running:
    """A gradient rule or a span that has begun in some thread and not ended."""

    def __init__(self, name: str, module: str, kind: str, start: float):
        self.name, self.module, self.kind, self.start = name, module, kind, start
        self.inner_seconds = 0.0  # of its time: seconds that belong to events inside it, or to the profiler
        self.returned = math.inf  # when the rule returned; after that, the engine still adds up its gradients
        self.recording = mode.recording
        self.allocated = self.moved = 0


class _ThreadState(threading.local):
    """What a thread is doing. Each thread has its own."""

    def __init__(self) -> None:
        self.worker = threading.current_thread().name
        self.last_end = -math.inf  # when its last event ended
        self.running: list[_Running] = []  # the innermost is last


class Profile:
    """Time and memory of everything that runs inside `with profile() as p:`, in all threads.

    Afterwards, `print(p)` shows a table, and `p.draw("memory.svg")` a picture.

    The same profile may be entered again and then continues: `with p:` around each of several steps gives a table of
    the average step. Only one profile can run at a time. It must begin before the forward pass: of a rule that was
    recorded earlier, it cannot tell that the ops inside are part of a rule. A rule that runs after the block does not
    count.
    """

    running: ClassVar[Profile | None] = None

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.blocks: list[tuple[float, float]] = []  # begin and end of each `with`
        self.memory = Memory(self.elapsed)
        self._overhead: list[float] = []  # seconds of the profiler itself: a list, because threads can append safely
        self._block_start = 0.0
        self._clock_start = 0.0  # what the clock showed at second 0
        self._thread = _ThreadState()

    def elapsed(self) -> float:
        """Seconds that the profile has run so far."""
        return time.perf_counter() - self._clock_start if Profile.running is self else self._block_start

    def report(self) -> Report:
        """All that was recorded so far, as plain data."""
        return Report(
            self._clock_start, self.elapsed(), self.blocks, self.events, self.memory.changes, sum(self._overhead)
        )

    def merge(self, report: Report) -> None:
        """Add what another process recorded while this profile ran."""
        shift = report.clock_start - self._clock_start
        self.events += [event._replace(start=event.start + shift, end=event.end + shift) for event in report.events]
        self.memory.merge((time + shift, label, count) for time, label, count in report.changes)
        self._overhead.append(report.overhead)

    def table(self, by: str = "op") -> str:
        """Time and memory of each op and span, or of each module (by="module"), for each block on average."""
        from minigrad.profiler.table import table  # not at the top: `import minigrad` would take 5% longer

        return table(self.report(), by)

    def draw(self, path: str | Path | None = None) -> str:
        """The live memory and the workers during the last block as SVG text; `path`: also save it there."""
        from minigrad.profiler.picture import draw  # not at the top, as above

        return draw(self.report(), path)

    __str__ = __repr__ = table

    def __enter__(self) -> Profile:
        if Profile.running is not None:
            raise RuntimeError(
                "a profile is running already, and there can be only one; leave its block before you enter another"
            )
        self._hook = op_hook(self._on_op, all_threads=True)
        self._hook.__enter__()
        self._thread = _ThreadState()  # what the threads did since the last block is unknown
        self._thread.last_end = self._block_start
        self._clock_start, Profile.running = time.perf_counter() - self._block_start, self
        return self

    def __exit__(self, *error: Any) -> None:
        self._close_finished()
        end = self.elapsed()
        self.blocks.append((self._block_start, end))
        self._block_start, Profile.running = end, None
        self._hook.__exit__(*error)

    # --- forward ------------------------------------------------------------------------------------------------------

    def _on_op(self, data: Array, inputs: Sequence[Tensor], vjp: Rule) -> Rule:
        """The op hook: called when an op has computed `data`; returns the rule to record."""
        end, entered, thread = self.elapsed(), module_start_time() - self._clock_start, self._thread
        if Profile.running is not self:  # another thread has ended the profile just now
            return vjp
        if mode.recording or entered > max(thread.last_end, self._block_start):
            self._close_finished()  # this op belongs to a forward pass, so the rule that ran last is over
        outer = thread.running[-1] if thread.running else None
        # The op is part of a rule if it is recorded as the rule's own ops are. Otherwise it is an op of its own: one of
        # a checkpoint, which runs it again in the backward pass, with recording on.
        rule = outer if outer and outer.kind == "backward" and outer.recording == mode.recording else None
        op, module, needs_rule = op_name(vjp), current_path(), mode.recording and any(x.requires_grad for x in inputs)
        allocated, moved, saved = self._count_forward(
            data, inputs, vjp if needs_rule else None, label=GRADIENTS if rule else op
        )
        start = max(thread.last_end, entered)
        if rule:
            rule.allocated += allocated
            start = end  # its time stays with the rule
        else:
            start = start if start >= self._block_start else end  # when the first op of a thread began is unknown
            self.events.append(Event(op, module, "forward", thread.worker, start, end, end - start, allocated, moved))
        thread.last_end = self.elapsed()
        self._overhead.append(thread.last_end - end)
        if outer:
            outer.inner_seconds += thread.last_end - start
        return _TimedRule(self, vjp, op, module, saved) if needs_rule else vjp

    def _count_forward(
        self, data: Array, inputs: Sequence[Tensor], vjp: Rule | None, *, label: str
    ) -> tuple[int, int, int]:
        """Bytes that an op allocated, that it moved, and that its rule saved."""
        arrays = [x.data for x in inputs if is_array(x.data)]
        before = {id(owner(a)) for a in arrays}
        saved = [] if vjp is None else saved_by(vjp)
        allocated = sum(self.memory.track(a, label) for a in (data, *saved) if id(owner(a)) not in before)
        # A constant that the rule saves stays alive because of the rule. Inputs that require a gradient are parameters,
        # which are not counted, or results of ops, which are tracked already.
        variable = {id(owner(x.data)) for x in inputs if x.requires_grad}
        for constant in [a for a in saved if id(owner(a)) in before - variable]:
            self.memory.track(constant, label)
        moved = 0 if id(owner(data)) in before else allocated + sum(a.nbytes for a in arrays)  # 0 for a view
        return allocated, moved, sum(a.nbytes for a in saved)

    # --- backward, and spans ------------------------------------------------------------------------------------------

    def run_rule(self, rule: _TimedRule, g: Gradient, out: Any) -> tuple:
        """The gradients by a rule. Its time ends when the next rule begins, or when `rule` is garbage."""
        running = self._thread.running
        if running and running[-1].returned < math.inf:
            self._finish(running[-1], self.elapsed())
        rule.running = self._begin(rule.op, rule.module, "backward")
        try:
            gradients = tuple(rule.vjp(g, out))
        except BaseException:
            self._finish(rule.running, self.elapsed())
            raise
        returned = self.elapsed()
        self._count_backward(rule.running, g, out, rule.saved, gradients)
        rule.running.returned = self.elapsed()
        self._overhead.append(rule.running.returned - returned)
        rule.running.inner_seconds += rule.running.returned - returned
        if rule.running.recording:  # with create_graph, the next op may belong to a forward pass or to the engine
            self._close_finished()
        return gradients

    def _count_backward(self, rule: _Running, g: Gradient, out: Any, saved: int, gradients: Sequence[Gradient]) -> None:
        """Count the bytes that a rule allocated and moved."""
        passed_on = owner(array_of(g))  # a rule may return `g` itself, or a view of it
        arrays = [array_of(x) for x in gradients]
        new = [a for a in arrays if is_array(a) and owner(a) is not passed_on]
        lazy = [a for a in arrays if isinstance(a, LazyGradient)]
        written = sum(a.nbytes for a in new) + sum(math.prod(a.shape) * a.like.dtype.itemsize for a in lazy)
        rule.allocated += sum(self.memory.track(a, GRADIENTS) for a in new)
        if written:
            rule.moved += array_of(g).nbytes + saved + (0 if out is None else array_of(out).nbytes) + written

    def _begin(self, name: str, module: str, kind: str) -> _Running:
        running = _Running(name, module, kind, self.elapsed())
        self._thread.running.append(running)
        self._thread.last_end = running.start
        return running

    def _finish(self, running: _Running, end: float) -> None:
        """End something that runs in this thread, and everything inside it first: each becomes an event."""
        thread = self._thread
        while running in thread.running:
            r = thread.running.pop()
            seconds = end - r.start
            own = seconds - r.inner_seconds
            self.events.append(Event(r.name, r.module, r.kind, thread.worker, r.start, end, own, r.allocated, r.moved))
            if thread.running:
                thread.running[-1].inner_seconds += seconds
            thread.last_end = end

    def _close_finished(self) -> None:
        """Let a rule that has returned end at that moment.

        With `retain_graph` the nodes are not freed, so nothing else tells when the last rule of a pass ends.
        """
        running = self._thread.running
        if running and running[-1].returned < math.inf:
            self._finish(running[-1], running[-1].returned)


class _TimedRule:
    """A gradient rule that is timed while the profile runs."""

    def __init__(self, profile: Profile, vjp: Callable, op: str, module: str, saved: int):
        self.profile, self.vjp, self.op, self.module, self.saved = profile, vjp, op, module, saved
        self.__qualname__ = vjp.__qualname__
        self.running: _Running | None = None

    def __call__(self, g: Gradient, out: Any) -> tuple:
        return self.profile.run_rule(self, g, out) if Profile.running is self.profile else self.vjp(g, out)

    def __del__(self) -> None:  # the engine has freed the node
        if self.running is not None and Profile.running is self.profile:
            self.profile._finish(self.running, self.profile.elapsed())


profile = Profile  # `with profile() as p:` reads better


@contextmanager
def span(name: str) -> Iterator[None]:
    """`with span("reading"):` (or as a decorator): while a profile runs, count the work inside under `name`.

    Ops inside count for themselves.
    """
    running_profile = Profile.running
    if running_profile is None:
        yield
        return
    running_profile._close_finished()
    running = running_profile._begin(name, current_path(), "span")
    try:
        yield
    finally:
        running_profile._finish(running, running_profile.elapsed())
