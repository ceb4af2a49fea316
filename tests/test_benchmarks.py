"""The benchmark programs run, refuse unknown options, and compare only libraries that compute the same."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import gpu, learning, machine, overhead, parts, scaling, scaling_model, train
from benchmarks.comparison import Mismatch, Spread, check_same, ratios, start_competitors
from benchmarks.learning_plan import LearningPlan
from benchmarks.peers import functional, small
from benchmarks.peers.limits import SIDE
from benchmarks.peers.parts import linear_shapes
from benchmarks.task import DECODING, LLAMA, TRAINING, Task
from llm.model.gpt import GPT
from llm.runs.presets import presets
from llm.runs.run import Run
from llm.training.setup import set_up
from minigrad.backend import pick_device
from tests.llm.runs import make_run
from tokenizer import END_OF_TEXT, Tokenizer

ROOT = Path(__file__).parents[1]
WITHOUT_TORCH = "needs torch"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    "program",
    [
        "train",
        "scaling",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("decode", "overhead", "learning", "lm_eval")),
    ],
)
def test_help(program: str) -> None:
    assert "--blas" in run(f"benchmarks.{program}", "--help").stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--config", "d"), "--config does not know d; choose from a, b"),
        pytest.param(
            ("--vs", "torch,fortran"), "--vs does not know fortran; choose from torch", marks=pytest.mark.slow
        ),
        pytest.param(("--rounds", "0"), "--rounds must be at least 1, got 0", marks=pytest.mark.slow),
        (("--preset", "hamlet"), "--preset does not know hamlet; choose from default"),
        (("--batch-size", "12"), "--batch-size must be a multiple of 8, got 12"),
    ],
)
def test_unknown_choices_are_refused_in_a_sentence(arguments: tuple[str, ...], complaint: str) -> None:
    program = {"--preset": "learning", "--batch-size": "ranks"}.get(arguments[0], "train")
    result = run(f"benchmarks.{program}", *arguments)
    assert result.returncode == 1 and complaint in result.stderr and "Traceback" not in result.stderr


@pytest.mark.slow
@pytest.mark.parity
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_a_small_comparison_from_end_to_end(device: str) -> None:
    torch = pytest.importorskip("torch", reason=WITHOUT_TORCH)
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a PyTorch that has a GPU")
    result = run(
        "benchmarks.train",
        "--config",
        "smallest",
        "--vs",
        "torch",
        "--device",
        device,
        "--rounds",
        "2",
        "--seconds",
        "0.01",
        "--json",
    )
    assert result.returncode == 0, result.stderr
    measured = json.loads(result.stdout)
    assert measured["config"] == "smallest" and measured["ratio"].keys() == {"torch"}
    assert all(len(losses) == train.SAME_STEPS for losses in measured["losses"].values())
    assert measured["losses"]["ours"][-1] < measured["losses"]["ours"][0], "the comparison is of models that learn"
    assert (
        min(measured["peak_bytes"].values()) > (1e7 if device == "cpu" else 0)
        and min(measured["utilisation"].values()) > 0
    )
    assert "smallest: 2 layers" in train.table(measured)


@pytest.mark.slow
def test_scaling_from_end_to_end() -> None:
    result = run(
        "benchmarks.scaling", "--config", "smallest", "--threads", "1", "--rounds", "1", "--seconds", "0.01", "--json"
    )
    assert result.returncode == 0, result.stderr
    measured = json.loads(result.stdout)
    one, *more = measured["model"]
    assert one["seconds"] == pytest.approx(measured["seconds"]["1"]["median"]), "on one core, the model is exact"
    assert [(each["cores"], each["batch"]) for each in more] == [(8, 4), (8, 8), (64, 4), (64, 64)]
    assert all(sum(each["terms"].values()) == pytest.approx(each["seconds"]) for each in more)
    assert measured["speedup"] == {"1": 1.0}
    assert 0 <= measured["quantities"]["python"] <= measured["quantities"]["python_in_turns"]
    assert "batch 4: no faster beyond" in scaling.table(measured)


@pytest.mark.slow
def test_the_parts_of_a_step_from_end_to_end() -> None:
    result = run("benchmarks.parts", "--config", "smallest", "--rounds", "1", "--seconds", "0.01", "--json")
    assert result.returncode == 0, result.stderr
    measured = json.loads(result.stdout)
    assert all(measured["milliseconds"][part] > 0 for part in ("arithmetic", "norms, rotation", "clipping, AdamW"))
    assert "| the step |" in parts.table([measured])[-1]


@pytest.mark.parametrize("name", ["a", "llama-b"])
def test_the_parts_add_up_to_the_step(name: str) -> None:
    config, batch = TRAINING[name]
    tokens, rate = batch * config.context, 1e9
    of_maps = 6 * tokens * sum(out * width for out, width in linear_shapes(config)) / rate
    of_attention = 12 * tokens * config.layers * config.heads * config.head_size * config.context / rate
    seconds = {"ceiling": 2 * SIDE["cpu"] ** 3 / rate, "step": 900.0, "products": of_maps + 1}
    groups = {"maps": of_maps + 3, "attention": of_attention + 4, "norms": 5.0, "update": 6.0}
    found = parts.split(config, batch, seconds, groups)
    assert sum(found.values()) == pytest.approx(seconds["step"])
    # The arithmetic of a whole step also has vectors, which are not in a linear map: 1% at most.
    assert found.pop("arithmetic") == pytest.approx(of_maps + of_attention, rel=0.01)
    assert found["shapes of the maps"] == pytest.approx(1) and found["beside the products"] == pytest.approx(2)
    assert found["attention"] == pytest.approx(4, abs=0.01 * of_maps)


IDEAL = scaling_model.Model(
    batch=64, step=1.0, python=0.0, python_in_turns=0.0, update=0.0, count=0, largest=0, core=1e10, memory=1e11
)


def test_arithmetic_is_divided_by_rows_and_updates_until_memory_is_the_limit() -> None:
    for cores in (1, 2, 8, 64):
        assert IDEAL.seconds(cores) == pytest.approx(1 / cores)
        update = replace(IDEAL, update=0.5, count=1 << 30).terms(cores)["update"] + 0.5 / cores
        assert update == pytest.approx(max(0.5 / cores, 32 * 2**30 / 1e11)), "until the memory is the limit"
    assert IDEAL.seconds(40) == pytest.approx(2 / 64), "a row cannot be divided"
    eight_rows = IDEAL.of_batch(8)
    assert eight_rows.seconds(64) == pytest.approx(1 / 64) and eight_rows.terms(64)["rows"] > 0, (
        "no more than a row each"
    )
    for n in (4, 8, 12):
        assert scaling_model.fastest(replace(IDEAL.of_batch(n), python=0.01, python_in_turns=0.01))["cores"] <= n
    assert scaling_model.fastest(eight_rows)["cores"] == 8 and scaling_model.fastest(IDEAL)["cores"] == 64


def test_python_under_the_lock_is_not_divided() -> None:
    python = replace(IDEAL, python=1.0, python_in_turns=1.0)
    assert [python.seconds(cores) for cores in (1, 2, 8)] == pytest.approx([1, 2, 8]), (
        "each worker executes all of the Python"
    )
    assert scaling_model.fastest(python)["cores"] == 1 and scaling_model.fastest(python)["stopped_by"] == "lock"


def test_processes_do_not_wait_for_each_other() -> None:
    processes = replace(IDEAL, python=1.0, python_in_turns=1.0, step=2.0, threads=False)
    assert [processes.terms(cores)["lock"] for cores in (1, 2, 8)] == pytest.approx([0, 1 / 2, 7 / 8])


def test_gradients_of_the_largest_parameter_are_added_one_by_one() -> None:
    even, one = (replace(IDEAL, count=1 << 20, largest=n) for n in (1, 1 << 20))
    assert even.terms(1)["sums"] == one.terms(1)["sums"] == 0
    assert even.terms(8)["sums"] == pytest.approx(12 * 2**20 * 7 / 8 / 1e10), "eight workers, at different parameters"
    assert one.terms(8)["sums"] == pytest.approx(12 * 2**20 * 7 / 1e10)
    assert even.terms(64)["sums"] == pytest.approx(12 * 2**20 * 63 / 1e11), "together, no faster than memory"


@given(workers=st.integers(1, 64), held=st.floats(1e-3, 1), free=st.floats(1e-3, 1))
def test_waiting_for_the_lock(workers: int, held: float, free: float) -> None:
    """The bounds of any such queue: one worker at a time has the lock, and none waits longer than for all others."""
    seconds = scaling_model.with_lock(workers, held, free)
    slack = 1 + 1e-9  # rounding
    assert max(workers * held, held + free) <= seconds * slack and seconds <= (workers * held + free) * slack
    assert scaling_model.with_lock(workers + 1, held, free) > seconds
    assert scaling_model.with_lock(workers, 2 * held, free) > seconds
    assert scaling_model.with_lock(workers, held, 2 * free) * slack >= seconds, "equal if the queue is long"


@pytest.mark.slow
@pytest.mark.parity
def test_writing_from_end_to_end() -> None:
    pytest.importorskip("torch", reason=WITHOUT_TORCH)
    result = run(
        "benchmarks.decode", "--config", "smallest", "--work", "write-8", "--rounds", "1", "--seconds", "0.01", "--json"
    )
    assert result.returncode == 0, result.stderr
    measured = json.loads(result.stdout)
    assert measured["work"] == "write-8" and measured["ratio"]["torch"] > 0 and measured["bytes_per_second"] > 1e8
    assert 0 < measured["share_of_bound"]["ours"] < 1


@pytest.mark.slow
@pytest.mark.parity
def test_scoring_from_end_to_end(tmp_path: Path) -> None:
    pytest.importorskip("lm_eval", reason="needs lm_eval and transformers")
    make_run(tmp_path / "run", Tokenizer.train(["the rain, the sea"], vocab_size=262, special_tokens=[END_OF_TEXT]))
    (tmp_path / "questions.jsonl").write_text('{"query": "the", "choices": ["sea", "rain and more"], "label": 1}\n' * 2)
    task = f"choice={tmp_path}/questions.jsonl"
    result = run("benchmarks.lm_eval", str(tmp_path / "run"), task, "--rounds", "1", "--seconds", "0.01")
    assert result.returncode == 0, result.stderr
    assert re.search(r"choice, 4 continuations: ours .* times as fast", result.stdout)


@pytest.fixture(scope="module")
def plays(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text in which there is something to learn, quickly."""
    path = tmp_path_factory.mktemp("text") / "play.txt"
    path.write_text("".join(f"LEAR:\nBlow, winds, and crack your cheeks! {n}\n\n" for n in range(300)))
    return path


