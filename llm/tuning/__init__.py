"""From a model that continues texts to one that answers: tuning on answers, on labels and on preferences.

To read in order:

1. tasks.py          the objectives of train.py: a table of the classes of tasks
2. preferences.py    losses that learn from pairs of a chosen and a rejected completion: one table
   pairs.py          what these losses read
   completions.py    how likely a model finds whole completions: what the losses are computed from

Classifier, whose name is here too, is in llm/model/classifier.py, because llm/hub opens classifiers of other people.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for type checkers and editors
    from llm.model.classifier import Classifier
    from llm.tuning.preferences import preference_loss

__all__ = ["Classifier", "preference_loss"]

# Where each name comes from. It is imported at its first use.
_NAMES = {
    "Classifier": ("llm.model.classifier", "Classifier"),
    "preference_loss": ("llm.tuning.preferences", "preference_loss"),
}


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _NAMES[name]
    value = globals()[name] = getattr(importlib.import_module(module), attribute)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
