"""Tuning: from a model that continues texts to one that answers, judges, and is preferred. To read in order:

1. records.py        files of examples: JSON lines, CSV, TSV
2. rows.py           the shapes of examples: messages, prompt and completion, chosen and rejected ...
3. split.py          which examples are held out for validation
4. masks.py          which part of a conversation is learned
5. conversation.py   an example as token ids, with a mask of those that are learned
6. chatml.py         a chat template for models that have none
7. packing.py        batches of examples of different lengths; row_batches.py: their random order
8. show.py           `python -m llm.tuning show`: which tokens would be learned
9. adapters.py       LoRA, prefixes and prompts: few parameters to train
10. preferences.py   losses that learn from pairs of a chosen and a rejected completion: one table
    pairs.py         what these losses read
11. completions.py   how likely a model finds whole completions: what the losses are computed from
    reference.py     what the model at the beginning says about them
12. reward_model.py  the loss of a model that judges answers
13. classification.py   how good a classifier is: confusion, calibration
14. questions.py     prompts that a model is to answer
15. reinforcement/   the model is rewarded for answers that a program can check
16. tasks.py         the objectives of train.py, a task each (llm/training/task.py says what a task is)
    chat.py  classify_task.py  preference_task.py  reward_task.py   these tasks
    examples.py      the examples of a task: read, divided, encoded
17. exercises.py     questions that a program makes, and whose answers a program can check
18. accuracy.py      how many of them a model answers right, with an interval
19. command.py       the commands of `python -m llm.tuning`

Classifier, whose name is here too, is in llm/model/classifier.py, because llm/hub opens classifiers of other people.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for type checkers and editors
    from llm.hub.adapters.files import save_adapter
    from llm.hub.load import load
    from llm.model.classifier import Classifier
    from llm.tuning.adapters import adapter_off, add_lora, add_prefix, add_prompt, merge
    from llm.tuning.preferences import preference_loss
    from llm.tuning.reward_model import reward_loss

__all__ = [
    "Classifier", "adapter_off", "add_lora", "add_prefix", "add_prompt", "load", "merge", "preference_loss",
    "reward_loss", "save_adapter",
]  # fmt: skip

# Where each name comes from. It is imported at its first use.
_NAMES = {
    "Classifier": ("llm.model.classifier", "Classifier"),
    "preference_loss": ("llm.tuning.preferences", "preference_loss"),
    "reward_loss": ("llm.tuning.reward_model", "reward_loss"),
    "adapter_off": ("llm.model.adapters.attach", "adapter_off"),
    "add_lora": ("llm.tuning.adapters", "add_lora"),
    "add_prefix": ("llm.tuning.adapters", "add_prefix"),
    "add_prompt": ("llm.tuning.adapters", "add_prompt"),
    "load": ("llm.hub.load", "load"),
    "merge": ("llm.model.adapters.merge", "merge"),
    "save_adapter": ("llm.hub.adapters.files", "save_adapter"),
}


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _NAMES[name]
    value = globals()[name] = getattr(importlib.import_module(module), attribute)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
