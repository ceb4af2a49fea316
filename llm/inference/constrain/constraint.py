"""Constraint: which tokens may come next, so that the whole text is a match of a pattern, or JSON of a schema.

    >>> constraint = Constraint.from_regex("yes|no", tokenizer)
    >>> state = constraint.start()
    >>> logits[~constraint.allowed(state)] = -np.inf       # before each token is drawn
    >>> state = constraint.advance(state, token)           # after it was drawn

A state never changes: `advance` returns a new one. So a program can go back to an earlier state, or go on from one
state in two ways.

The tokens that end a text are allowed only where the text matches. When a text matches and nothing can follow, they are
the only tokens allowed; without such tokens, no token is allowed, and the program must stop. A text that ends for
another reason, such as a maximum of tokens, is the beginning of a match: `is_complete` says whether it is also a whole
one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np

from llm.inference.constrain import json_schema, regex
from llm.inference.constrain.automaton import Automaton, Remaining
from llm.inference.constrain.expressions import NOTHING, Expression, PatternError
from llm.inference.constrain.tokens import TokenTrie
from llm.inference.constrain.vocabulary import Vocabulary
from tokenizer import BaseTokenizer

KEPT_MASK_BYTES = 32 << 20  # masks of recent states are kept; the oldest are forgotten


class State(NamedTuple):
    """Where in the text the next token would be."""

    remaining: Remaining  # what must still follow: the state of the automaton
    is_first: bool  # no token has been read
    has_ended: bool = False  # a token that ends a text has been read


class Constraint:
    """Usually made by `from_regex`, `from_schema` or `json_object`. One thread at a time may use it."""

    def __init__(
        self,
        expression: Expression,
        tokenizer: BaseTokenizer,
        *,
        end_ids: Collection[int] | None = None,
        vocab_size: int | None = None,
        mid_text: bool = True,
    ):
        """`end_ids`: the tokens that end a text; None: the tokenizer's end of text.
        `vocab_size`: the length of masks, if the model has more logits than the tokenizer has tokens.
        `mid_text`: the text continues another one, such as a prompt; see `BaseTokenizer.decode_bytes`.
        Raises PatternError, a ValueError, if the tokenizer can write no match, or the pattern is too ambiguous.
        """
        vocabulary = Vocabulary.of(tokenizer)
        self.vocab_size = max(vocab_size or 0, tokenizer.vocab_size)
        self._end_ids = sorted(default_end_ids(tokenizer) if end_ids is None else set(end_ids))
        self._inside = vocabulary.inside
        self._first = vocabulary.inside if mid_text else vocabulary.beginning(tokenizer)
        expression = vocabulary.writable(expression)
        self._automaton = Automaton(expression)
        self._masks: OrderedDict[State, np.ndarray] = OrderedDict()
        if expression is NOTHING or not (self.is_complete(self.start()) or self.allowed(self.start()).any()):
            raise PatternError("the tokens of this tokenizer can write no text that matches; see its characters")

    @classmethod
    def from_regex(cls, pattern: str, tokenizer: BaseTokenizer, **options: Any) -> Constraint:
        """The text is a match of all of `pattern`. constrain/regex.py says what is supported."""
        return cls(regex.parse(pattern), tokenizer, **options)

    @classmethod
    def from_schema(cls, schema: Any, tokenizer: BaseTokenizer, **options: Any) -> Constraint:
        """The text is JSON that is valid by `schema`. constrain/json_schema.py says what is supported."""
        return cls(json_schema.parse(schema), tokenizer, **options)

    @classmethod
    def json_object(cls, tokenizer: BaseTokenizer, **options: Any) -> Constraint:
        """The text is any JSON object."""
        return cls.from_schema({"type": "object"}, tokenizer, **options)

    def start(self) -> State:
        return State(self._automaton.start, is_first=True)

    def allowed(self, state: State) -> np.ndarray:
        """The tokens that may come next, (vocab_size,) bool, not to be written to.

        Raises PatternError if the pattern is too ambiguous to be followed further (automaton.py).
        """
        mask = self._masks.get(state)
        if mask is None:
            mask = self._masks[state] = self._compute_mask(state)
            if len(self._masks) * self.vocab_size > KEPT_MASK_BYTES:
                self._masks.popitem(last=False)
        else:
            self._masks.move_to_end(state)
        return mask

    def advance(self, state: State, id: int) -> State:
        """The state after one more token. ValueError if that token is not allowed."""
        if not state.has_ended and id in self._end_ids and self.is_complete(state):
            return state._replace(has_ended=True)
        remaining = self._read_token(state, id)
        if not remaining:
            raise ValueError(f"the token {id} is not allowed here; draw only tokens that `allowed` allows")
        return State(remaining, is_first=False)

    def is_complete(self, state: State) -> bool:
        """Whether the text that leads to this state is a whole match."""
        return self._automaton.matches(state.remaining)

    def _trie(self, state: State) -> TokenTrie:
        """The tokens with their bytes at this place in the text."""
        return self._first if state.is_first else self._inside

    def _read_token(self, state: State, id: int) -> Remaining:
        """What remains after a token; nothing if it is not allowed."""
        trie = self._trie(state)
        token = trie.tokens[id] if 0 <= id < len(trie.tokens) and id not in self._end_ids else None
        if token is None or state.has_ended:
            return frozenset()
        return self._automaton.read(state.remaining, token)

    def _compute_mask(self, state: State) -> np.ndarray:
        mask = np.zeros(self.vocab_size, bool)
        if not state.has_ended:
            trie = self._trie(state)
            mask[: len(trie.tokens)] = trie.allowed(self._automaton, state.remaining)
            mask[self._end_ids] = self.is_complete(state)
        mask.flags.writeable = False  # it is kept for the next time
        return mask


def default_end_ids(tokenizer: BaseTokenizer) -> set[int]:
    return set() if tokenizer.end_of_text is None else {tokenizer.end_of_text}