@pytest.fixture(scope="module")
def quick(plays: Path) -> tuple[str, ...]:
    """Options for a run of seconds."""
    return ("--data", str(plays), "--steps", "8", "--every", "6", "--eval-batches", "1", "--threads", "1")


@pytest.mark.slow
@pytest.mark.parity
@pytest.mark.parametrize("preset", ["shakespeare-char", "nanogpt-char"])
def test_learning_from_end_to_end(preset: str, quick: tuple[str, ...]) -> None:
    pytest.importorskip("torch", reason=WITHOUT_TORCH)
    result = run("benchmarks.learning", "--preset", preset, *quick, "--rounds", "1", "--target", "1", "--json")
    assert result.returncode == 0, result.stderr
    measured = json.loads(result.stdout)
    ours, torch = (measured["curves"][0][name] for name in ("ours", "torch"))
    assert ours["steps"] == torch["steps"] == [1, 2, 3, 4, 5, 6, 8] and ours["losses"][-1] < ours["losses"][0] - 0.1
    assert ours["losses"] == pytest.approx(torch["losses"], abs=1e-3), (
        "float32, and rounding that grows with each update"
    )
    assert ours["times"][4] == 0 < ours["times"][5] < ours["times"][6], "the first five steps are not timed"
    assert measured["share"]["torch"]["median"] == pytest.approx(ours["times"][-1] / torch["times"][-1])
    assert measured["reached"] == {"ours": [False], "torch": [False]}
    assert f"{preset}: 4 layers" in learning.table(measured)


