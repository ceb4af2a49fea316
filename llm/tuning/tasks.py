"""The objectives of train.py: `find_task` gives the class of tasks for a name of --objective.

A module is imported when its objective is asked for, so training on text does not wait for it.
"""

from __future__ import annotations

import importlib

from llm.training.task import TaskKind
from llm.training.text import TextTask

# The name of an objective -> the module in llm.tuning and the class in it.
TASKS: dict[str, tuple[str, str]] = {
    "chat": ("chat.task", "ChatTask"),
    "classify": ("classification.task", "ClassifyTask"),
    "preference": ("preferences.task", "PreferenceTask"),
    "reward": ("preferences.reward_task", "RewardTask"),
    "reinforce": ("reinforcement.task", "ReinforceTask"),
    "translate": ("translation.task", "TranslateTask"),
}


def find_task(name: str) -> TaskKind:
    """The class of tasks for a name of --objective. Raises ValueError if there is none."""
    if name == TextTask.name:
        return TextTask
    if name not in TASKS:
        raise ValueError(f"--objective {name} is not known; choose one of {', '.join([TextTask.name, *TASKS])}")
    module, kind = TASKS[name]
    return getattr(importlib.import_module(f"llm.tuning.{module}"), kind)
