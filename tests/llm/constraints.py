"""For tests of constrained generation: drawn patterns and schemas, and texts that are drawn from masks."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from hypothesis import strategies as st

from llm.inference.constrain import Constraint
from llm.inference.constrain.automaton import Automaton
from llm.inference.constrain.expressions import Expression
from tokenizer import BaseTokenizer

LETTERS = "ab-]^ é日😀\n"  # those with a meaning in sets, and of one to four bytes
CLASSES = [r"\d", r"\w", r"\s", r"\D", r"\W", r"\S"]

plain = st.sampled_from(LETTERS).map(lambda c: "\\" + c if c in "-]^" else c)
ranges = st.lists(st.sampled_from("\x00abcz~é日😀"), min_size=2, max_size=2).map(sorted).map("-".join)


def sets(classes: bool) -> st.SearchStrategy[str]:
    inside = plain | ranges | (st.sampled_from(CLASSES) if classes else st.nothing())
    return st.tuples(st.sampled_from(["[", "[^"]), st.lists(inside, min_size=1, max_size=3), st.just("]")).map(
        lambda parts: parts[0] + "".join(parts[1]) + parts[2]
    )


def counts() -> st.SearchStrategy[str]:
    """Quantifiers."""
    pairs = st.lists(st.integers(0, 3), min_size=2, max_size=2).map(sorted)
    some = pairs.map(lambda p: f"{{{p[0]},{p[1]}}}")
    other = st.integers(0, 3).flatmap(lambda n: st.sampled_from([f"{{{n}}}", f"{{{n},}}", f"{{,{n}}}"]))
    return st.tuples(st.sampled_from(["*", "+", "?"]) | some | other, st.sampled_from(["", "?"])).map("".join)


def patterns(*, classes: bool = True) -> st.SearchStrategy[str]:
    """Regular expressions, with or without classes such as `\\d`, about which dialects disagree beyond ASCII."""
    atoms = plain | sets(classes) | st.sampled_from([".", r"\n", r"\x61", r"\u65e5", *(CLASSES if classes else [])])
    return st.recursive(atoms, lambda inner: combined(inner), max_leaves=8)


def combined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    groups = st.tuples(st.sampled_from(["(", "(?:"]), inner, st.just(")")).map("".join)
    sequences = st.lists(inner, max_size=3).map("".join)
    choices = st.lists(inner | st.just(""), min_size=2, max_size=3).map("|".join).map("(?:{})".format)
    return groups | sequences | choices | st.tuples(groups, counts()).map("".join)


def accepts(expression: Expression, text: str) -> bool:
    """Whether the whole of `text` matches."""
    automaton = Automaton(expression)
    return automaton.matches(automaton.read(automaton.start, text.encode()))


def write(constraint: Constraint, rng: np.random.Generator, most_tokens: int) -> tuple[list[int], bool]:
    """Ids that are drawn from the masks, all equally likely, and whether they are a whole match.

    At each place where the text may end, it ends with probability 1/4.
    """
    ids: list[int] = []
    state = constraint.start()
    while len(ids) < most_tokens:
        allowed = np.flatnonzero(constraint.allowed(state))
        if constraint.is_complete(state) and (len(allowed) == 0 or rng.random() < 0.25):
            return ids, True
        assert len(allowed), "from every state there is a way"
        token = int(rng.choice(allowed))
        state = constraint.advance(state, token)
        if state.has_ended:
            return ids, True
        ids.append(token)
    return ids, constraint.is_complete(state)


def whole_texts(constraint: Constraint, tokenizer: BaseTokenizer, seed: int, **options: Any) -> list[str]:
    """Some of the texts that `write` completes."""
    rng = np.random.default_rng(seed)
    written = [write(constraint, rng, options.get("most_tokens", 40)) for _ in range(options.get("tries", 4))]
    return [tokenizer.decode_bytes(ids, mid_text=True).decode() for ids, is_whole in written if is_whole]


def text_near(pattern_text: str, seed: int) -> str:
    """A text with one character more, less or other."""
    rng = random.Random(seed)
    at = rng.randrange(len(pattern_text) + 1)
    return pattern_text[:at] + rng.choice(["", *LETTERS]) + pattern_text[at + rng.randrange(2) :]
