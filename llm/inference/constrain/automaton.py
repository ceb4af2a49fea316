"""An automaton that reads bytes and knows, after each of them, what must follow.

**Steps.** What must follow is an expression too. After "a", of `abc` there remains `bc`, of `a*b` there remains `a*b`,
and of `a{5}` there remains `a{4}`. Brzozowski called what remains the derivative of an expression. `steps` has all of
them: which bytes an expression can begin with, and what then remains.

**States.** Sometimes several things may remain: after "a", of `ab|a*c` there remains `b` or `a*c`. So a state is a set
of expressions: the partial derivatives of Antimirov. A text matches if one of the expressions in the last state matches
the empty text. A state without expressions is dead: no text goes on from it to a match. From every other state there is
a way, because no part of an expression is Nothing (expressions.py).

**Table.** There may be very many states (`a{1000000}` has a million), but a text meets few of them. So states are
computed when they are met. `next_state` is the definition. `after` is the fast way to the same states, for many states
and bytes at once: states get numbers, and a table has for each number and byte the number of the next state.
"""

from __future__ import annotations

from functools import reduce
from operator import or_

import numpy as np

from llm.inference.constrain.expressions import (
    EMPTY,
    Bytes,
    Characters,
    Choice,
    Expression,
    PatternError,
    Repeat,
    Sequence,
    repeat,
    sequence,
)
from llm.inference.constrain.utf8 import as_bytes

Remaining = frozenset[Expression]  # a state
Step = tuple[int, Expression]  # a set of bytes, as a mask of 256 bits, and what remains after one of them

DEAD = 0  # the number of the state without expressions
# What one mask may cost. Usual patterns need a few hundred states, of a few steps each.
MOST_STATES = 20_000
MOST_STEPS = 300_000
# When a mask begins and there is more than this, all is forgotten. A state is 1 KB in the table, a step 0.1 KB.
KEPT_STATES = 4_000
KEPT_STEPS = 100_000


class Automaton:
    def __init__(self, expression: Expression):
        self.start: Remaining = frozenset([expression])
        self._work = 0  # steps that the present mask or token has taken
        self.clear()

    def clear(self) -> None:
        """Forget all states that have been met."""
        self._steps: dict[Expression, list[Step]] = {}
        self._kept_steps = 0  # in all of these lists
        self._numbers: dict[Remaining, int] = {}
        self._states: list[Remaining] = []
        self._table = np.zeros((64, 256), np.int32)  # number of a state, byte -> number of the next state
        self._has_row = np.zeros(len(self._table), bool)  # whether this row of the table has been computed
        self.number(frozenset())  # DEAD
        self._has_row[DEAD] = True  # zeros: from the dead state, all bytes lead to it

    # --- the definition ---

    def next_state(self, state: Remaining, byte: int) -> Remaining:
        """What remains after one more byte."""
        return frozenset(after for e in state for mask, after in self.steps(e) if mask >> byte & 1)

    def read(self, state: Remaining, data: bytes) -> Remaining:
        """What remains after some bytes."""
        self.begin()
        for byte in data:
            state = self.next_state(state, byte)
        return state

    @staticmethod
    def matches(state: Remaining) -> bool:
        """Whether a text that leads to this state is a match."""
        return any(e.matches_empty for e in state)

    def steps(self, expression: Expression) -> list[Step]:
        """The bytes with which a match of `expression` can begin, and what then remains: the partial derivatives."""
        if expression not in self._steps:
            self._steps[expression] = self._compute_steps(expression)
            self._kept_steps += len(self._steps[expression])
        return self._steps[expression]

    def _compute_steps(self, e: Expression) -> list[Step]:
        match e:
            case Bytes():
                return [(e.mask, EMPTY)]
            case Characters():
                return self.steps(as_bytes(e.ranges))
            case Choice():
                return [step for option in e.options for step in self.steps(option)]
            case Repeat():
                # After the first of the texts, one fewer follows.
                others = repeat(e.body, max(e.low - 1, 0), None if e.high is None else e.high - 1)
                return [(mask, sequence(after, others)) for mask, after in self.steps(e.body)]
            case Sequence():
                return self._steps_of_sequence(e)
        return []  # the empty text has no first byte

    def _steps_of_sequence(self, e: Expression) -> list[Step]:
        found: list[Step] = []
        # A loop, because sequences may be long: a?b?c?... can begin with each of its parts.
        while isinstance(e, Sequence):
            steps = self.steps(e.first)
            self._check_work(len(steps))
            found += [(mask, sequence(after, e.rest)) for mask, after in steps]
            if not e.first.matches_empty:
                return found
            e = e.rest
        return found + self.steps(e)

    # --- the table ---

    def begin(self) -> None:
        """Before each mask or token: count the work from 0, and forget old states if there are too many."""
        self._work = 0
        if len(self._states) > KEPT_STATES or self._kept_steps > KEPT_STEPS:
            self.clear()

    def number(self, state: Remaining) -> int:
        if state not in self._numbers:
            self._numbers[state] = len(self._states)
            self._states.append(state)
            if len(self._states) > MOST_STATES:
                raise too_large()
            if len(self._states) > len(self._table):
                self._grow()
        return self._numbers[state]

    def after(self, numbers: np.ndarray, data: np.ndarray) -> np.ndarray:
        """For each of the states, (n,) numbers, and one more byte, (n,) uint8: the number of the next state, (n,)."""
        unknown = numbers[~self._has_row[numbers]]
        if len(unknown):
            for number in np.unique(unknown):
                self._compute_row(int(number))
        return self._table[numbers, data]

    def _compute_row(self, number: int) -> None:
        """The next states for all 256 bytes."""
        steps = [step for e in self._states[number] for step in self.steps(e)]
        self._check_work(len(steps))
        remaining: dict[int, set[Expression]] = {}  # mask -> what remains after its bytes
        for mask, after in steps:
            remaining.setdefault(mask, set()).add(after)
        # Bytes that are in the same masks lead to the same state, which is computed once for all of them.
        for group in divide(list(remaining)):
            state = frozenset(e for mask, after in remaining.items() if mask & group for e in after)
            target = self.number(state)  # may replace the table by a larger one
            self._table[number, members(group)] = target
        self._has_row[number] = True

    def _grow(self) -> None:
        """Twice as many rows."""
        self._table = np.concatenate([self._table, np.zeros_like(self._table)])
        self._has_row = np.concatenate([self._has_row, np.zeros_like(self._has_row)])

    def _check_work(self, steps: int) -> None:
        self._work += steps
        if self._work > MOST_STEPS:
            raise too_large()


def divide(masks: list[int]) -> list[int]:
    """The sets of bytes that are in exactly the same masks, without the bytes that are in none."""
    groups = [reduce(or_, masks, 0)]
    for mask in masks:
        groups = [part for group in groups for part in (group & mask, group & ~mask) if part]
    return groups


def members(mask: int) -> np.ndarray:
    """The bytes in a set, in order."""
    bits = np.unpackbits(np.frombuffer(mask.to_bytes(32, "little"), np.uint8), bitorder="little")
    return np.flatnonzero(bits)


def too_large() -> PatternError:
    return PatternError(
        "this pattern or schema has too many states: a text can match parts of it in too many ways at once; write "
        "repetitions whose end can be seen from the next character, or lower their maximum"
    )