def test_a_library_that_has_reached_the_target_takes_no_more_turns() -> None:
    class Learner:
        def __init__(self, name: str, *losses: float):
            self.name, self.results = name, iter({"loss": loss, "seconds": 2.0} for loss in losses)

        def measure(self, calls: int) -> list[dict[str, float]]:
            return [next(self.results) for _ in range(calls)]

    same = [9.0, 8.0, 7.0, 6.0, 5.0]
    learners: Any = Learner("ours", *same, 4.0), Learner("torch", *same, 4.1, 3.9, 3.0)
    curves = learning.learn(learners, learning.stops(40, 10), 4.0, "")
    assert (
        curves["ours"].steps == [1, 2, 3, 4, 5, 10]
        and curves["ours"].seconds == 2.0
        and curves["ours"].seconds_a_step == 0.4
    )
    assert curves["torch"].steps == [1, 2, 3, 4, 5, 10, 20] and curves["torch"].seconds == 4.0
    different: Any = Learner("ours", *same), Learner("torch", 9.0, 8.0, 7.0, 6.001)
    with pytest.raises(
        Mismatch, match="no comparison: validation loss must agree to 0.0001, but ours has .* and torch has"
    ):
        learning.learn(different, learning.stops(40, 10), 4.0, "")


def test_a_learning_plan_is_the_run_of_train_py(plays: Path, tmp_path: Path) -> None:
    """The arrays that other libraries learn from are those that our trainer would see."""
    options = presets()["shakespeare-char"]
    changes: dict[str, Any] = {"data": str(plays), "steps": 5, "eval_batches": 2, "threads": 1, "optimizer": "adamw"}
    options = replace(options, training=replace(options.training, **changes))
    (tmp_path / "plan").mkdir()
    plan = LearningPlan.write(tmp_path / "plan", options, 1, [1, 5])
    trainer, _ = set_up(options, Run(tmp_path / "run"))
    assert plan == LearningPlan.read(plan.folder)
    assert plan.stops == [1, 5] and plan.betas == [0.9, options.training.beta2]
    task = Task.read(plan.folder)
    assert all(np.array_equal(array, trainer.model.state_dict()[name]) for name, array in task.weights())
    for step, text in enumerate(task.ids()):
        inputs, targets = trainer.batches.batch(step)
        assert np.array_equal(text[:, :-1], inputs) and np.array_equal(text[:, 1:], targets)
        assert plan.rates[step] == trainer.schedule(step)
    assert np.array_equal(plan.validation()[:, :, 1:], [targets for _, targets in trainer.validation.batches])


