"""Copying and induction: what was said comes again.

copying     a word that was said is to be said again; the other choices were not said
induction   A was followed by B, so after the next A comes B again; the other choices have also followed something

To copy, a model must look back for a word. To continue a pattern, it must look for the place where the newest word was
before, and for what came after it there: two layers of attention that work together ("induction heads", Olsson et al.
2022, arXiv 2209.11895). Models learn it later.
"""

from __future__ import annotations

from random import Random

from llm.evaluation.builtin.groups import Group, questions
from llm.evaluation.builtin.words import some

AGAIN = (  # {0} is the word that comes again, {1} is another one
    "If the {0} is not given, the {0} of the {1} is used.  If the",
    "If the {0} is not given, the default {0} of the {1} is used.  The",
    "If there is a {1}, the {0} is returned.  If there is no {0}, the default",
    "The {0} is evaluated; if the {0} is true, the {1} is executed, and the",
    "The {0} of the {1} is called with the {0} as argument, and the",
    "object.{0}(self, {1})\n\n   Called to implement the {0} of an object.  The",
    "class C:\n    def f(self, {0}, {1}):\n        self.{0} =",
)
PAIRS = (  # how a pair is said, and how it begins
    ("   {0} = {1}\n", "   {0} ="),
    ("The {0} of the {1} is used.  ", "The {0} of the"),
    ("If {0} is given, return the {1}.  ", "If {0} is given, return the"),
    ("{0} {1} ", "{0}"),
)
CHOICES = 4


def copying(rng: Random) -> Group:
    template = rng.choice(AGAIN)
    other, *words = some(rng, CHOICES + 1, without=template)
    return questions([template.format(word, other) for word in words], words)


def induction(rng: Random) -> Group:
    (pair, beginning), words = rng.choice(PAIRS), some(rng, 2 * CHOICES)
    firsts, seconds = words[:CHOICES], words[CHOICES:]
    said = "".join(pair.format(*each) for each in zip(firsts, seconds, strict=True))
    return questions([said + beginning.format(first) for first in firsts], seconds)
