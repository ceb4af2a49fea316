"""The command line of train.py: `parse` reads the options, `start` trains or makes a dry run.

The defaults of the options come from a preset, or from the run that is resumed. So the command line is read twice:
first only --preset, --out and --resume, then all options, with the defaults that follow from these three.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from llm.parallel.blas import blas_threads, limited_blas_threads
from llm.parallel.job import Job
from llm.runs.errors import RunError
from llm.runs.find import new_run, newest_run
from llm.runs.options import ADAPTER_LR, Options, TrainOptions, brief, tuning_defaults
from llm.runs.parsing import flag, read_options, read_some
from llm.runs.presets import presets
from llm.runs.run import Run
from llm.runs.tuning_options import Objective
from llm.training.base import base_config, base_name, base_options, check_shape
from llm.training.checks import check_objective
from llm.training.display import print_line
from llm.training.dry_run import describe_dry_run
from llm.training.loop import train
from llm.training.memory import advised, beyond_this_machine
from llm.training.setup import ONE_PROCESS, describe, set_up, tasks_to_solve
from llm.training.task import SampleWriter, TaskKind
from llm.training.text import TextTask
from minigrad.precision import precision_named

# The only options of the model that may change when a run is resumed. (--vocab-size has no effect: the run has its
# tokenizer already.)
CHANGEABLE = {"dropout", "balance_loss", "balance_by_layer", "vocab_size"}

FindTask = Callable[[str], TaskKind]  # takes a name of --objective. As with SampleWriter, train.py passes it in


@dataclass(frozen=True)
class FirstOptions:
    """The options that are read first, because they decide the defaults of all others."""

    preset: str | None = None
    from_: Annotated[str | None, tyro.conf.arg(name="from")] = None
    objective: Objective | None = None
    out: str | None = None
    resume: bool = False
    # Numbers are text here: whether they are numbers is checked later, with all other options.
    steps: str | None = None
    lora_rank: str | None = None
    prefix_tokens: str | None = None
    prompt_tokens: str | None = None


def parse(arguments: list[str]) -> tuple[Options, Run]:
    """The options and the run. Raises ValueError for a preset, a folder or a change of options that is not possible."""
    first, others = read_some(FirstOptions, arguments, program="train.py")
    # --help comes before anything that can fail, such as a folder that cannot be used. It ends the program.
    if {"-h", "--help"} & set(others):
        _parse(["--help"], brief(described(first)))
    if "--help-all" in others:
        _parse(["--help"], described(first))
    run = _run(first)
    defaults = run.options() if run.exists else defaults_for(first)
    options = _with_lasting_path(_parse(arguments, defaults))
    if run.exists:
        _refuse_changes(run, defaults, options)
        return options, run
    check_objective(options)
    if first.from_ is not None:
        check_shape(base_config(first.from_), options.model, first.from_)
    return options, run


def start(
    options: Options,
    run: Run,
    write_sample: SampleWriter,
    find_task: FindTask = lambda _: TextTask,
    job: Job = ONE_PROCESS,
) -> int:
    """Train a new run, continue a run, or only describe what the options say; returns the exit status."""
    kind, options = find_task(options.training.objective), job.complete(options)
    if options.training.dry_run:
        precision_named(options.training.precision)  # what is missing or wrong is told now
        tasks_to_solve(options.training)
        job.on_first(lambda: print_line(describe_dry_run(options, run, kind)))
        return 0
    job.split(options)
    run = job.view(run)
    with run.locked():
        trainer, task = set_up(options, run, kind, job)
        options = task.options
        print_line(describe(trainer, task, run))
        if trainer.model.device == "cpu":
            for line in beyond_this_machine(options, trainer.workers.count):
                print_line(line)

        def sample() -> str:
            # The workers wait meanwhile. So the cores are free for matrix products, as in generate.py.
            with limited_blas_threads(blas_threads(options.training.threads, trainer.model.num_parameters())):
                return task.sample(trainer.model, write_sample)

        with advised(options, trainer.workers.count):
            if options.training.from_ is not None and not trainer.state.step:
                print_line(f"before the first step: {trainer.validation.evaluate(trainer.workers)}")
            status = train(trainer, run, sample)
            with trainer.optimizer.averaged():
                if trainer.finished and (report := task.report(trainer.model, run)):
                    print_line(report)
            return status


def _parse(arguments: list[str], defaults: Options) -> Options:
    return read_options(type(defaults), arguments, program="train.py", default=defaults)


def defaults_for(first: FirstOptions) -> Options:
    """The values of options that are not given, in a new run. Raises ValueError or OSError if --from names no model."""
    return _with_warmup_for(first.steps, _defaults(first))


def _defaults(first: FirstOptions) -> Options:
    if first.from_ is None:
        return _preset(first.preset)
    if first.preset is not None:
        raise ValueError(
            f"--preset {first.preset} describes a new model, and --from {first.from_} one that exists already; "
            "leave one of them out"
        )
    return base_options(first.from_, _tuning_defaults(first))


def _tuning_defaults(first: FirstOptions) -> TrainOptions:
    """The options of training that are not given, with --from."""
    adapters = [name for name in ADAPTER_LR if getattr(first, name) is not None]
    return tuning_defaults(first.objective or "text", adapters)


def described(first: FirstOptions) -> Options:
    """What --help shows: the values of `_defaults`, without opening the model of --from."""
    preset = _preset(first.preset)
    training = preset.training if first.from_ is None else replace(_tuning_defaults(first), from_=first.from_)
    return replace(preset, training=replace(training, objective=first.objective or training.objective))


def _run(first: FirstOptions) -> Run:
    if first.out is None:
        name = (first.preset or "default") if first.from_ is None else base_name(first.from_)
        return newest_run() if first.resume else new_run(name)
    if not first.out:
        raise RunError("--out is empty; give the name of a folder")
    run = Run(first.out)
    if first.resume and run.exists:
        return run
    run.check_free()
    # After a kill during setup there is nothing yet to go on with. The same command with --resume begins again.
    if first.resume and not run.is_unbegun:
        raise RunError(
            f"{run} holds no run that could be resumed; leave --resume out to begin one there, or give its right --out"
        )
    return run


def _with_warmup_for(steps: str | None, preset: Options) -> Options:
    """The preset, with a warmup that is the same part of the steps, if they are fewer than those of the preset."""
    # A warmup that is as long as the run, or longer, would leave no step in which the learning rate falls.
    training = preset.training
    if steps is None or not steps.isdecimal() or int(steps) >= training.steps:
        return preset
    return replace(preset, training=replace(training, warmup=training.warmup * int(steps) // training.steps))


def _with_lasting_path(options: Options) -> Options:
    """With an adapter, the run needs the model at --from also when it is opened from another folder."""
    training = options.training
    if not options.tuning.has_adapters or training.from_ is None:
        return options
    path = str(Path(training.from_).resolve())
    tokenizer = path if training.tokenizer == training.from_ else training.tokenizer
    return replace(options, training=replace(training, from_=path, tokenizer=tokenizer))


def _preset(name: str | None) -> Options:
    known, name = presets(), name or "default"
    if name not in known:
        raise ValueError(f"there is no preset {name!r}; choose one of {', '.join(known)}")
    return known[name]


def _refuse_changes(run: Run, before: Options, after: Options) -> None:
    """Raise RunError if an option was changed that the trained weights, or the tokenizer, depend on."""
    fixed: list[tuple[Any, Any, str]] = [(before.tuning, after.tuning, field.name) for field in fields(after.tuning)]
    # After those: with an adapter, the path at --from is an absolute one.
    names = ["objective", "preset", "from_", "tokenizer", "optimizer"]
    if bool(before.training.ema_decay) != bool(after.training.ema_decay):
        names.append("ema_decay")
    fixed += [(before.training, after.training, name) for name in names]
    if before.tuning.has_adapters:  # the model may have been moved: its checksum says whether it is the same
        fixed = [each for each in fixed if each[2] not in ("from_", "tokenizer")]
    fixed += [(before.model, after.model, field.name) for field in fields(after.model) if field.name not in CHANGEABLE]
    for old, new, name in fixed:
        if getattr(old, name) != getattr(new, name):
            raise RunError(
                f"{run} was begun with {flag(name)} {getattr(old, name)}, which cannot become "
                f"{getattr(new, name)}; leave that option out, or start a new run"
            )
