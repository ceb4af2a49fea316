"""Tuning: from a model that continues texts to one that answers, judges, and is preferred. To read in order:

1. examples/         files of examples, in the shapes that people have
2. chat/             conversations: which tokens are learned; templates; packing; `python -m llm.tuning show`
3. adapters.py       LoRA, prefixes and prompts: few parameters to train (the layers are in llm/model/adapters)
4. classification/   texts and their classes: training, and a report
5. preferences/      losses that learn from a chosen and a rejected answer: one table; reward models
6. reinforcement/    the model is rewarded for answers that a program can check
7. translation/      from one text to another, with an encoder, from the start
8. tasks.py          the objectives of train.py, a task each (llm/training/task.py says what a task is)
9. exercises.py      questions that a program makes, and whose answers a program can check
10. accuracy.py      how many of them a model answers right, with an interval
11. command.py       the commands of `python -m llm.tuning`

Classifier, whose name is here too, is in llm/model/classifier.py, because llm/hub opens classifiers of other people.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm.exports import lazy_exports

if TYPE_CHECKING:  # for type checkers and editors
    from llm.hub.adapters.files import save_adapter
    from llm.hub.load import load
    from llm.model.classifier import Classifier
    from llm.tuning.adapters import adapter_off, add_lora, add_prefix, add_prompt, merge
    from llm.tuning.preferences.losses import preference_loss
    from llm.tuning.preferences.reward_loss import reward_loss

__all__ = [
    "Classifier", "adapter_off", "add_lora", "add_prefix", "add_prompt", "load", "merge", "preference_loss",
    "reward_loss", "save_adapter",
]  # fmt: skip

# Where each name comes from. It is imported at its first use.
_NAMES = {
    "Classifier": ("llm.model.classifier", "Classifier"),
    "preference_loss": ("llm.tuning.preferences.losses", "preference_loss"),
    "reward_loss": ("llm.tuning.preferences.reward_loss", "reward_loss"),
    "adapter_off": ("llm.model.adapters.attach", "adapter_off"),
    "add_lora": ("llm.tuning.adapters", "add_lora"),
    "add_prefix": ("llm.tuning.adapters", "add_prefix"),
    "add_prompt": ("llm.tuning.adapters", "add_prompt"),
    "load": ("llm.hub.load", "load"),
    "merge": ("llm.model.adapters.merge", "merge"),
    "save_adapter": ("llm.hub.adapters.files", "save_adapter"),
}

__getattr__, __dir__ = lazy_exports(__name__, _NAMES)
