"""Folders of `...ForSequenceClassification`: a model with a head for classes in place of the vocabulary."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from llm.hub.errors import HubError, shown
from llm.hub.families import Family
from llm.hub.stored import Stored
from llm.hub.weights import Part, Same
from llm.model.classifier import Classifier, class_names

ENDING = "ForSequenceClassification"
SCORE = "score.weight"  # the head (classes, C); it has the same name in all families, and here


def no_text(where: str | Path) -> HubError:
    """What is raised where a model that writes is wanted."""
    return HubError(
        f"{where} is a classifier, which writes no text; use it with generate.py --classify, or give the model that it "
        "was trained from"
    )


class Classes(NamedTuple):
    """What a config.json says about them."""

    labels: tuple[str, ...]
    pad_id: int | None


def read_classes(data: Mapping[str, Any], tensors: Mapping[str, Stored], where: str) -> Classes | None:
    """The classes of a model; None if it is no classifier."""
    names = data.get("architectures")
    if SCORE not in tensors:
        if isinstance(names, list) and any(str(name).endswith(ENDING) for name in names):
            raise HubError(f"{where} describes a classifier, {shown(names[0])}, but there is no tensor {SCORE}")
        return None
    if len(shape := tensors[SCORE].shape) != 2 or not shape[0]:
        raise HubError(f"the tensor {SCORE} has the shape {shape}, and must be a matrix with a row for each class")
    pad_id = data.get("pad_token_id")
    return Classes(read_labels(data.get("id2label"), shape[0], where), pad_id if type(pad_id) is int else None)


def read_labels(id2label: Any, count: int, where: str) -> tuple[str, ...]:
    """The names of the classes, or LABEL_0, LABEL_1 ... if the file has none."""
    if id2label is None:
        return class_names(count)
    expected = [str(i) for i in range(count)]
    if not isinstance(id2label, dict) or {*id2label} != {*expected}:
        raise HubError(f"{where}: id2label={shown(id2label)} does not name the {count} classes that the head has")
    try:
        return class_names([str(id2label[i]) for i in expected])
    except ValueError:
        raise HubError(f"{where}: id2label={shown(id2label)} gives two classes the same name") from None


def parts_of_classifier(parts: Mapping[str, Part]) -> dict[str, Part]:
    """The parts of a model as those of the classifier that contains it."""
    return {f"model.{name}": part for name, part in parts.items()} | {SCORE: Same(SCORE)}


def fields_of_classifier(classifier: Classifier, family: Family) -> dict[str, Any]:
    """The fields of config.json that make transformers load it as one."""
    name = re.sub("(ForCausalLM|LMHeadModel)$", "", family.architecture)
    labels = classifier.labels
    return {
        "architectures": [("Gemma3Text" if name == "Gemma3" else name) + ENDING],  # only this one has another name
        "id2label": {str(i): label for i, label in enumerate(labels)},
        "label2id": {label: i for i, label in enumerate(labels)},
        "pad_token_id": classifier.pad_id,
    }