@pytest.mark.parity
@pytest.mark.parametrize(
    "style",
    [
        {},
        LLAMA | {"kv_heads": 1},
        {"qk_norm": True, "soft_cap": 5.0, "tied_head": False, "positions": "none"},
        *(
            pytest.param({"mlp": activation}, marks=pytest.mark.slow)
            for activation in ("gelu", "relu_squared", "geglu")
        ),
    ],
)
def test_the_model_is_the_same_in_torch(style: dict[str, Any], tmp_path: Path) -> None:
    """float32: sums in another order differ in the seventh digit. Weights are larger than a new model's, so that
    everything matters.
    """
    torch = pytest.importorskip("torch", reason=WITHOUT_TORCH)
    from benchmarks.peers import pytorch

    task = Task(tmp_path, replace(TRAINING["smallest"][0], **style)).write(batches=1)
    model = GPT(task.config, rng=0)
    for p in model.parameters():
        p.data *= 1.0 if p.ndim < 2 else 10.0
    task.save(model.state_dict(), ids := task.ids())
    theirs = pytorch.load(task).loss(*(torch.from_numpy(part.copy()) for part in (ids[0, :, :-1], ids[0, :, 1:])))
    assert model.loss(ids[0, :, :-1], ids[0, :, 1:]).item() == pytest.approx(theirs.item(), abs=1e-5)


@pytest.mark.slow
@pytest.mark.control
@pytest.mark.parity
def test_another_model_is_not_compared(tmp_path: Path) -> None:
    """PyTorch computes with another epsilon."""
    pytest.importorskip("torch", reason=WITHOUT_TORCH)
    config, batch = TRAINING["smallest"]
    folders = tmp_path / "ours", tmp_path / "theirs"
    for folder, model in zip(folders, (config, replace(config, norm_eps=1e-2))):
        folder.mkdir()
        Task(folder, model, batch).write()
    environment = machine.environment("pinned", 1)
    with (
        start_competitors({"ours": "ours:train"}, folders[0], environment) as (ours, _),
        start_competitors({"torch": "pytorch:train"}, folders[1], environment) as (theirs, _),
        pytest.raises(Mismatch, match="no comparison: loss must agree to 0.0001, but ours has .* and torch has"),
    ):
        check_same([*ours, *theirs], train.SAME_STEPS, "loss", train.TOLERANCE)


