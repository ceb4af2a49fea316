"""The command line of `python -m llm.evaluation`: how many tasks a model solves. Results go to standard output."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tqdm import tqdm

from llm.console import escaped, silence
from llm.evaluation.builtin.baselines import baselines, with_baselines
from llm.evaluation.builtin.suite import SUITE
from llm.evaluation.task_arguments import open_tasks
from llm.evaluation.tasks.comparison import Comparison
from llm.evaluation.tasks.description import Description
from llm.evaluation.tasks.items import SEED, Task
from llm.evaluation.tasks.predictors import predictor, refuse_unscorable
from llm.evaluation.tasks.progress import solve
from llm.evaluation.tasks.results import Result, result_of
from llm.evaluation.tasks.show import shown
from llm.hub.source import RUN, open_model
from llm.hub.tuned import base_checksum
from llm.inference.model_choice import LoadedModel, load_other, load_run
from llm.runs.commands import run
from llm.runs.files import locked, make_folder, prepare_file, read_json, write_json
from llm.runs.parsing import DEFAULT_IN_TEXT, flag, read_options
from llm.runs.run import Run
from tokenizer.formats.atomic import write_file

PROGRAM = "python -m llm.evaluation"
SETTINGS = "evaluation.json"  # of --out: the model, and what else decides an outcome


@dataclass(frozen=True)
class Evaluate:
    """Say how good a model is: python -m llm.evaluation runs/default-1 --task hellaswag=hellaswag_val.jsonl"""

    path: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """A run of train.py, a folder of Hugging Face, or a .gguf file."""
    task: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """KIND=FILE, a task and its file (JSON lines, Parquet, CSV; for text also .txt), or a folder of .jsonl files. Can
    be given several times. KIND is hellaswag, lambada, gsm8k, blimp, arc, piqa, winogrande, choice, answers, regex,
    classify or text, or a .json file that describes a task of yours. Or the name of a built-in task, whose items a
    program makes: copying, induction, brackets, agreement, arithmetic, spelling; builtin: all of these.
    """
    limit: Annotated[int | None, DEFAULT_IN_TEXT] = None
    """Use the first items of each task only. none, the default: use all; 500 of a built-in task."""
    shots: int = 0
    """How many questions with their answers stand before each question (few-shot)."""
    seed: int = SEED
    """Decides which questions these are, and which items a built-in task has."""
    max_tokens: Annotated[int | None, DEFAULT_IN_TEXT] = None
    """The largest number of tokens of an answer. none, the default: as the task says, 256 in most."""
    chat: bool = False
    """A question whose answer is written (gsm8k, answers, regex) is a message, in the chat template of the model."""
    stride: Annotated[int | None, DEFAULT_IN_TEXT] = None
    """For the task text: a text longer than the context is read in windows, each of which predicts so many new tokens
    from those before it. none, the default: as many as the context has, which is the fastest.
    """
    against: Annotated[str | None, DEFAULT_IN_TEXT] = None
    """Another model, which gets the same items: the difference, with its interval, and whether it may be chance."""
    show: int = 0
    """How many items of each task are printed that the model has lost, and how many that it has won; with --against:
    that it has answered worse, and better, than the other model.
    """
    json: Annotated[str | None, DEFAULT_IN_TEXT] = None
    """The file to write: all results, item by item."""
    out: Annotated[str | None, DEFAULT_IN_TEXT] = None
    """A folder for results. If the program is stopped and started again, it goes on there."""
    checkpoint: Literal["last", "best"] = "last"
    """Which checkpoint of a run."""
    tokenizer: Annotated[str | None, DEFAULT_IN_TEXT] = None
    """The file or folder of a tokenizer. Default: the one that the model comes with."""
    device: str = "auto"
    """cpu, cuda, cuda:N for GPU number N, or auto: a GPU if there is one, else the CPU."""

    def __post_init__(self) -> None:
        if not self.task:
            raise ValueError("--task is missing; give at least one KIND=FILE, or the name of a built-in task")
        for name, least in (("limit", 1), ("shots", 0), ("seed", 0), ("max_tokens", 1), ("stride", 1), ("show", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{flag(name)} must be at least {least}, got {value}")

    def start(self) -> None:
        tasks = self.tasks()  # first: a line that is wrong is told before the model is read
        if self.json is not None:
            prepare_file(Path(self.json))
        if self.against is not None:
            open_model(self.against)  # it is read after the work of the first model: is it there?
        folder = None if self.out is None else Path(self.out)
        results = self.results(self.path, tasks, folder)
        if self.against is None:
            found = {each.task.name: self.print_result(each) for each in results}
        else:
            first = list(results)  # all of them, so that one model is in memory at a time
            others = self.results(self.against, tasks, None if folder is None else folder / "against")
            pairs = zip(first, others, strict=True)
            found = {each.task.name: self.print_comparison(Comparison(each, other)) for each, other in pairs}
        data = {"model": self.path, **({"against": self.against} if self.against else {}), "tasks": found}
        for path in (self.json, None if folder is None else folder / "results.json"):
            if path is not None:
                write_file(Path(path), json.dumps(data, indent=1) + "\n")  # ASCII, whatever is in names and rows

    def print_result(self, result: Result) -> dict[str, Any]:
        """Print a result, and return it as JSON."""
        self.print_lines(result.lines(), shown(result, self.show))
        return result.to_json()

    def print_comparison(self, both: Comparison) -> dict[str, Any]:
        """Print two results and their difference, and return them as JSON."""
        lines = both.lines(str(self.against))
        self.print_lines(both.result.lines(), lines, shown(both.result, self.show, both.other))
        return {**both.result.to_json(), "against": both.other.to_json(), "difference": both.to_json()}

    def print_lines(self, *parts: Iterable[str]) -> None:
        try:
            print(escaped("\n".join(line for part in parts for line in part), sys.stdout), flush=True)
        except BrokenPipeError:  # the reader of the output, such as `head`, has ended
            if self.json is None and self.out is None:
                raise
            silence(sys.stdout)  # the files are still to be written

    def tasks(self) -> list[Task]:
        def change(description: Description) -> Description:
            return description if self.max_tokens is None else replace(description, max_tokens=self.max_tokens)

        return open_tasks(self.task, limit=self.limit, shots=self.shots, seed=self.seed, change=change)

    def results(self, path: str, tasks: list[Task], folder: Path | None) -> Iterator[Result]:
        """The result of each task, as soon as it is known."""
        loaded = self.load(path)
        judged = predictor(loaded.model, loaded.tokenizer, chat=self.chat, end_ids=loaded.end_ids, stride=self.stride)
        others = baselines(path, loaded.tokenizer) if {task.name for task in tasks} & SUITE.keys() else {}
        for task in tasks:
            refuse_unscorable(task, judged)
        with work_folder(folder, self.settings(path)):
            for task in tasks:
                with tqdm(total=len(task.items), desc=task.name, disable=None, leave=False) as bar:
                    outcomes = solve(task, judged, folder, bar.update)
                yield with_baselines(result_of(task, outcomes), others)

    def load(self, path: str) -> LoadedModel:
        """The model at a path, whatever its kind."""
        if open_model(path).family != RUN:
            return load_other(path, self.tokenizer, "widened", self.device)
        if self.tokenizer is not None:
            raise ValueError(f"{path} is a run, which has its own tokenizer; leave --tokenizer out")
        return load_run(Run(path), self.checkpoint, self.device)

    def settings(self, path: str) -> dict[str, Any]:
        """What an outcome depends on, besides its item."""
        names = ("checkpoint", "tokenizer", "chat", "stride")
        return {"model": base_checksum(path), **{name: getattr(self, name) for name in names}}


@contextmanager
def work_folder(folder: Path | None, settings: dict[str, Any]) -> Iterator[None]:
    """The folder of --out, which belongs to one model with its settings, and to one process at a time."""
    if folder is None:
        yield
        return
    make_folder(folder)
    path = folder / SETTINGS
    with only_process(folder):
        known = read_settings(path) if path.exists() else {}
        if different := [name for name in known if known[name] != settings.get(name)]:
            raise ValueError(f"{folder} holds results with another {' and '.join(different)}; give another --out")
        write_json(path, settings)
        yield


def read_settings(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; give another folder as --out") from None


@contextmanager
def only_process(folder: Path) -> Iterator[None]:
    try:
        with locked(folder):
            yield
    except BlockingIOError:
        raise ValueError(f"another process is writing into {folder}; wait for it, or give another --out") from None


def main(arguments: list[str] | None = None) -> int:
    """Run the command. Returns the exit status: 0, or 1 after an error. SystemExit(2) if an option is wrong."""
    given = sys.argv[1:] if arguments is None else arguments
    return run(PROGRAM, lambda: read_options(Evaluate, given, program=PROGRAM).start())
