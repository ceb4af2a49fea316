"""Opening a run: its options, its lines, its model, and a text for the model to read.

The text is the validation text of the run. Objectives without such a text (preference, reward, reinforce) use what the
run has written itself, at its last sample.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Any

import numpy as np

from llm.hub.tuned import load_run
from llm.model.classifier import Classifier
from llm.model.gpt import GPT
from llm.model.transformer import Transformer
from llm.runs.errors import RunError
from llm.runs.files import read_json
from llm.runs.metrics import read_metrics
from llm.runs.options import Options
from llm.runs.run import LAYERS, METRICS, SAMPLES, Run
from llm.runs.state import STATE
from llm.runs.step_lines import iterate_lines
from llm.training.task import Task
from llm.training.text import TextTask
from llm.tuning.tasks import find_task
from tokenizer import BaseTokenizer

ROWS = 16  # windows of validation text that are read token by token
VALIDATED = ("text", "chat", "classify")  # objectives whose validation text is read
LARGEST = 1e100  # of numbers in pictures
NOT_LEARNED = -100  # as a target
Lines = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Text:
    """What a model reads: rows of ids, and the tokens that come after each of them; NOT_LEARNED where none counts."""

    about: str
    inputs: np.ndarray  # (rows, T)
    targets: np.ndarray  # (rows, T)
    documents: np.ndarray | None = None  # (rows, T), where a row has several texts or padding (-1)

    @property
    def first(self) -> np.ndarray:
        """The ids of the first text of the first row."""
        ids = self.inputs[0]
        return ids if self.documents is None else ids[self.documents[0] == self.documents[0, 0]]


@dataclass(frozen=True)
class Opened:
    """A run that was read."""

    name: str  # for the page
    run: Run
    options: Options
    metrics: Lines
    samples: Lines
    layers: Lines
    model: GPT | Classifier | Transformer
    tokenizer: BaseTokenizer
    text: Text | None
    problem: str = ""  # why there is no text

    @property
    def gpt(self) -> GPT | None:
        """The GPT in it; None if it is a translator."""
        inner = self.model.model if isinstance(self.model, Classifier) else self.model
        return inner if isinstance(inner, GPT) else None


def open_run(run: Run, name: str) -> Opened:
    """Read a run. Raises ValueError (RunError ...) or OSError, with a sentence, if it cannot be read."""
    model, tokenizer = load_run(run)
    options, samples = run.options(), list(iterate_lines(run.folder / SAMPLES, ("text",)))
    text, problem = None, ""
    try:
        text = None if isinstance(model, Transformer) else text_to_read(options, run, model, tokenizer, samples)
    except (ValueError, OSError) as error:  # the data of the run are not there any more, for instance
        problem = f"No chapters about a text: {error}"
    return Opened(
        name,
        run,
        options,
        clean_metrics(read_metrics(run.folder / METRICS)),
        samples,
        clean_layers(iterate_lines(run.folder / LAYERS, ("norms",))),
        model,
        tokenizer,
        text,
        problem,
    )


# Files may be damaged, or edited: what is no number that can be drawn is None, or left out.


def finite(x: Any) -> float | None:
    """A number that can be drawn."""
    return x if isinstance(x, int | float) and abs(x) < LARGEST else None


def clean_metrics(lines: Iterable[Mapping[str, Any]]) -> Lines:
    return [{name: finite(x) for name, x in line.items()} for line in lines if finite(line["step"]) is not None]


def clean_layers(lines: Iterable[Mapping[str, Any]]) -> Lines:
    return [
        {
            "step": line["step"],
            "peak_memory": finite(line.get("peak_memory")),
            "norms": {
                layer: {kind: finite(x) for kind, x in norms.items()}
                for layer, norms in line["norms"].items()
                if isinstance(norms, dict)
            },
        }
        for line in lines
        if isinstance(line["norms"], dict) and finite(line["step"]) is not None
    ]


def text_to_read(
    options: Options, run: Run, model: GPT | Classifier, tokenizer: BaseTokenizer, samples: Lines
) -> Text | None:
    """The text for the chapters on what happens inside; None if there is none."""
    if options.training.objective in VALIDATED:
        return validation_text(find_task(options.training.objective), options, run, model)
    try:
        ids = np.array(tokenizer.encode_ordinary(str(samples[-1]["text"])), dtype=np.int64)[: options.context + 1]
    except (IndexError, ValueError):  # there is no sample, or it has characters that the tokenizer does not know
        return None
    about = f"What the run wrote at step {samples[-1]['step']:,}, read by the model itself"
    return Text(about, ids[None, :-1], ids[None, 1:]) if len(ids) > 1 else None


def validation_text(kind: Any, options: Options, run: Run, model: Any) -> Text | None:
    """The first rows of what the run is evaluated on. Raises ValueError if the data are not those of the run."""
    if options.training.data == "-":
        raise RunError("it came through a pipe, and was not kept")
    with quiet():
        task: Task = kind(options, run)
        parts = task.parts(model)
    if parts.data != read_json(run.folder / STATE)["data"]:
        raise RunError(
            f"{options.training.data} is not the text that the run was trained on: its checksum is another one"
        )
    validation: Any = parts.validation
    if isinstance(task, TextTask):
        inputs, targets = (np.concatenate(arrays) for arrays in zip(*validation.batches))
        return Text("Validation text", inputs[:ROWS], targets[:ROWS])
    inputs, *others = (array[:ROWS] for array in validation.batches[0])
    if task.name == "classify":
        return text_of_classes(inputs, others[0])
    return Text("Validation text, of which the answers are learned", inputs, *others)


def text_of_classes(ids: np.ndarray, mask: np.ndarray) -> Text | None:
    """Texts to be classified, as texts to continue. `mask` (rows, T + 1): False at padding."""
    if ids.shape[1] < 2:
        return None
    targets = np.where(mask[:, 1:], ids[:, 1:], NOT_LEARNED)
    return Text("Validation text, read token by token", ids[:, :-1], targets, np.where(mask[:, 1:], 0, -1))


@contextmanager
def quiet() -> Iterator[None]:
    with redirect_stdout(StringIO()):  # what train.py would say about the text
        yield


def token_text(tokenizer: BaseTokenizer, i: int) -> str:
    """A token as text; a model of others may know more ids than its tokenizer."""
    try:
        return tokenizer.decode([int(i)])
    except ValueError:
        return f"id {i}"
