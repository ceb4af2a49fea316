"""mpiexec -n 2 python train.py: the run of one process, by several ranks."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from llm.parallel.communicators.communicator import Communicator
from llm.parallel.communicators.threads import run_ranks
from llm.parallel.rank_checks import check
from llm.parallel.rank_job import RankJob
from llm.runs.parallel_options import ParallelOptions
from llm.runs.run import LAYERS, METRICS
from llm.training.command import parse, start
from llm.training.dry_run import describe_dry_run
from llm.tuning.tasks import find_task
from tests.llm.mpi_jobs import MARKS, ROOT, command, environment, mpiexec
from tests.llm.trainings import arguments, metrics, resume, train, weights, without_pictures, write_sample, write_task

pytestmark = MARKS
SCRIPT = str(ROOT / "train.py")
# float32: sums of some hundred terms in another order. After a few steps, AdamW has made differences larger where a
# gradient is nearly 0.
LOSS, NORM, ATOL = 1e-5, 2e-4, 1e-5
# After 60 steps the differences have grown. If nothing is interrupted, two ranks differ from one process by 5e-7 in the
# loss, 2e-4 in the norm of the gradient, and 1.6e-5 in the weights. A resumed run without the moments of AdamW would
# differ by about the learning rate, 4e-3, in many weights.
AFTER_60 = {"norm": 2e-3, "atol": 1e-4}
# fmt: off
MORE = ["--steps", "6", "--eval-every", "3", "--checkpoint-every", "2", "--sample-every", "0", "--dropout", "0.2",
        "--batch-size", "6"]
# fmt: on


def assert_close_runs(out: Path, expected: Path, *, norm: float = NORM, atol: float = ATOL) -> None:
    for found, wanted in zip(metrics(out), metrics(expected), strict=True):
        for name, rel in (("train_loss", LOSS), ("val_loss", LOSS), ("lr", LOSS), ("grad_norm", norm)):
            assert found[name] == (wanted[name] and pytest.approx(wanted[name], rel=rel))
    found, wanted = load_file(out / "model.safetensors"), load_file(expected / "model.safetensors")
    assert found.keys() == wanted.keys()
    for name in wanted:
        np.testing.assert_allclose(found[name], wanted[name], err_msg=name, rtol=2e-4, atol=atol)


SPLIT = ["--layers", "2", "--heads", "4", "--kv-heads", "2", "--positions", "rope"]
THREE = (8, "--tensor-parallel", "2", "--pipeline-parallel", "2", "--zero", "1")  # and 2 ranks of data
# fmt: off
SPLITS = [
    (2, "--zero", "3"),
    (4, "--tensor-parallel", "2", "--pipeline-parallel", "2", "--micro-batches", "2"),
    (4, "--tensor-parallel", "2", "--zero", "1", "--optimizer", "muon"),
    *(pytest.param(split, marks=pytest.mark.slow) for split in [
        (2, "--zero", "0"), (2, "--zero", "1"), (2, "--zero", "2"),
        (2, "--zero", "0", "--optimizer", "muon"), (2, "--zero", "2", "--optimizer", "muon"),
        (4, "--tensor-parallel", "2", "--zero", "1", "--optimizer", "schedule-free"),
        (4, "--pipeline-parallel", "2", "--optimizer", "schedule-free"),
        (2, "--zero", "3", "--optimizer", "schedule-free"),
        (3, "--zero", "3", "--optimizer", "muon"), (2, "--context-parallel", "2", "--optimizer", "muon"),
        (4, "--tensor-parallel", "2", "--pipeline-parallel", "2", "--optimizer", "muon", "--experts", "2"),
        (2, "--tensor-parallel", "2"), (4, "--tensor-parallel", "4"), (4, "--data-parallel", "2", "--zero", "3"),
        (2, "--pipeline-parallel", "2", "--no-tied-head"), (4, "--pipeline-parallel", "2", "--micro-batches", "3"),
        THREE, (4, "--tensor-parallel", "2", "--experts", "4", "--recompute"),
        (4, "--tensor-parallel", "2", "--sequence-parallel"), (2, "--context-parallel", "2"),
        (4, "--context-parallel", "2", "--zero", "3", "--micro-batches", "2"),
        (4, "--context-parallel", "2", "--zero", "2", "--recompute"),
        (2, "--zero", "3", "--ema-decay", "0.8"),
        (4, "--tensor-parallel", "2", "--zero", "1", "--ema-decay", "0.8", "--optimizer", "muon"),
        (4, "--pipeline-parallel", "2", "--zero", "2", "--micro-batches", "3"),
        (4, "--pipeline-parallel", "2", "--zero", "3", "--micro-batches", "3"),
        (4, "--tensor-parallel", "2", "--sequence-parallel", "--pipeline-parallel", "2", "--pipeline-schedule", "gpipe",
         "--micro-batches", "3"),
    ]),
]
# fmt: on
LONG = [*MORE, *SPLIT, "--steps", "60"]
KILLED: list[tuple[Any, ...]] = [
    (2,),
    (3, "--zero", "1"),
    (2, "--tensor-parallel", "2"),
    (2, "--pipeline-parallel", "2"),
    (4, "--data-parallel", "2", "--micro-batches", "2"),
    (4, "--pipeline-parallel", "2", "--zero", "1"),
]  # fmt: skip


@pytest.mark.parametrize("split", SPLITS, ids=lambda split: " ".join(map(str, split)))
def test_ranks_train_as_one_process_does_and_one_process_goes_on(
    split: tuple[Any, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranks, *options = split
    without_pictures(monkeypatch)
    more = [*MORE, *SPLIT, *of_model(options)]
    train(tmp_path / "expected", *more)
    result = mpiexec(ranks, SCRIPT, *arguments(tmp_path / "run", *more, *options))
    assert result.returncode == 0, result.stderr
    assert_close_runs(tmp_path / "run", tmp_path / "expected")
    assert result.stdout.count("done: 6 steps;") == result.stdout.count(f"on {ranks} ranks ") == 1
    files = {path.name for path in (tmp_path / "run").iterdir()}
    alone = {path.name for path in (tmp_path / "expected").iterdir()}
    assert files == (alone | {"loss.png"}) - {LAYERS}  # no rank has all layers
    for out in (tmp_path / "run", tmp_path / "expected"):
        resume(out, "--steps", "9")
    assert_close_runs(tmp_path / "run", tmp_path / "expected")


@pytest.mark.slow
@pytest.mark.parametrize(
    "split",
    [
        (2, "--zero", "1", "--lora-rank", "2"),
        (2, "--zero", "3", "--freeze", "embedding.*"),
        (2, "--tensor-parallel", "2", "--eval-task"),
        (4, "--tensor-parallel", "2", "--pipeline-parallel", "2", "--micro-batches", "2"),
    ],
    ids=lambda split: " ".join(map(str, split)),
)
def test_chat_and_tasks_with_a_model_that_was_trained_before(
    split: tuple[Any, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("jinja2")
    without_pictures(monkeypatch)
    base, data = tmp_path / "base", tmp_path / "chat.jsonl"
    train(base, *SPLIT, "--steps", "2", "--context", "48", "--tokenizer", "bpe", "--vocab-size", "300")
    rows = [{"prompt": f"a dog {i}", "completion": " sat on" * (i % 3 + 1)} for i in range(24)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    ranks, *options = split
    # fmt: off
    more = ["--from", str(base), "--objective", "chat", "--data", str(data), "--steps", "4", "--batch-size", "4",
            "--eval-every", "2", "--eval-batches", "2", "--lr", "0.01", "--device", "cpu", "--threads", "1"]
    # fmt: on
    if {"--lora-rank", "--freeze"} & {*options}:
        more, options = [*more, *options[2:]], options[:2]
    if options[-1] == "--eval-task":
        options.pop()
        more += ["--eval-task", f"choice={write_task(tmp_path / 'task.jsonl')}"]
    start(*parse([*more, "--out", str(tmp_path / "expected")]), write_sample, find_task)
    result = mpiexec(ranks, SCRIPT, *more, "--out", str(tmp_path / "run"), *options)
    assert result.returncode == 0, result.stderr
    assert_close_runs(tmp_path / "run", tmp_path / "expected")
    assert ("--eval-task" in more) == ("task_choice" in metrics(tmp_path / "run")[-1])
    for found, wanted in zip(metrics(tmp_path / "run"), metrics(tmp_path / "expected"), strict=True):
        assert {name: value for name, value in found.items() if name.startswith("task")} == {
            name: value for name, value in wanted.items() if name.startswith("task")
        }


def of_model(options: list[str]) -> list[str]:
    """Those of the options that one process needs too."""
    names = [name for name in ("--experts", "--optimizer", "--ema-decay", "--no-tied-head") if name in options]
    return [word for name in names for word in options[options.index(name) :][: 1 if name == "--no-tied-head" else 2]]


def test_what_does_not_fit_is_refused_in_one_sentence_by_one_rank(tmp_path: Path) -> None:
    result = mpiexec(2, SCRIPT, *arguments(tmp_path / "run", "--data-parallel", "3"))
    assert result.returncode == 1
    assert re.fullmatch("train.py: 2 ranks cannot be split into 3 .data. x .*\n", result.stderr)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("ranks", "more", "message"),
    [
        (3, "--tensor-parallel 3", "2 query heads cannot be split over 3 ranks; use a number that divides them"),
        (2, "--pipeline-parallel 2", "1 layers cannot be divided among 2 stages; each stage needs at least one layer"),
        (2, "--pipeline-parallel 2 --layers 2 --eval-task x.jsonl", "--eval-task does not go with --pipeline-parallel"),
        (2, "--data-parallel 1 --batch-size 1 --data -", "--data - does not go with several ranks"),
        (8, "--batch-size 5", "--batch-size 5 is less than the 8 ranks that divide a batch"),
        (6, "--data-parallel 2 --heads 4", "4 query heads cannot be split over 3 ranks"),
        (3, "--context-parallel 2", "3 ranks cannot be divided among --context-parallel 2; use a multiple of it"),
        (2, "--context-parallel 2 --context 1", "texts of --context 1 tokens cannot be divided over 2 ranks"),
        (4, "--context-parallel 2 --tensor-parallel 2", "--context-parallel does not go with a model that is split"),
        (2, "--sequence-parallel", "--sequence-parallel needs --tensor-parallel: its ranks divide the tokens"),
        (2, "--sequence-parallel --tensor-parallel 2 --experts 2", "--sequence-parallel does not go with --experts"),
        (4, "--optimizer muon --tensor-parallel 2 --mlp-dim 9 --zero 1", "whose width 9 is a multiple of the 2 tensor"),
    ],
)  # fmt: skip
def test_options_that_do_not_go_with_the_ranks(ranks: int, more: str, message: str, tmp_path: Path) -> None:
    options, _ = parse(arguments(tmp_path / "run", *more.split()))
    with pytest.raises(ValueError, match=message):
        check(options, ranks)


def test_a_dry_run_knows_the_number_of_ranks(tmp_path: Path) -> None:
    options, run = parse(arguments(tmp_path / "run", *SPLIT, "--pipeline-parallel", "2", "--dry-run"))
    lines: list[str] = []

    def rehearse(world: Communicator) -> None:
        completed = RankJob(world).complete(options)
        if world.rank == 0:
            lines.append(describe_dry_run(completed, run))

    run_ranks(4, rehearse)
    assert "ranks      2 data x 1 tensor x 2 pipeline, 1 micro-batches; pipeline ranks wait 50%" in lines[0]


@pytest.mark.parametrize(
    ("training", "tuning", "message"),
    [
        ({"objective": "reward"}, {}, "--objective reward does not go with --tensor-parallel, which is possible with"),
        ({}, {"lora_rank": 2}, "adapters do not go with --tensor-parallel; use --data-parallel"),
        ({}, {"freeze": ("norm",)}, "--freeze does not go with --tensor-parallel; use --data-parallel"),
    ],
)  # fmt: skip
def test_what_only_a_whole_model_can_learn(
    training: dict[str, Any], tuning: dict[str, Any], message: str, tmp_path: Path
) -> None:
    options, _ = parse(arguments(tmp_path / "run", "--tensor-parallel", "2"))
    options = replace(options, training=replace(options.training, **training), tuning=replace(options.tuning, **tuning))
    with pytest.raises(ValueError, match=message):
        check(options, 2)
    check(replace(options, parallel=ParallelOptions()), 2)


@pytest.mark.slow
@pytest.mark.parametrize("split", [(3,), (4, "--tensor-parallel", "2", "--zero", "2"), THREE], ids=str)
def test_the_same_split_gives_the_same_bits(split: tuple[Any, ...], tmp_path: Path) -> None:
    ranks, *options = split
    for name in "ab":
        assert mpiexec(ranks, SCRIPT, *arguments(tmp_path / name, *MORE, *SPLIT, *options)).returncode == 0
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    assert metrics(tmp_path / "a") == metrics(tmp_path / "b")


@pytest.mark.slow
def test_kill_9_of_any_rank_at_any_instant_and_resumed_with_another_split(tmp_path: Path) -> None:
    drawn = random.Random(7)
    train(tmp_path / "expected", *LONG)
    for number in range(10):
        out, (split, other) = tmp_path / f"run-{number}", drawn.sample(KILLED, 2)
        kill_and_resume(out, split, other, drawn)
        assert_close_runs(out, tmp_path / "expected", **AFTER_60)


@pytest.mark.slow
def test_kill_9_of_any_rank_at_any_instant_and_resumed_with_the_same_split_gives_the_same_bits(tmp_path: Path) -> None:
    drawn, (ranks, *options) = random.Random(8), KILLED[-1]
    assert mpiexec(ranks, SCRIPT, *arguments(tmp_path / "expected", *LONG, *options)).returncode == 0
    for number in range(3):
        kill_and_resume(tmp_path / f"run-{number}", KILLED[-1], KILLED[-1], drawn)
        assert weights(tmp_path / f"run-{number}") == weights(tmp_path / "expected")
        assert metrics(tmp_path / f"run-{number}") == metrics(tmp_path / "expected")


def kill_and_resume(out: Path, split: tuple[Any, ...], other: tuple[Any, ...], drawn: random.Random) -> None:
    """Begin a run with one split, kill one of its ranks, and finish it with another split."""
    (ranks, *options), (others, *other_options) = split, other
    words = command(ranks, SCRIPT, *arguments(out, *LONG, *options))
    pipe = subprocess.PIPE
    job = subprocess.Popen(words, env=environment(), cwd=ROOT, stdout=pipe, stderr=pipe, text=True)
    wait_for_step(out, drawn.randrange(60), job)
    time.sleep(drawn.uniform(0, 0.05))  # somewhere within the step, or while a checkpoint is written
    if processes := children(job.pid):
        os.kill(drawn.choice(processes), signal.SIGKILL)
    output, errors = job.communicate(timeout=60)
    # A rank that is killed when its work is done has nothing to say any more.
    assert not processes or "done: 60 steps" in output or "was killed or has crashed" in errors, errors
    resumes = ["--resume"] if out.exists() else []
    result = mpiexec(others, SCRIPT, *arguments(out, *LONG, *other_options), *resumes)
    assert "done: 60 steps;" in result.stdout, result.stderr


def wait_for_step(out: Path, step: int, job: subprocess.Popen[str]) -> None:
    """Until the run has done so many steps, however fast this machine is."""
    written = out / METRICS
    while job.poll() is None and (len(written.read_bytes().splitlines()) if written.exists() else 0) < step:
        time.sleep(0.01)


def children(pid: int) -> list[int]:
    """The ranks of a job: the processes below mpiexec that run train.py."""
    text = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in text.splitlines()[1:]]
    launchers = {child for child, parent, words in rows if parent == str(pid)}  # one for each machine
    return [int(child) for child, parent, words in rows if parent in launchers and "train.py" in words]
