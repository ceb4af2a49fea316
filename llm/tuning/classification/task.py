"""train.py --objective classify: a classifier learns from texts and their labels."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from llm.data.errors import DataError
from llm.data.permutation import ROUNDS, permute
from llm.evaluation.loss import Validation
from llm.inference.classify import class_outputs, padded, text_ids
from llm.model.classifier import Classifier
from llm.model.gpt import GPT
from llm.parallel.metrics import Metrics
from llm.parallel.objective import Batch
from llm.runs.files import write_json
from llm.runs.options import Options
from llm.runs.run import REPORT, Run
from llm.training.task import Parts, SampleWriter, Task, kept_tokenizer, with_vocabulary
from llm.tuning.classification.report import report
from llm.tuning.examples.encoded import read_examples
from llm.tuning.examples.fields import brief
from llm.tuning.examples.row_batches import RowBatches, some_batches
from llm.tuning.examples.rows import Labeled
from minigrad.fused.cross_entropy import cross_entropy
from minigrad.tensor import Tensor

HEAD_SEED = 1  # beside the seed of the run: the new head is drawn from both
SHOWN = 5  # held-out texts that a sample shows
SHOWN_CHARACTERS = 60
CLASSES_SHOWN = 12  # in the list of how many texts each class has


class Example(NamedTuple):
    ids: list[int]
    label: str
    text: str


class Classes:
    """Cross-entropy of the class of each text. A batch is ids (B, T), the mask of real tokens (B, T), classes (B,)."""

    def loss_sum(self, model: Any, batch: Batch) -> tuple[Tensor, Metrics]:
        ids, mask, classes = batch
        logits = model(ids, mask=mask)  # (B, classes)
        right = (logits.data.argmax(axis=1) == classes).sum()
        return cross_entropy(logits, classes, reduction="sum"), {"accuracy": (right, len(classes))}

    def count(self, batch: Batch) -> float:
        return len(batch[-1])


class ClassifyTask(Task):
    """Name the class of a text."""

    name = "classify"
    rows = "texts"

    def __init__(self, options: Options, run: Run):
        tokenizer = kept_tokenizer(options, run)
        assert tokenizer is not None, "check_objective refuses a run without --from"
        self.tokenizer, self.options = tokenizer, with_vocabulary(options, tokenizer)
        training, context = options.training, options.context

        def encode(row: Labeled) -> Example:
            return Example(text_ids(tokenizer, row.text, context), row.label, row.text)

        def choose(rows: list[Labeled]) -> list[Labeled]:
            return balanced(rows, training.seed) if options.tuning.balance else rows

        self.examples = read_examples(options, Labeled, encode, choose)
        self.labels = in_order({example.label for example in self.examples.train + self.examples.val})
        if len(self.labels) < 2:
            raise DataError(
                f"all texts in {training.data} have the label {brief(self.labels[0])}; give texts of two or more"
            )

    def extend(self, model: GPT) -> Any:
        rng = np.random.default_rng((self.options.training.seed, HEAD_SEED))
        return Classifier(model, self.labels, rng=rng, pad_id=self.tokenizer.end_of_text)

    def parts(self, model: GPT) -> Parts:
        training, train, val = self.options.training, self.examples.train, self.examples.val
        batches = RowBatches(train, training.batch_size, training.seed, self.batch, lambda one: len(one.ids))
        return Parts(
            Classes(),
            batches,
            Validation(some_batches(val, training.batch_size, training.eval_batches, self.batch)),
            data=self.examples.checksums,
            description=f"{len(train):,} training texts ({training.data}) of {len(self.labels)} classes, "
            f"{batches.steps_per_epoch:,} steps an epoch\n"
            f"texts of each class: {class_counts(self.labels, [example.label for example in train])}",
        )

    def batch(self, examples: Sequence[Example]) -> Batch:
        ids, mask = padded([example.ids for example in examples])
        return ids, mask, np.array([self.labels.index(example.label) for example in examples])

    def about(self) -> dict[str, Any]:
        return {"classes": self.labels, "pad_id": self.tokenizer.end_of_text}

    def sample(self, model: Any, write: SampleWriter) -> str:
        """Some held-out texts with the class that the model gives them."""
        some = self.examples.val[:SHOWN]
        probabilities = class_outputs(model, [example.ids for example in some])
        return "\n".join(map(self.line, some, probabilities))

    def line(self, example: Example, probabilities: np.ndarray) -> str:
        label = self.labels[int(probabilities.argmax())]
        wrong = "" if label == example.label else f" (right: {example.label})"
        text = " ".join(example.text.split())
        short = text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + " ..."
        return f"{label} {probabilities.max():.1%}{wrong}: {short}"

    def report(self, model: Any, run: Run) -> str:
        """How good the model is with all held-out texts: printed, and written to the folder of the run."""
        val = self.examples.val
        probabilities = class_outputs(model, [example.ids for example in val])
        found = report(probabilities, [self.labels.index(example.label) for example in val], self.labels)
        write_json(run.folder / REPORT, found.to_json())
        return f"the held-out texts, also in {run.folder / REPORT}:\n{found}"


def in_order(labels: set[str]) -> list[str]:
    """Numbers by their size, other labels by the alphabet."""
    if all(re.fullmatch(r"-?\d+", label) for label in labels):
        return sorted(labels, key=lambda label: (int(label), label))  # "1" and "01" are two labels
    return sorted(labels)


def class_counts(labels: Sequence[str], given: Sequence[str]) -> str:
    """How many texts have each label, the rarest first: a label that is spelled wrong has few."""
    counts = Counter(given)
    rarest = sorted(labels, key=lambda label: counts[label])  # stable, so that ties keep their order
    more = f" ... and {len(labels) - CLASSES_SHOWN} more classes" if len(labels) > CLASSES_SHOWN else ""
    return ", ".join(f"{label} {counts[label]:,}" for label in rarest[:CLASSES_SHOWN]) + more


def balanced(rows: list[Labeled], seed: int) -> list[Labeled]:
    """As many rows of each class as there are of the rarest, in the order of the file."""
    places: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        places.setdefault(row.label, []).append(number)
    count, chosen = min(map(len, places.values())), list[int]()
    for number, label in enumerate(sorted(places)):
        keys = np.random.SeedSequence((seed, number)).generate_state(ROUNDS, np.uint64)
        order = permute(np.arange(count), len(places[label]), keys)
        chosen += [places[label][place] for place in order]
    return [rows[place] for place in sorted(chosen)]
