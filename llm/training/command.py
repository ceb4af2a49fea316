"""The command line of `train.py`: preset or earlier run first, then the options given, then training or a dry run."""
from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import tyro

from llm.inference.text import write_text
from llm.training.dry_run import describe_dry_run
from llm.training.options import Options, presets
from llm.training.run import Run, new_run, newest_run
from llm.training.setup import describe, set_up


@dataclass(frozen=True)
class _Start:
    """The options that decide where the others start from."""

    preset: str = "default"
    out: str | None = None
    resume: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False


def parse(arguments: list[str]) -> tuple[Options, Run]:
    """The options and the run's folder. Raises ValueError for a preset or a folder that cannot be used."""
    start, _ = tyro.cli(_Start, args=arguments, return_unknown_args=True, add_help=False)
    run = _run(start)
    begin = run.options() if start.resume and run.exists else _preset(start.preset)
    options = tyro.cli(Options, args=arguments, default=begin, prog="train.py", config=(tyro.conf.FlagCreatePairsOff,))
    return replace(options, training=replace(options.training, resume=start.resume)), run


def _run(start: _Start) -> Run:
    if start.out is None:
        return newest_run() if start.resume else new_run(start.preset)
    run = Run(start.out)
    if run.exists and not start.resume:
        raise ValueError(f"{run} holds a run already; add --resume to go on with it, or choose another --out")
    return run


def _preset(name: str) -> Options:
    known = presets()
    if name not in known:
        raise ValueError(f"there is no preset {name!r}; choose one of {', '.join(known)}")
    return known[name]


def start(options: Options, run: Run) -> None:
    """Train (or go on training, or only describe) what the options say, and show a sample at the end."""
    if options.training.dry_run:
        print(describe_dry_run(options))
        return
    trainer = set_up(options, run)
    print(describe(trainer, trainer.options), flush=True)
    trainer.train()
