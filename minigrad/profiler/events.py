"""What a profile records: for each op, forward and backward, how long it took and which memory it took.

    with minigrad.profile() as p:
        loss = model(x)
        loss.backward()
    print(p.table())                # p.table(by="module"): by the part of the model instead
    p.draw("memory.svg")            # the live memory over time, and which ops made it

What is attributed to what. Ops report when they have their result (`record`), so times lie between two reports of a
thread:

    forward     from the end of the op before, or the moment the module around it was entered, until its result is there. Python
                between two ops counts to the second one
    backward    from the start of its gradient rule until the engine has freed the node or turned to the next one: with the ops the rule
                is made of, sums of gradients, and deferred gradients, which are computed where they will stay. A
                checkpoint computes ops again, forward; the gradients that leave it count to it
    span        work that is no op, `with span("AdamW"):`, without the ops inside it

Each moment of a thread counts once: what runs inside something else is taken off it. What remains of the wall time is
Python outside of all this, waiting for other threads, and the profiler's own work. On a GPU these are the times until
the call returns, and kernels run on behind it: an op that waits for the GPU gets the time of those before it.

Bytes allocated are arrays that an op returns or keeps for its gradient, temporaries not counted. Bytes moved are the
inputs and what was allocated, or backward the gradients that came and went and what the rule had kept, as if each were
read or written once: a bound to compare with what the memory can do, too low for ops in several passes, too high for
those that look at few elements. Views are free.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from minigrad.graph import op_name
from minigrad.lazy import LazyGradient
from minigrad.modes import mode, op_hook
from minigrad.nn.module import current_path, module_entered
from minigrad.profiler.memory import Memory, is_array, kept_by, owner
from minigrad.tensor import Tensor, array_of

GRADIENTS = "gradients"  # what gradients on their way count as in the memory


class Event(NamedTuple):
    """Something that took time: an op forward or backward, or a span. Times are seconds since the profile began,
    without pauses.
    """

    name: str
    module: str
    way: str  # "forward", "backward" or "span"
    thread: str
    start: float
    end: float
    seconds: float  # without events inside
    allocated: int = 0  # bytes
    moved: int = 0


class Report(NamedTuple):
    """What a profile saw in another process: its `zero` on the clock that they share, and its lists."""

    zero: float
    events: list[Event]
    changes: list[tuple[float, str, int]]
    looking: list[float]


class _Open:
    """What a thread is in the middle of: a gradient rule or a span."""

    def __init__(self, name: str, module: str, way: str, start: float):
        self.name, self.module, self.way, self.start = name, module, way, start
        self.elsewhere = 0.0  # seconds in it that count for something else
        self.returned = math.inf  # of a rule: when it had run; after that the engine delivers its gradients
        self.recording = mode.recording
        self.allocated = self.moved = 0


class _Here(threading.local):
    """Where a thread is."""

    def __init__(self) -> None:
        self.thread = threading.current_thread().name
        self.since = -math.inf  # the end of what it did last
        self.open: list[_Open] = []


class Profile:
    """Events and memory of what runs inside `with profile() as p:`, in all threads.

    It may be entered again, and goes on: `with p:` around each of several steps gives a table of the mean step. There
    can be only one at a time. Rules that were recorded inside and run outside are not counted. Begin before the forward
    pass: of a rule recorded outside and run inside, nobody knows that the ops it is made of are backward.
    """

    running: ClassVar[Profile | None] = None

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.blocks: list[tuple[float, float]] = []  # begin and end of each `with`
        self.looking: list[float] = []  # seconds that the profiler itself took
        self.memory = Memory(self.now)
        self._begun = self._zero = 0.0  # of this block: its begin, and the time of the clock at which 0 lies
        self._here = _Here()

    def now(self) -> float:
        """Seconds inside so far."""
        return time.perf_counter() - self._zero if Profile.running is self else self._begun

    def table(self, by: str = "op") -> str:
        """Time and memory of each op and span, or of each module (by="module"), in the mean block; and how much of the
        time that is.
        """
        from minigrad.profiler.table import table  # here, because `import minigrad` shall not wait for it

        return table(self, by)

    def draw(self, path: str | Path | None = None) -> str:
        """The live memory and the threads during the last block as a picture, SVG text; `path`: save it there, too."""
        from minigrad.profiler.picture import draw

        text = draw(self)
        if path is not None:
            Path(path).write_text(text, "utf-8")
        return text

    def report(self) -> Report:
        """What was seen in this process, for the profile of another one."""
        return Report(self._zero, self.events, self.memory.changes, self.looking)

    def adopt(self, report: Report) -> None:
        """Count what another process did for this one, while this profile ran."""
        shift = report.zero - self._zero
        self.events += [event._replace(start=event.start + shift, end=event.end + shift) for event in report.events]
        self.memory.adopt((time + shift, label, change) for time, label, change in report.changes)
        self.looking += report.looking

    def __enter__(self) -> Profile:
        if Profile.running is not None:
            raise RuntimeError("a profile is running already, and it sees everything; end it before another begins")
        self._watching = op_hook(self._watch, all_threads=True)
        self._watching.__enter__()
        self._here = _Here()  # nobody knows what other threads did meanwhile
        self._here.since = self._begun
        self._zero, Profile.running = time.perf_counter() - self._begun, self
        return self

    def __exit__(self, *error: Any) -> None:
        self._settle()
        end = self.now()
        self.blocks.append((self._begun, end))
        self._begun, Profile.running = end, None
        self._watching.__exit__(*error)

    # --- forward ----------------------------------------------------------------------------------------------------

    def _watch(self, data: Any, inputs: Sequence[Tensor], vjp: Callable) -> Callable:
        now, entered, here = self.now(), module_entered() - self._zero, self._here
        if Profile.running is not self:  # another thread has ended it just now
            return vjp
        if mode.recording or entered > max(here.since, self._begun):
            self._settle()
        inside = here.open[-1] if here.open else None
        part = inside is not None and inside.way == "backward" and inside.recording == mode.recording  # of a rule
        recorded = mode.recording and any(x.requires_grad for x in inputs)
        op, module = op_name(vjp), current_path()
        allocated, moved, kept = self._forward_bytes(data, inputs, vjp if recorded else None, GRADIENTS if part else op)
        since = max(here.since, entered)
        if inside and part:
            inside.allocated += allocated
            since = now
        else:
            since = since if since >= self._begun else now  # the first op of a thread may have begun anywhere
            self.events.append(Event(op, module, "forward", here.thread, since, now, now - since, allocated, moved))
        here.since = self.now()
        self.looking.append(here.since - now)
        if inside:
            inside.elsewhere += here.since - since
        return _Rule(self, vjp, op, module, kept) if recorded else vjp

    def _forward_bytes(
        self, data: Any, inputs: Sequence[Tensor], rule: Callable | None, label: str
    ) -> tuple[int, int, int]:
        """Allocated and moved by an op, and kept by its rule."""
        arrays = [x.data for x in inputs if is_array(x.data)]
        before = {id(owner(a)) for a in arrays}
        kept = [] if rule is None else kept_by(rule)
        allocated = sum(self.memory.follow(a, label) for a in (data, *kept) if id(owner(a)) not in before)
        variable = {id(owner(x.data)) for x in inputs if x.requires_grad}  # parameters, or followed already
        for constant in [a for a in kept if id(owner(a)) in before - variable]:
            self.memory.follow(constant, label)
        moved = 0 if id(owner(data)) in before else allocated + sum(a.nbytes for a in arrays)
        return allocated, moved, sum(a.nbytes for a in kept)

    # --- backward, and spans ----------------------------------------------------------------------------------------

    def run_rule(self, rule: _Rule, g: Any, out: Any) -> tuple:
        """The gradients by a rule, timed until `rule` is garbage or the next one begins."""
        here = self._here
        if here.open and here.open[-1].returned < math.inf:
            self._end(here.open[-1], self.now())
        opened = rule.opened = self._begin(rule.op, rule.module, "backward")
        try:
            shares = tuple(rule.vjp(g, out))
        except BaseException:
            self._end(opened, self.now())
            raise
        done = self.now()
        self._backward_bytes(opened, g, out, rule.kept, shares)
        opened.returned = self.now()
        self.looking.append(opened.returned - done)
        opened.elsewhere += opened.returned - done
        if opened.recording:  # no telling whose ops come next
            self._settle()
        return shares

    def _backward_bytes(self, opened: _Open, g: Any, out: Any, kept: int, shares: Sequence) -> None:
        came = owner(array_of(g))
        made = [array_of(share) for share in shares if is_array(array_of(share)) and owner(array_of(share)) is not came]
        written = sum(a.nbytes for a in made) + sum(
            math.prod(share.shape) * share.like.dtype.itemsize for share in shares if isinstance(share, LazyGradient)
        )
        opened.allocated += sum(self.memory.follow(a, GRADIENTS) for a in made)
        opened.moved += written and array_of(g).nbytes + kept + (0 if out is None else array_of(out).nbytes) + written

    def _begin(self, name: str, module: str, way: str) -> _Open:
        opened = _Open(name, module, way, self.now())
        self._here.open.append(opened)
        self._here.since = opened.start
        return opened

    def _end(self, opened: _Open, end: float) -> None:
        """Count what was opened in this thread, and what is still open inside it."""
        here = self._here
        while opened in here.open:
            last = here.open.pop()
            took = end - last.start
            self.events.append(
                Event(
                    last.name,
                    last.module,
                    last.way,
                    here.thread,
                    last.start,
                    end,
                    took - last.elsewhere,
                    last.allocated,
                    last.moved,
                )
            )
            if here.open:
                here.open[-1].elsewhere += took
            here.since = end

    def _settle(self) -> None:
        """Here a rule that has run ended when it returned: with retain_graph nobody says when the backward pass
        ends.
        """
        if self._here.open and self._here.open[-1].returned < math.inf:
            self._end(self._here.open[-1], self._here.open[-1].returned)


class _Rule:
    """A gradient rule that is timed."""

    def __init__(self, profile: Profile, vjp: Callable, op: str, module: str, kept: int):
        self.profile, self.vjp, self.op, self.module, self.kept = profile, vjp, op, module, kept
        self.__qualname__ = vjp.__qualname__
        self.opened: _Open | None = None

    def __call__(self, g: Any, out: Any) -> tuple:
        return self.profile.run_rule(self, g, out) if Profile.running is self.profile else self.vjp(g, out)

    def __del__(self) -> None:
        if self.opened is not None and Profile.running is self.profile:
            self.profile._end(self.opened, self.profile.now())


def profile() -> Profile:
    """`with profile() as p:` records where time and memory go, in all threads; then `print(p.table())` and
    `p.draw("memory.svg")`.
    """
    return Profile()


@contextmanager
def span(name: str) -> Iterator[None]:
    """`with span("reading"):` (or as a decorator): if somebody profiles, count this under `name`, but for the ops
    inside.
    """
    now = Profile.running
    if now is None:
        yield
        return
    now._settle()
    opened = now._begin(name, current_path(), "span")
    try:
        yield
    finally:
        now._end(opened, now.now())
