"""The command line of `train.py`: preset or earlier run first, then the options given, then training or a dry run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Annotated, Any

import tyro

from llm.model.gpt import GPT
from llm.runs.options import Options, presets
from llm.runs.run import Run, RunError, new_run, newest_run
from llm.training.dry_run import describe_dry_run
from llm.training.loop import train
from llm.training.setup import describe, set_up
from tokenizer import BaseTokenizer

# Options of the model that may change when a run is resumed. --vocab-size is without effect then: the tokenizer of the
# run decides.
CHANGEABLE = {"dropout", "vocab_size"}

# (model, tokenizer, prompt, seed) -> what the model writes after the prompt. Training does not import llm/inference, which
# does that, so train.py passes the function in.
SampleWriter = Callable[[GPT, BaseTokenizer, str, int], str]


@dataclass(frozen=True)
class _Start:
    """The options that decide where the others start from."""

    preset: str = "default"
    out: str | None = None
    resume: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False


def parse(arguments: list[str]) -> tuple[Options, Run]:
    """The options and the run's folder. Raises ValueError for a preset, a folder or a change that is not possible."""
    start, others = tyro.cli(_Start, args=arguments, return_unknown_args=True, add_help=False)
    if {"-h", "--help"} & set(others):
        _parse(["--help"], _preset(start.preset))
    run = _run(start)
    before = run.options() if run.exists else _preset(start.preset)
    options = _parse(arguments, before)
    if run.exists:
        _refuse_changes(run, before, options)
    return options, run


def _parse(arguments: list[str], default: Options) -> Options:
    return tyro.cli(Options, args=arguments, default=default, prog="train.py")


def _run(start: _Start) -> Run:
    if start.out is None:
        return newest_run() if start.resume else new_run(start.preset)
    run = Run(start.out)
    if not (start.resume and run.exists):
        run.check_free()
    return run


def _preset(name: str) -> Options:
    known = presets()
    if name not in known:
        raise ValueError(f"there is no preset {name!r}; choose one of {', '.join(known)}")
    return known[name]


def _refuse_changes(run: Run, before: Options, after: Options) -> None:
    """Raise RunError when options were given that would make the weights or the tokens of a run worthless."""
    fixed: list[tuple[Any, Any, str]] = [(before.training, after.training, name) for name in ("preset", "tokenizer")]
    fixed += [(before.model, after.model, field.name) for field in fields(after.model) if field.name not in CHANGEABLE]
    for old, new, name in fixed:
        if getattr(old, name) != getattr(new, name):
            raise RunError(
                f"{run} was begun with --{name.replace('_', '-')} {getattr(old, name)}, which cannot become "
                f"{getattr(new, name)}; leave that option out, or start a new run"
            )


def start(options: Options, run: Run, write_sample: SampleWriter) -> int:
    """Train a new run, continue a run, or only describe what the options say; returns the exit status."""
    if options.training.dry_run:
        print(describe_dry_run(options))
        return 0
    with run.locked():
        trainer, tokenizer = set_up(options, run)
        print(describe(trainer, tokenizer, run), flush=True)
        prompt, seed = options.training.prompt, options.training.seed
        return train(trainer, run, lambda: prompt + write_sample(trainer.model, tokenizer, prompt, seed))