@pytest.mark.slow
@pytest.mark.control
def test_losses_that_differ_end_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a negative tolerance, no two runs agree."""
    monkeypatch.setattr(train, "TOLERANCE", -1.0)
    with pytest.raises(Mismatch, match="ours has .* and tape has"):
        train.main(["--config", "smallest", "--vs", "tape", "--rounds", "1"])


def test_a_library_that_is_missing_is_skipped_with_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Task(tmp_path, *TRAINING["smallest"]).write()
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError('no torch', name='torch')")
    environment = machine.environment("pinned", 1) | {"PYTHONPATH": str(tmp_path)}
    with start_competitors({"torch": "pytorch:train"}, tmp_path, environment) as (entered, skipped):
        assert entered == [] and skipped == {"torch": "torch is not installed; try: pip install torch"}


def test_a_contestant_that_breaks_down_is_named_with_its_reason(tmp_path: Path) -> None:
    Task(tmp_path, *TRAINING["smallest"]).write()
    (tmp_path / "ids.npy").unlink()
    with (
        pytest.raises(RuntimeError, match="ours ended with status 1: FileNotFoundError.*ids.npy"),
        start_competitors({"ours": "ours:train"}, tmp_path, machine.environment("pinned", 1)),
    ):
        pass


@pytest.mark.parametrize("style", [{}, LLAMA | {"kv_heads": 1}])
def test_the_model_as_a_function_is_the_same(style: dict[str, Any]) -> None:
    """What JAX and HIPS autograd compute, here by NumPy itself. float32: sums in another order differ in the seventh
    digit.
    """
    config = replace(TRAINING["smallest"][0], **style)
    model, ids = GPT(config, rng=0), np.random.default_rng(0).integers(0, config.vocab_size, (4, config.context + 1))
    theirs = functional.loss(np, config, model.state_dict(), ids[:, :-1], ids[:, 1:])
    assert model.loss(ids[:, :-1], ids[:, 1:]).item() == pytest.approx(theirs, abs=1e-5)


def test_small_graphs_have_the_right_gradients() -> None:
    measured = small.ours(deep=100)()
    tanh = 0.0  # the derivative of a chain of them at 1, in logarithms
    y = 1.0
    for _ in range(small.STEPS):
        y = math.tanh(y)
        tanh += math.log1p(-y * y)
    assert measured["gradient"] == pytest.approx(1001 + 1001 + math.exp(tanh) + 501, rel=1e-5), (
        "add, mul, tanh, wide; float32"
    )
    assert min(measured[name] for name in overhead.MEASURES) > 0
    result = overhead.summary(
        {name: {"ours": [measured[name]], "other": [3 * measured[name]]} for name in overhead.MEASURES}
    )
    assert result["ratio"] == {graph: {"other": pytest.approx(3)} for graph in overhead.GRAPHS}


@pytest.mark.slow
@pytest.mark.parity
def test_small_graphs_are_the_same_in_torch() -> None:
    pytest.importorskip("torch", reason=WITHOUT_TORCH)
    ours, theirs = small.ours(deep=100)(), small.torch(deep=100)()
    assert all(
        ours[name] == pytest.approx(theirs[name], rel=1e-5) for name in ("gradient", "arrays gradient", "mlp gradient")
    )


def test_ratios_are_taken_within_a_round() -> None:
    """In the second round, the machine was four or five times as slow for both."""
    assert ratios({"ours": [1.0, 4.0], "torch": [2.0, 10.0]}, "ours") == {"torch": Spread(2.25, 2.0, 2.5)}


def test_native_removes_the_variables_that_choose_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    pinned, native = machine.environment("pinned", 2), machine.environment("native", 2)
    assert pinned["OPENBLAS_CORETYPE"] == "Haswell" and "OPENBLAS_CORETYPE" not in native
    assert "pinned by OPENBLAS_CORETYPE=Haswell" in machine.describe([], pinned, 2)[-1]


def test_what_is_measured_on_a_gpu_runs_on_the_stand_in(tmp_path: Path) -> None:
    """And the captured step has the losses of the ordinary one."""
    pytest.importorskip("ml_dtypes")
    from benchmarks.peers import gpu as work_of_gpu
    from benchmarks.peers import ours
    from tests.fake_cupy import installed

    config, batch = TRAINING["smallest"]
    task = Task(tmp_path, config, batch, device="cuda").write()
    with installed():
        steps = ours.train(task), work_of_gpu.captured_step(task)
        in_bf16 = work_of_gpu.step_in_bf16(task), work_of_gpu.captured_step_in_bf16(task)
        losses = [[work()["loss"] for _ in range(3)] for work in (*steps, *in_bf16)]
        np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
        np.testing.assert_allclose(losses[2], losses[3], rtol=1e-5)
        assert abs(np.subtract(losses[0], losses[2])).max() > 1e-5, "bf16 rounds"
        for work in (
            work_of_gpu.update(task),
            work_of_gpu.products_of_cupy(task),
            work_of_gpu.products_of_ours(task),
            work_of_gpu.linear_in_bf16(task),
        ):
            measured = work()
            assert all(seconds > 0 for seconds in measured.values())
        assert set(measured) == {"seconds", *work_of_gpu.PRODUCTS}
        wide = replace(config, dim=32)  # heads of 16 numbers, for which there are kernels
        assert work_of_gpu.attention_in_bf16(replace(task, config=wide))()["both passes"] > 0


@pytest.mark.parity
def test_the_step_of_torch_in_bf16_has_our_losses(tmp_path: Path) -> None:
    """As far as the rounding to 8 binary digits goes. (Compiled, it takes half a minute on a CPU.)"""
    pytest.importorskip("torch", reason=WITHOUT_TORCH)
    pytest.importorskip("ml_dtypes")
    from benchmarks.peers import gpu as work_of_gpu
    from benchmarks.peers import gpu_torch

    task = Task(tmp_path, *TRAINING["smallest"]).write()
    ours, theirs = work_of_gpu.step_in_bf16(task), gpu_torch.step_in_bf16(task)
    np.testing.assert_allclose(*([work()["loss"] for _ in range(3)] for work in (ours, theirs)), rtol=0.01)


def test_what_is_written_by_graphs_is_what_is_written_without(tmp_path: Path) -> None:
    from benchmarks.peers import ours, writing
    from tests.fake_cupy import installed

    task = Task(tmp_path, DECODING["smallest"], 1, device="cuda").write()
    with installed():
        expected, found = ours.decode(task)(), writing.captured(task)
        for _ in range(2):  # a second text begins where the graphs are there already
            assert found()["logit"] == pytest.approx(expected["logit"], rel=1e-5)
        assert writing.captured_and_chosen(task)()["seconds"] > 0


@pytest.mark.parity
def test_torch_writes_with_a_fixed_cache_what_it_writes_without(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason=WITHOUT_TORCH)
    from benchmarks.peers import pytorch, writing_torch

    task = Task(tmp_path, DECODING["smallest"], 1).write()
    expected, found = pytorch.decode(task)(), writing_torch.with_fixed_cache(task)
    for _ in range(2):
        assert found()["logit"] == pytest.approx(expected["logit"], rel=1e-5)


@pytest.mark.skipif(pick_device("auto") == "cuda", reason="there is a GPU")
def test_without_a_gpu_its_benchmark_says_so_in_a_sentence() -> None:
    result = run("benchmarks.gpu")
    assert result.returncode == 1 and "0 GPUs are usable here" in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize("part", gpu.TABLES)
def test_the_tables_of_the_gpu(part: str) -> None:
    """One line for each competitor, with as many cells as the head of the table."""
    config, batch = TRAINING["smallest"]
    names = gpu.PARTS[part]
    rounds = dict.fromkeys(names, [0.001, 0.002, 0.004])
    times = dict.fromkeys(gpu.MEASURES.get(part, ["seconds"]), rounds)
    head, line, *rows = gpu.TABLES[part](times, config, batch, dict.fromkeys(names, 1.5), dict.fromkeys(names, 1e9))
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == list(names)
    assert {row.count("|") for row in (head, line, *rows)} == {head.count("|")}
