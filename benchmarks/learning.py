"""How soon a model has learned, beside PyTorch (eager): python -m benchmarks.learning --help.

A preset of train.py, with its text, batches, schedule and clipping, until the validation loss is down to a target. Ours
is what train.py runs; PyTorch has the same weights, batches and rates (lesson.py). Both learn a stretch of steps in
turns, and are tested after it on the validation batches of train.py. Of both only updates are timed, and not the first
five, in which libraries make themselves ready.
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
from benchmarks.contestant import Contestant
from benchmarks.lesson import Lesson
from benchmarks.turns import PAUSE, Rounds, Spread, check_equal, contestants, progress, ratios
from llm.runs.options import Options as Run
from llm.runs.options import presets

FUNCTIONS = {"ours": "ours:learn", "torch": "pytorch:learn"}
SAME_STEPS, TOLERANCE = 5, 1e-4  # later losses may part: what rounding does grows in a thousand updates


@dataclass(frozen=True)
class Options(machine.Settings):
    """Compare how soon a preset of train.py reaches a validation loss with the same model in PyTorch, in turns, on the
    same batches.
    """

    preset: str = "shakespeare-char"
    """Which one; train.py --help has the names."""
    target: float = 1.88
    """Validation loss to reach; nanogpt-char ends at 1.89."""
    data: str | None = None
    """Text instead of the preset's, as for train.py."""
    steps: int | None = None
    """Steps instead of the preset's; the learning rate takes as long to come down."""
    every: int = 50
    """Steps of a turn, after which the models are tested."""
    eval_batches: int | None = None
    """Validation batches instead of the preset's; 1000000 for all of the validation text."""
    seed: int = 1337
    """Decides weights and order of the batches; each round takes the next one."""
    rounds: int = 2
    """How often everybody learns from the beginning."""
    seconds: tyro.conf.Suppress[float] = 0.0  # a turn lasts --every steps

    def run(self, number: int) -> Run:
        """The options of train.py. Raises ValueError for a preset that is none, and numbers that make no sense."""
        known = presets()
        if self.preset not in known:
            raise ValueError(f"--preset does not know {self.preset}; choose from {', '.join(known)}")
        wishes: dict[str, Any] = {"data": self.data, "steps": self.steps, "eval_batches": self.eval_batches}
        given = {name: value for name, value in wishes.items() if value is not None}
        training = replace(
            known[self.preset].training,
            threads=self.threads,
            eval_every=self.every,
            seed=self.seed + number,
            device="cpu",
            **given,
        )
        return replace(known[self.preset], training=training)


def main(arguments: list[str] | None = None) -> None:
    options = tyro.cli(Options, args=arguments, prog="benchmarks.learning")
    result = compare(options)
    print(json.dumps(result) if options.json else table(result), flush=True)


def compare(options: Options) -> dict[str, Any]:
    """Measure; what `table` shows, as plain values. Raises Void when the losses differ in the first steps."""
    threads = options.begin()
    settings = machine.environment(options.blas, threads)
    curves: list[dict[str, Curve]] = []
    for number in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            run = options.run(number)
            lesson = Lesson.write(Path(folder), run, threads, stops(run.training.steps, options.every))
            with contestants(FUNCTIONS, lesson.folder, settings) as (everybody, skipped):
                curves.append(learn(everybody, lesson.stops, options.target, f"round {number + 1} of {options.rounds}"))
                libraries = [each.libraries for each in everybody]
    seconds: Rounds = {who: [round[who].seconds for round in curves] for who in curves[0]}
    a_step: Rounds = {who: [round[who].seconds_a_step for round in curves] for who in curves[0]}
    return {
        "preset": options.preset,
        "target": options.target,
        "seeds": [options.seed + number for number in range(options.rounds)],
        "share": {who: vars(spread) for who, spread in shares(seconds).items()},
        "share_of_a_step": {who: vars(spread) for who, spread in shares(a_step).items()},
        "seconds": seconds,
        "seconds_a_step": a_step,
        "reached": {who: [round[who].losses[-1] <= options.target for round in curves] for who in curves[0]},
        "curves": [{who: vars(curve) for who, curve in round.items()} for round in curves],
        "skipped": skipped,
        "model": describe(run),
        "blas": options.blas,
        "machine": machine.describe(libraries, settings, threads),
    }


