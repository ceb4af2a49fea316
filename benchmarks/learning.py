"""How long a model takes to reach a validation loss, beside PyTorch (eager).

    python -m benchmarks.learning --help

The run is a preset of train.py, with its text, batches, schedule and clipping. Ours is what train.py runs; PyTorch gets
the same weights, batches and learning rates (learning_plan.py), and both use AdamW, also where the preset has Muon, of
which PyTorch has another form. In turns, both learn for some steps and are then tested
on the validation batches of train.py. Only updates are timed, without the first five, in which libraries warm up.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro

from benchmarks import machine
from benchmarks.comparison import PAUSE, Rounds, Spread, check_equal, progress, ratios, start_competitors
from benchmarks.competitor import Competitor
from benchmarks.learning_plan import LearningPlan
from llm.runs.options import Options as Run
from llm.runs.presets import presets

FUNCTIONS = {"ours": "ours:learn", "torch": "pytorch:learn"}
SAME_STEPS, TOLERANCE = 5, 1e-4  # in later steps, differences of rounding have grown


@dataclass(frozen=True)
class Options(machine.Settings):
    """Compare the time in which a preset of train.py reaches a validation loss with that of the same model in PyTorch.

    Both take turns and learn from the same batches.
    """

    preset: str = "shakespeare-char"
    """The preset; train.py --help has the names."""
    target: float = 1.88
    """Validation loss to reach; nanogpt-char ends at 1.89."""
    data: str | None = None
    """Another text than that of the preset, as for train.py."""
    steps: int | None = None
    """Another number of steps than that of the preset; the schedule of the learning rate has the same length."""
    every: int = 50
    """Steps in a turn, after which the models are tested."""
    eval_batches: int | None = None
    """Another number of validation batches than that of the preset; 1000000 for the whole validation text."""
    seed: int = 1337
    """Seed of the weights and of the order of the batches; each round takes the next number."""
    rounds: int = 2
    """How many times both learn from the beginning."""
    seconds: tyro.conf.Suppress[float] = 0.0  # a turn lasts --every steps

    def run(self, number: int) -> Run:
        """The options of train.py in round `number`. Raises ValueError for an unknown preset and senseless numbers."""
        known = presets()
        if self.preset not in known:
            raise ValueError(f"--preset does not know {self.preset}; choose from {', '.join(known)}")
        changes: dict[str, Any] = {"data": self.data, "steps": self.steps, "eval_batches": self.eval_batches}
        changes = {name: value for name, value in changes.items() if value is not None}
        changes |= {"threads": self.threads, "eval_every": self.every, "seed": self.seed + number, "device": "cpu"}
        changes["optimizer"] = "adamw"
        preset = known[self.preset]
        return replace(preset, training=replace(preset.training, **changes))


def main(arguments: list[str] | None = None) -> None:
    options = tyro.cli(Options, args=arguments, prog="benchmarks.learning")
    result = compare(options)
    print(json.dumps(result) if options.json else table(result), flush=True)


def compare(options: Options) -> dict[str, Any]:
    """Measure; returns what `table` shows. Raises Mismatch if the losses of the first steps differ."""
    threads = options.begin()
    settings = machine.environment(options.blas, threads)
    curves: list[dict[str, Curve]] = []
    for number in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            run = options.run(number)
            plan = LearningPlan.write(Path(folder), run, threads, stops(run.training.steps, options.every))
            with start_competitors(FUNCTIONS, plan.folder, settings) as (competitors, skipped):
                curves.append(learn(competitors, plan.stops, options.target, f"round {number + 1} of {options.rounds}"))
                libraries = [each.libraries for each in competitors]
    names = list(curves[0])
    seconds: Rounds = {name: [round[name].seconds for round in curves] for name in names}
    a_step: Rounds = {name: [round[name].seconds_a_step for round in curves] for name in names}
    return {
        "preset": options.preset,
        "target": options.target,
        "seeds": [options.seed + number for number in range(options.rounds)],
        "share": {library: vars(spread) for library, spread in shares(seconds).items()},
        "share_of_a_step": {library: vars(spread) for library, spread in shares(a_step).items()},
        "seconds": seconds,
        "seconds_a_step": a_step,
        "reached": {name: [round[name].losses[-1] <= options.target for round in curves] for name in names},
        "curves": [{library: vars(curve) for library, curve in round.items()} for round in curves],
        "skipped": skipped,
        "model": describe(run),
        "blas": options.blas,
        "machine": machine.describe(libraries, settings, threads),
    }


def describe(run: Run) -> str:
    """The model and its training in a line."""
    model, training = run.model, run.training
    return (
        f"{model.layers} layers, {model.heads} heads, C={model.dim}, T={model.context}, B={training.batch_size}, "
        f"{model.positions} positions, {model.norm}, {model.mlp}; "
        f"{training.steps:,} steps, learning rate {training.lr:g}, {training.schedule}"
    )


@dataclass
class Curve:
    """At each stop of one library: the steps done, the validation loss, and the seconds spent in updates."""

    steps: list[int]
    losses: list[float]
    times: list[float]

    @property
    def seconds(self) -> float:
        return self.times[-1]

    @property
    def seconds_a_step(self) -> float:
        return self.seconds / max(1, self.steps[-1] - SAME_STEPS)

    def add(self, step: int, loss: float, seconds: float) -> None:
        self.steps.append(step)
        self.losses.append(loss)
        self.times.append(self.seconds + seconds if step > SAME_STEPS else 0.0)


def stops(steps: int, every: int) -> list[int]:
    """The steps after which the models are tested: each of the first ones, then the last of every turn."""
    return sorted({*range(1, min(steps, SAME_STEPS) + 1), *range(every, steps, every), steps})


def learn(competitors: Sequence[Competitor], stops: Sequence[int], target: float, title: str) -> dict[str, Curve]:
    """The competitors learn in turns, each until it has reached the target or has done all steps."""
    curves = {each.name: Curve([], [], []) for each in competitors}
    for number, stop in enumerate(stops):
        for each in competitors:
            curve = curves[each.name]
            if not curve.losses or curve.losses[-1] > target:
                progress(f"{title}, step {stop}: {each.name}")
                time.sleep(PAUSE)
                (result,) = each.measure(1)
                curve.add(stop, result["loss"], result["seconds"])
        if number < SAME_STEPS:
            check_equal({library: curve.losses for library, curve in curves.items()}, "validation loss", TOLERANCE)
    progress("")
    return curves


def shares(rounds: Rounds) -> dict[str, Spread]:
    """Our time divided by that of the others, round by round."""
    return {
        library: Spread(1 / spread.median, 1 / spread.most, 1 / spread.least)
        for library, spread in ratios(rounds, "ours").items()
    }


def table(result: dict[str, Any]) -> str:
    """The results as text."""
    unreached = [
        f"{library} had not reached the target in the last step of round {number + 1}"
        for library, rounds in result["reached"].items()
        for number, reached in enumerate(rounds)
        if not reached
    ]
    lines = [
        *result["machine"],
        "",
        f"{result['preset']}: {result['model']}, until the validation loss is {result['target']}",
        "",
        "seed   library    loss    steps   seconds   ms a step   ours of it, time   of a step",
        *(_row(result, number, library) for number, curves in enumerate(result["curves"]) for library in curves),
        "",
        *curve_lines(result["curves"][-1]),
        *unreached,
        *(f"{library} did not take part: {reason}" for library, reason in result["skipped"].items()),
    ]
    return "\n".join([*lines, ""])


def _row(result: dict[str, Any], number: int, library: str) -> str:
    """One library in one round."""
    curve = result["curves"][number][library]
    seconds, a_step = (result[name][library][number] for name in ("seconds", "seconds_a_step"))
    row = f"{result['seeds'][number]:<6} {library:<8} {curve['losses'][-1]:6.4f} {curve['steps'][-1]:8,}"
    row += f" {seconds:9.1f} {1e3 * a_step:11.1f}"
    if library != "ours":
        ours, ours_a_step = (result[name]["ours"][number] for name in ("seconds", "seconds_a_step"))
        row += f" {ours / seconds:18.2f} {ours_a_step / a_step:11.2f}"
    return row


def curve_lines(curves: dict[str, dict[str, list]]) -> list[str]:
    """Validation losses and seconds side by side, for about ten of the stops."""
    steps = max((curve["steps"] for curve in curves.values()), key=len)
    every = max(1, len(steps) // 10)
    shown = sorted(range(len(steps) - 1, SAME_STEPS - 1, -every))  # the last one, and back from there

    def cells(curve: dict[str, list], i: int) -> str:
        return f"{curve['losses'][i]:17.4f} {curve['times'][i]:9.1f}" if i < len(curve["steps"]) else " " * 27

    head = "step   " + "".join(f"{library:>12} loss   seconds" for library in curves)
    return [head, *(f"{steps[i]:<7,}" + "".join(cells(curve, i) for curve in curves.values()) for i in shown)]


if __name__ == "__main__":
    machine.run(main, "benchmarks.learning")
