"""Brackets and agreement: of two texts that differ in one place, which one is well formed?

As in BLiMP (Warstadt et al. 2020, arXiv 1912.00582), the likelihoods of whole texts decide. Each text has a
counterpart, in which what is wrong here is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from llm.evaluation.builtin.groups import Group, sentences
from llm.evaluation.builtin.words import NOUNS, VOWELS, plural, some

BRACKETS = (("(", ")"), ("[", "]"), ("{", "}"))

VERBS = {
    ("is", "are"): ("called", "defined", "evaluated", "executed", "not defined", "the same", "used"),
    ("has", "have"): ("a value", "no effect", "no name", "the same type"),
    ("does", "do"): ("not have a value", "not return", "not support this"),
}
# The subject, of the same number as the verb; `other`, another noun; `others`, a noun of the other number than the
# subject, which may mislead.
SUBJECTS = {
    "verb": ("The {subject} ", "In this {other}, the {subject} "),
    "attractor": ("The {subject} of the {others} ", "The {subject} in the {others} "),
}
THIS = ("The {other} of ", "If ", "This is the {other} of ", "See ")
ARTICLE = ("If ", "It is ", "Return ", "This is ", "The {other} of ")


def brackets(rng: Random) -> Group:
    """Which bracket closes the one that was opened? Both are frequent, so it must be looked for."""
    name, first, second, third = some(rng, 4)
    kind = rng.choice(("call", "display", "nested"))
    if kind == "call":  # name(first, second) and name[first, second]
        begin = rng.choice((f"   return {name}", f"   {third} = {name}", f"   >>> {name}"))
        return closed(begin, f"{first}, {second}", "\n", rng.sample(BRACKETS[:2], 2), kind)
    if kind == "display":  # name = [first, second] and name = {first, second}
        begin = rng.choice((f"   {name} = ", "   >>> ", "   return ", f"   for {name} in "))
        return closed(begin, f"{first}, {second}", "\n", rng.sample(BRACKETS, 2), kind)
    # name(first[second, third]) and name[first(second, third)]
    frames = [(f"   {name}({first}[{second}, {third}", "\n"), (f"   {name}[{first}({second}, {third}", "\n")]
    return sentences(frames, ["])", ")]"], kind)


def closed(begin: str, inside: str, after: str, chosen: Sequence[tuple[str, str]], kind: str) -> Group:
    frames = [(begin + opening + inside, after) for opening, _ in chosen]
    return sentences(frames, [closing for _, closing in chosen], kind)


def agreement(rng: Random) -> Group:
    """Verbs, determiners and articles that fit their noun."""
    return rng.choice((verb, attractor, determiner, article))(rng)


def verb(rng: Random) -> Group:
    return with_verb(rng, "verb")


def attractor(rng: Random) -> Group:
    return with_verb(rng, "attractor")


def with_verb(rng: Random, kind: str) -> Group:
    """The function is | are called, The functions is | are called."""
    options = rng.choice(list(VERBS))
    begin, after = rng.choice(SUBJECTS[kind]), rng.choice(VERBS[options])
    noun, other = some(rng, 2)
    singular = begin.format(subject=noun, other=other, others=plural(other))
    several = begin.format(subject=plural(noun), other=other, others=other)
    return sentences([(singular, f" {after}."), (several, f" {after}.")], options, kind)


def determiner(rng: Random) -> Group:
    """This | these function, this | these functions."""
    noun, other = some(rng, 2)
    begin = rng.choice(THIS).format(other=other)
    return sentences([(begin, f" {noun}."), (begin, f" {plural(noun)}.")], ["this", "these"], "determiner")


def article(rng: Random) -> Group:
    """A | an function, a | an object."""
    begin = rng.choice(ARTICLE).format(other=rng.choice(NOUNS))
    chosen = [rng.choice([noun for noun in NOUNS if (noun[0] in VOWELS) is vowel]) for vowel in (False, True)]
    return sentences([(begin, f" {noun}.") for noun in chosen], ["a", "an"], "article")
