"""--dry-run: what it has read and what not, the size of the model, memory and time, and what to do if it is short."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from llm.model import cost
from llm.model.cost import training_flops
from llm.parallel import runtime
from llm.runs.presets import presets
from llm.training import dry_run, memory
from llm.training.command import parse, start
from llm.training.dry_run import duration, matmul_rate
from minigrad.profiler.table import size
from tests.llm.trainings import arguments, train, write_sample
from tokenizer import Tokenizer

GIB = 1 << 30


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cores of 1 TFLOP/s each, 16 GiB of memory, half of it free. Nothing else is running."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINIGRAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(dry_run, "matmul_rate", lambda device: 1e12)
    monkeypatch.setattr(dry_run, "idle_share", lambda: 1.0)
    monkeypatch.setattr(dry_run, "available_cores", lambda: 2)
    monkeypatch.setattr(runtime, "memory", lambda: (16 * GIB, 8 * GIB))


def shown(capsys: pytest.CaptureFixture, *options: str) -> str:
    capsys.readouterr()
    assert start(*parse(["--dry-run", "--device", "cpu", *options]), write_sample) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", ["default", "gpt2-xl", "llama2-7b"])
def test_a_dry_run_allocates_nothing(name: str, capsys: pytest.CaptureFixture) -> None:
    tracemalloc.start()
    text = shown(capsys, "--preset", name, "--threads", "2", "--data", "-")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6
    for part in (
        "-; it was not read",
        "parameters",
        "FLOPs a token",
        "memory, training",
        "activations",
        "KV cache",
        "step ",
        "time ",
        "a step",
        "16 GiB of memory, 8 GiB of it free",
    ):
        assert part in text
    assert not Path("runs").exists()


def test_the_numbers_of_a_dry_run(capsys: pytest.CaptureFixture) -> None:
    """GPT-2: 124,439,808 parameters; half of the rate is what training reaches."""
    options = ["--preset", "gpt2", "--batch-size", "4", "--steps", "1000", "--data", "-"]
    flops = training_flops(presets()["gpt2"].model) * 4096
    for threads, cores in (("1", 1), ("2", 2), ("64", 2)):  # there are only two
        text = shown(capsys, *options, "--threads", threads)
        assert "124,439,808" in text
        assert "50,257 tokens, as --vocab-size says; a text with few different words may give fewer" in text
        seconds = flops / (cores * 0.5e12)
        prediction = f"about {duration(seconds)} a step, {duration(1000 * seconds)} for 1,000 steps"
        assert f"{prediction}, at 50% of the {cores},000 GFLOP/s of matrix products on {cores} core" in text
    recomputed = shown(capsys, *options, "--threads", "1", "--recompute")
    assert f"about {duration(flops / 0.5e12)} a step" not in recomputed


def test_memory_is_that_of_the_rows_at_once_and_of_the_workers(capsys: pytest.CaptureFixture) -> None:
    config, options = (
        presets()["gpt2"].model,
        ["--preset", "gpt2", "--batch-size", "8", "--threads", "4", "--data", "-"],
    )
    for micro_batches, rows, workers in ((1, 8, 4), (4, 2, 2), (8, 1, 1)):
        text = shown(capsys, *options, "--micro-batches", str(micro_batches))
        need = cost.training_memory(config, rows, workers=workers)
        assert size(need.total) in text
        assert f"batch {rows} x 1024 tokens" in text
        assert f"the run takes {size(need.total + memory.PROGRAM)}" in text


def test_processes_have_a_gradient_each(capsys: pytest.CaptureFixture) -> None:
    text = shown(capsys, "--preset", "nanogpt-char", "--data", "-", "--batch-size", "4", "--threads", "3")
    need = cost.training_memory(presets()["nanogpt-char"].model, 4, workers=3, processes=True)
    assert size(need.total) in text


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ("--preset gpt2 --batch-size 2", ""),
        ("--preset gpt2 --batch-size 48", "more than this machine has: it fits with --micro-batches"),
        ("--preset gpt2 --batch-size 16", "more than is free now: it fits with --micro-batches"),
        ("--preset gpt2 --context 6000 --batch-size 2", "it fits with --recompute, which changes no gradient"),
        ("--preset gpt2-xl", "weights, gradients and optimizer alone take 23.31 GiB, with any batch size; choose a"),
        ("--preset gpt2-medium --context 20000", "even with --micro-batches 16 --recompute it takes"),
    ],
)
def test_what_does_not_fit_is_told_with_what_to_do(options: str, advice: str, capsys: pytest.CaptureFixture) -> None:
    text = shown(capsys, "--threads", "2", "--data", "-", *options.split())
    assert advice in text
    assert ("more than" in text) == bool(advice)
    if "it fits with" in text:
        more = text.split("it fits with ")[1].split(", which")[0].split()
        assert "more than" not in shown(capsys, "--threads", "2", "--data", "-", *options.split(), *more)


def test_a_tokenizer_that_is_given_decides_the_vocabulary(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    Tokenizer.train(["the rain, the sea"], vocab_size=262).save(tmp_path / "own.json")
    text = shown(capsys, "--tokenizer", str(tmp_path / "own.json"))
    assert f"262 tokens, of {tmp_path / 'own.json'}" in text
    assert f"embedding  {262 * 128:>14,}".split()[1] in text
    assert "one token for each different character" in shown(capsys, "--tokenizer", "char", "--data", "-")


@pytest.mark.parametrize("kind", ["bpe", "char"])
@pytest.mark.parametrize("is_long", [False, True])
def test_the_vocabulary_of_a_short_text_is_that_of_the_run(
    kind: str, is_long: bool, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a longer one it is known after the first run."""
    if is_long:
        monkeypatch.setattr(dry_run, "SHORT_TEXT", {"bpe": 0, "char": 0})
    options = arguments(tmp_path / "run", "--tokenizer", kind, "--vocab-size", "5000", "--steps", "1")
    before = shown(capsys, *options)
    assert start(*parse(options), write_sample) == 0
    (after,) = (line for line in capsys.readouterr().out.splitlines() if " parameters, vocabulary " in line)
    size = after.split("vocabulary ")[1].split(",")[0]
    assert int(size) < 5000
    line = f"vocabulary {size} tokens, learned from the text"
    assert (line in before) is not is_long
    assert line in shown(capsys, *options[:2], "--out", str(tmp_path / "other"), *options[4:])


