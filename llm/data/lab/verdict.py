"""What a rule says about a text. Each rule is a pure function: the same text always gets the same verdict.

verdict = rule(text)
verdict.kept, verdict.rule, verdict.number, verdict.threshold       # False, "gopher_short_doc", 12, 50
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Verdict:
    """Whether a text is kept, and the number that decided it."""

    kept: bool
    rule: str  # its name, such as "gopher_short_doc"
    number: float  # what was measured in the text
    threshold: float  # what it was compared with


@dataclass(frozen=True)
class Edited:
    """A text after an edit, such as one that masks e-mail addresses."""

    text: str
    counts: Mapping[str, int] = field(default_factory=dict)  # what was changed, such as {"email": 2}


Step = Callable[[str], Verdict | Edited]  # a rule or an edit
