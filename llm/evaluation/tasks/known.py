"""The tasks that are known by name, as data: the shapes are those in which the data sets are published.

Prompts and scores are those of EleutherAI's lm-evaluation-harness, so that results can be compared. The tests compare
its requests with those that come from here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llm.data.errors import DataError
from llm.evaluation.tasks.description import Description, from_dict, read_description

QUESTION = "Question: {question}\nAnswer:"

KNOWN: dict[str, dict[str, Any]] = {
    # Zellers et al. 2019, arXiv 1905.07830: which sentence follows? Texts from WikiHow have marks in brackets.
    "hellaswag": {
        "score": "choice",
        "shapes": [
            {"context": "{activity_label}: {ctx_a} {ctx_b|capitalize}", "choices": "endings"},
            {"context": "{query}", "choices": "endings"},
        ],
        "replace": [["\\A\\s+|\\s+\\Z", ""], [" \\[title\\]", ". "], ["\\[.*?\\]", ""], ["  ", " "]],
        "metrics": ["acc", "acc_norm"],
    },
    # Paperno et al. 2016, arXiv 1606.06031: the last word of a passage.
    "lambada": {
        "score": "continuation",
        "shapes": [{"context": "{text|before_last: }", "target": "{text|after_last: }"}],
        "metrics": ["acc", "perplexity"],
    },
    # Cobbe et al. 2021, arXiv 2110.14168: problems from school. strict: the number after ####, as in the examples.
    "gsm8k": {
        "score": "answer",
        "shapes": [{"context": QUESTION, "target": "{answer}"}],
        "stop": ["Question:", "</s>", "<|im_end|>"],
        "extract": {
            "strict": {"pattern": "#### (\\-?[0-9\\.\\,]+)"},
            "flexible": {"pattern": "(-?[$0-9.,]{2,})|(-?[0-9]+)", "which": -1},
        },
        "ignore": [",", "\\$", "(?s).*#### ", "\\.$"],
    },
    # Warstadt et al. 2020, arXiv 1912.00582: which of two sentences is grammatical?
    "blimp": {
        "score": "choice",
        "shapes": [{"choices": ["{sentence_good}", "{sentence_bad}"], "label": 0}],
        "metrics": ["acc"],
        "group": "linguistics_term",
    },
    # Clark et al. 2018, arXiv 1803.05457: questions of science.
    "arc": {
        "score": "choice",
        "shapes": [
            {
                "context": "Question: {question.stem}\nAnswer:",
                "choices": "question.choices.text",
                "label": "answerKey",
                "labels": "question.choices.label",
            },
            {"context": QUESTION, "choices": "choices.text", "label": "answerKey", "labels": "choices.label"},
        ],
        "metrics": ["acc", "acc_norm"],
    },
    # Bisk et al. 2020, arXiv 1911.11641: how is something done?
    "piqa": {
        "score": "choice",
        "shapes": [{"context": "Question: {goal}\nAnswer:", "choices": ["{sol1}", "{sol2}"]}],
        "metrics": ["acc", "acc_norm"],
    },
    # Sakaguchi et al. 2020, arXiv 1907.10641: which word fits into the gap? The rest is scored after both.
    "winogrande": {
        "score": "choice",
        "shapes": [
            {
                "context": ["{sentence|before:_}{option1}", "{sentence|before:_}{option2}"],
                "choices": ["{sentence|after:_|strip}", "{sentence|after:_|strip}"],
                "label": "answer",
                "labels": ["1", "2"],
            }
        ],
        "metrics": ["acc"],
    },
    # Any questions with given answers.
    "choice": {
        "score": "choice",
        "shapes": [
            {"context": "{query}", "choices": "choices"},
            {"context": "{query}", "choices": "endings"},
            {"context": QUESTION, "choices": "choices.text", "label": "answerKey", "labels": "choices.label"},
            {"context": QUESTION, "choices": "choices"},
            {"context": QUESTION, "choices": "choices", "label": "answer"},
        ],
        "metrics": ["acc", "acc_norm"],
        "group": "kind",
    },
    # Any questions with right answers: the answer must be the same text, or contain what the regular expression means.
    "answers": {
        "score": "answer",
        "shapes": [
            {"context": "{question}", "target": "{answer}"},
            {"context": "{prompt}", "target": "{answer}"},
            {"context": "{prompt}", "target": "{completion}"},
        ],
        "group": "kind",
    },
    "regex": {
        "score": "answer",
        "shapes": [
            {"context": context, "target": target}
            for target in ("{pattern}", "{answer}")
            for context in ("{question}", "{prompt}")
        ],
        "match": "regex",
        "group": "kind",
    },
    # Texts and their classes, for a model that sorts texts into classes.
    "classify": {"score": "classes", "shapes": [{"context": "{text}", "target": "{label}"}]},
    # How well texts are predicted.
    "text": {"score": "text", "shapes": [{"target": "{text}"}, {"target": "{page}"}]},
}


def find_description(kind: str) -> Description:
    """The description of a known task, or the one in a file whose name ends with .json."""
    if kind in KNOWN:
        return from_dict(KNOWN[kind], kind)
    if Path(kind).suffix == ".json":
        return read_description(kind)
    raise DataError(
        f"there is no task {kind!r}; choose one of {', '.join(KNOWN)}, or give a description of yours, a .json file"
    )