def test_a_vocabulary_that_is_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="--vocab-size 100 is too small"):
        start(*parse(["--dry-run", "--device", "cpu", "--vocab-size", "100"]), write_sample)


@pytest.mark.parametrize(
    "options",
    [
        ["--data", "missing.txt"],
        ["--data", "missing/"],
        ["--data", "*.missing"],
        ["--tokenizer", "missing.json"],
        ["--tokenizer", "broken.json"],
    ],
)
def test_what_the_run_could_not_read_is_refused(options: list[str], tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises((ValueError, OSError), match="missing|broken"):
        start(*parse(["--dry-run", "--device", "cpu", *options]), write_sample)


def test_standard_input_and_downloads_are_left_alone(capsys: pytest.CaptureFixture) -> None:
    for data in ("-", "shakespeare"):
        assert f"{data}; it was not read" in shown(capsys, "--data", data)


def test_a_run_that_is_resumed_has_its_vocabulary_and_fewer_steps(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    train(tmp_path / "run", "--steps", "3")
    text = shown(capsys, "--out", str(tmp_path / "run"), "--resume", "--steps", "10")
    assert f"tokens, of the tokenizer of {tmp_path / 'run'}" in text
    assert "for the last 7 of 10 steps" in text
    assert "for 10 steps" in shown(capsys, *arguments(tmp_path / "other", "--steps", "10"))


def test_a_run_with_more_steps_than_are_asked_for_has_none_left(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    options, _ = parse(["--steps", "3"])
    assert dry_run.describe_time(options, "cpu", 1, 5) == dry_run.describe_time(options, "cpu", 1, 3)


def test_a_busy_machine_is_named_and_does_not_change_the_rate(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    idle = shown(capsys, "--threads", "2")
    assert "other programs" not in idle
    monkeypatch.setattr(dry_run, "idle_share", lambda: 0.1)
    busy = shown(capsys, "--threads", "2")
    assert "longer, as long as other programs use the cores: 10% are idle now" in busy
    assert busy.startswith(idle.rstrip())


def test_the_rate_of_matrix_products_is_that_of_the_time_on_a_core(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1e8 < matmul_rate(size=128) < 1e14
    waited = [0.0]  # as if other programs had the core for a second in each look at the clock

    def waiting() -> float:
        waited[0] += 1.0
        return waited[0]

    monkeypatch.setattr(time, "perf_counter", waiting)
    assert matmul_rate(size=128) > 2 * 128**3


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.00123, "0.0012 seconds"),
        (0.154, "0.15 seconds"),
        (3.2, "3.2 seconds"),
        (59.6, "60 seconds"),
        (119, "119 seconds"),
        (600, "10 minutes"),
        (36000, "10 hours"),
        (1e6, "12 days"),
        (861355.7 * 3600, "98 years"),
        (1e13, "316,881 years"),
    ],
)
def test_durations_in_words(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@given(st.floats(1e-6, 1e12))
def test_durations_are_right_to_two_digits(seconds: float) -> None:
    number, unit = duration(seconds).split()
    scale = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400, "years": 365.25 * 86400}[unit]
    assert float(number.replace(",", "")) * scale == pytest.approx(seconds, rel=0.056)


@given(batch_size=st.integers(1, 64), micro_batches=st.integers(1, 64), limit=st.integers(1, 200))
@example(batch_size=12, micro_batches=1, limit=125)  # too little for the gradients of four processes
@example(batch_size=12, micro_batches=1, limit=135)
def test_the_advice_fits(batch_size: int, micro_batches: int, limit: int) -> None:
    """What is advised takes no more than the limit, and nothing is advised in vain."""
    options, _ = parse(["--batch-size", str(batch_size), "--micro-batches", str(min(micro_batches, batch_size))])
    assume(memory.needed(options, 4) > limit << 20)
    text = memory.advice(options, 4, limit << 20)
    if text.startswith("it fits with"):
        more = text.removeprefix("it fits with ").split(",")[0].split()
        now = ["--batch-size", str(batch_size), "--micro-batches", str(min(micro_batches, batch_size)), *more]
        assert memory.needed(parse(now)[0], 4) <= limit << 20
    else:
        every = [
            parse(["--batch-size", str(batch_size), "--micro-batches", str(batch_size), *more])[0]
            for more in ([], ["--recompute"])
        ]
        assert all(memory.needed(each, 4) > limit << 20 for each in every)


def test_a_split_over_ranks_is_described_without_them(capsys: pytest.CaptureFixture) -> None:
    split = ["--data-parallel", "2", "--tensor-parallel", "2", "--pipeline-parallel", "2", "--zero", "1"]
    text = shown(capsys, "--preset", "gpt2", "--batch-size", "9", "--micro-batches", "3", "--data", "-", *split)
    assert "2 data x 2 tensor x 2 pipeline, 3 micro-batches; pipeline ranks wait 25% of the time" in text
    assert "a rank of stage 1 takes" in text and "a rank of stage 2 takes" in text
    assert text.count("in a step: pipeline ") == 2
    assert "ranks  " not in shown(capsys, "--preset", "gpt2", "--data", "-")


def test_a_split_that_is_not_possible_is_refused(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(ValueError, match="12 query heads cannot be split over 5 ranks"):
        shown(capsys, "--preset", "gpt2", "--data", "-", "--tensor-parallel", "5")
    with pytest.raises(ValueError, match="12 layers cannot be divided among 13 stages"):
        shown(capsys, "--preset", "gpt2", "--data", "-", "--pipeline-parallel", "13")


def test_the_time_of_a_step_of_ranks_depends_on_cores_and_links(capsys: pytest.CaptureFixture) -> None:
    """Two data ranks with two rows each: half of the operations, and all gradients once around (2 P / 2 numbers)."""
    options = [
        "--preset",
        "gpt2",
        "--data",
        "-",
        "--batch-size",
        "4",
        "--data-parallel",
        "2",
        "--link-bandwidth",
        "2GB",
    ]
    compute = training_flops(presets()["gpt2"].model) * 2048 / 0.5e12
    messages = 124_439_808 * 4 / 2e9
    text = shown(capsys, *options)
    assert f"about {compute + messages:.2g} seconds if each rank has a core (compute {compute:.2g}, data" in text
    assert "with 500 GFLOP/s of a rank, and messages of 1.863 GiB per second" in text
    far = shown(capsys, *options, "--ranks-per-node", "1", "--network-bandwidth", "1GB")
    assert f"about {compute + 2 * messages:.2g} seconds" in far and "between nodes of 1 ranks" in far
    four = shown(capsys, *options, "--data-parallel", "4")
    assert f"4 ranks share 2 cores: {2 * (compute / 2 + 1.5 * messages):.2g} seconds" in four


def test_context_ranks_send_keys_and_values_around(capsys: pytest.CaptureFixture) -> None:
    """6 c - 4 = 8 arrays for each of 4 layers: 16 rows of 64 tokens, 4 heads of 32 numbers, 4 bytes each."""
    text = shown(capsys, "--preset", "tiny", "--data", "-", "--context-parallel", "2")
    ring = 4 * 8 * 4 * 16 * 64 * 128
    assert "ranks      1 data x 2 context, 1 micro-batches" in text
    assert f"ring {size(ring)}" in text