def describe(run: Run) -> str:
    """What is trained, and how."""
    model, training = run.model, run.training
    return (
        f"{model.layers} layers, {model.heads} heads, C={model.dim}, T={model.context}, B={training.batch_size}, "
        f"{model.positions} "
        f"positions, {model.norm}, {model.mlp}; {training.steps:,} steps, learning rate {training.lr:g}, "
        f"{training.schedule}"
    )


@dataclass
class Curve:
    """How it went for one of them: steps done, validation loss then, and seconds in updates until then."""

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
    """The steps after which a loss is asked for: each of the first, in which both must agree, then those at the end of
    a stretch.
    """
    return sorted({*range(1, min(steps, SAME_STEPS) + 1), *range(every, steps, every), steps})


def learn(everybody: Sequence[Contestant], stops: Sequence[int], target: float, title: str) -> dict[str, Curve]:
    """Everybody learns, in turns, until the target is reached or the steps are over."""
    curves = {each.name: Curve([], [], []) for each in everybody}
    for number, stop in enumerate(stops):
        for each in everybody:
            curve = curves[each.name]
            if not curve.losses or curve.losses[-1] > target:
                progress(f"{title}, step {stop}: {each.name}")
                time.sleep(PAUSE)
                (result,) = each.turn(1)
                curve.add(stop, result["loss"], result["seconds"])
        if number < SAME_STEPS:
            check_equal({who: curve.losses for who, curve in curves.items()}, "validation loss", TOLERANCE)
    progress("")
    return curves


def shares(rounds: Rounds) -> dict[str, Spread]:
    """What part of the others' time ours is, round by round."""
    return {
        who: Spread(1 / spread.median, 1 / spread.most, 1 / spread.least)
        for who, spread in ratios(rounds, "ours").items()
    }


def table(result: dict[str, Any]) -> str:
    """What was measured, for people."""
    lines = [
        *result["machine"],
        "",
        f"{result['preset']}: {result['model']}, until the validation loss is {result['target']}",
        "",
        "seed   who        loss    steps   seconds   ms a step   ours of it, time   of a step",
    ]
    for number, (seed, curves) in enumerate(zip(result["seeds"], result["curves"])):
        ours = {name: result[name]["ours"][number] for name in ("seconds", "seconds_a_step")}
        for who, curve in curves.items():
            seconds, a_step = (result[name][who][number] for name in ours)
            line = f"{seed:<6} {who:<8} {curve['losses'][-1]:6.4f} {curve['steps'][-1]:8,} {seconds:9.1f} {1e3 * a_step:11.1f}"
            lines.append(
                line
                if who == "ours"
                else line + f" {ours['seconds'] / seconds:18.2f} {ours['seconds_a_step'] / a_step:11.2f}"
            )
    lines += ["", *curve_lines(result["curves"][-1])]
    lines += [
        f"{who} was not there in the last step of round {number + 1}"
        for who, reached in result["reached"].items()
        for number, each in enumerate(reached)
        if not each
    ]
    return "\n".join([*lines, *(f"{who} did not take part: {reason}" for who, reason in result["skipped"].items()), ""])


def curve_lines(curves: dict[str, dict[str, list]]) -> list[str]:
    """Validation losses and seconds side by side, at ten of the steps."""
    steps = max((curve["steps"] for curve in curves.values()), key=len)
    lines = ["step   " + "".join(f"{who:>12} loss   seconds" for who in curves)]
    for row in range(len(steps) - 1, SAME_STEPS - 1, -max(1, len(steps) // 10)):
        lines.append(
            f"{steps[row]:<7,}"
            + "".join(
                f"{curve['losses'][row]:17.4f} {curve['times'][row]:9.1f}" if row < len(curve["steps"]) else " " * 27
                for curve in curves.values()
            )
        )
    return [lines[0], *lines[:0:-1]]


if __name__ == "__main__":
    machine.run(main, "benchmarks.learning")
