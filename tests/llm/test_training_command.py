"""train.py at the command line: presets and options, what a resumed run takes over, and a sentence for everything that
cannot be.
"""

from __future__ import annotations

import errno
import io
import json
import os
import re
import runpy
import signal
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import tyro

from llm.console import NO_ROOM
from llm.model.config import GPTConfig
from llm.model.cost import parameters
from llm.model.presets import PRESETS
from llm.parallel import runtime
from llm.runs.errors import RunError
from llm.runs.options import Options, TrainOptions
from llm.runs.parallel_options import ParallelOptions
from llm.runs.parsing import flag
from llm.runs.presets import presets
from llm.runs.run import Run
from llm.runs.tuning_options import TuningOptions
from llm.training import checks
from llm.training.command import parse, start
from llm.training.setup import set_up
from llm.training.step import learning_rate
from minigrad.optim import AdamW
from tests.llm.trainings import (
    arguments,
    metrics,
    own_cache,
    resume,
    train,
    weights,
    without_pictures,
    write_sample,
    write_text,
)
from tokenizer import CharTokenizer, Tokenizer

SCRIPT = Path(__file__).parents[2] / "train.py"


@pytest.fixture(autouse=True)
def _there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIGRAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")  # no line of a message is broken
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    without_pictures(monkeypatch)


def script(monkeypatch: pytest.MonkeyPatch, *options: str) -> Any:
    """Run the file train.py as a program, in this process; returns what it exits with."""
    monkeypatch.setattr(sys, "argv", ["train.py", *options])
    monkeypatch.setattr(runtime, "keep_freed_memory", lambda: None)
    monkeypatch.setattr(runtime, "set_switch_interval", lambda: None)
    handler = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(SCRIPT), run_name="__main__")
    finally:
        signal.signal(signal.SIGINT, handler)  # the program lets a second Ctrl-C end its process, which is this one
    return stop.value.code


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- presets and options ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", presets())
def test_a_preset_gives_its_options(name: str) -> None:
    options, run = parse(["--preset", name])
    assert options == presets()[name]
    assert options.training.preset == name
    assert Options.from_json(json.loads(json.dumps(options.to_json()))) == options
    assert str(run) == f"runs/{name}-1"
    assert not run.folder.exists()


def test_every_shape_is_a_preset() -> None:
    assert presets().keys() == {"default", *PRESETS}
    assert parse([])[0] == presets()["default"]


def test_options_replace_those_of_the_preset() -> None:
    given = "--preset llama-tiny --layers 3 --lr 0.5 --kv-heads None --no-tied-head --bias --steps=7"
    options, _ = parse(given.split())
    base = presets()["llama-tiny"]
    assert options.training == replace(base.training, lr=0.5, steps=7, warmup=base.training.warmup * 7 // 1000)
    assert options.model == replace(base.model, layers=3, kv_heads=None, tied_head=False, bias=True)


def test_the_preset_nanogpt_char_is_nanogpts_demo() -> None:
    """config/train_shakespeare_char.py there, with what its README gives for a CPU."""
    options, _ = parse(["--preset", "nanogpt-char"])
    model, training = options.model, options.training
    assert (model.layers, model.heads, model.dim, model.context, model.dropout) == (4, 4, 128, 64, 0.0)
    assert (model.positions, model.norm) == ("learned", "layernorm")
    assert (model.qk_norm, model.tied_head, model.bias) == (False, True, False)
    assert (training.data, training.tokenizer, training.batch_size, training.steps) == ("shakespeare", "char", 12, 2000)
    assert (training.lr, training.min_lr, training.warmup) == (1e-3, 1e-4, 100)
    assert (training.schedule, training.beta2) == ("cosine", 0.99)
    assert (training.weight_decay, training.clip) == (0.1, 1.0)


def test_shakespeare_char_reads_a_quarter_of_the_text_of_nanogpt_char_and_is_no_larger() -> None:
    """What makes the comparison of docs/LOG.md fair: a quarter of the text is read."""
    ours, theirs = presets()["shakespeare-char"], presets()["nanogpt-char"]
    assert ours.training.steps * 4 == theirs.training.steps and ours.training.batch_size == theirs.training.batch_size
    assert ours.model.context == theirs.model.context and parameters(ours.model).total <= parameters(theirs.model).total
    assert (ours.training.data, ours.training.tokenizer) == (theirs.training.data, theirs.training.tokenizer)


@pytest.mark.parametrize("more", [[], ["--resume"], ["--preset", "gpt2"], ["--objective", "chat", "--from", "none"]])
def test_help_names_every_option_once(
    more: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("COLUMNS", "100")  # one option after the other, not side by side
    further, kinds = GPTConfig.further_fields(), (TrainOptions, GPTConfig, TuningOptions, ParallelOptions)
    of_tuning = set() if "--objective" in more else {field.name for field in fields(TuningOptions)}
    for word, hidden in (("--help-all", set()), ("--help", {*further} | of_tuning)):
        assert script(monkeypatch, word, *more) == 0
        shown = capsys.readouterr().out
        named = re.findall(r"^[^\w\n] (?:-h, )?--([a-z][a-z0-9-]+)", shown, re.MULTILINE)
        names = [field.name for kind in kinds for field in fields(kind) if field.name not in hidden]
        assert sorted(named) == sorted(["help", *(flag(name)[2:] for name in names)])
    assert f"{len(further)} more options, such as --experts, are shown by --help-all" in shown
    assert "{default," in shown
    assert "gpt2-xl" in shown


def test_help_names_options_of_tuning_where_they_are_wanted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    for more, shown in (([], False), (["--objective", "chat"], True)):
        assert script(monkeypatch, "--help", *more) == 0
        assert ("--lora-rank" in capsys.readouterr().out) is shown


def test_help_with_from_shows_its_own_defaults(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    for word in ("--help", "--help-all"):  # help comes before a model that cannot be read
        assert script(monkeypatch, word, "--from", "no-such-model") == 0
        assert "5e-05)" in capsys.readouterr().out


SENTENCES = {
    "--preset nothing": "there is no preset 'nothing'; choose one of default, ",
    "--steps 0": "--steps must be at least 1, got 0",
    "--steps many": "--steps: 'many' is not a whole number in digits, such as 1000",
    "--steps 1e3": "--steps: '1e3' is not a whole number in digits, such as 1000",
    "--layers x": "--layers: 'x' is not a whole number in digits, such as 1000",
    "--threads 1.5": "--threads: '1.5' is not a whole number in digits, such as 1000, nor none",
    "--lr fast": "--lr: 'fast' is not a number, such as 0.1 or 1e-3",
    "--qkv-bias maybe": "--qkv-bias: 'maybe' is not true, false or none",
    "--rope-layers 0-3": "--rope-layers: '0-3' is no list of whole numbers such as 0,2,5, nor none",
    "--soft-cap no": "--soft-cap: 'no' is not a number, such as 0.1 or 1e-3, nor none",
    "--vocab-size 100": "--vocab-size 100 is too small for --tokenizer bpe; give at least 257",
    "--data short.txt --context 4 --tokenizer char --prompt ü": "'ü' in --prompt is not among the 10 characters of the",
    "--out=": "--out is empty; give the name of a folder",
    "--out missing --resume": "missing holds no run that could be resumed; leave --resume out to begin one there",
    "--out texts --resume": "texts holds no run that could be resumed; leave --resume out to begin one there",
    "--out lone": "lone has no config.json but holds tokenizer.json, which a new run would replace",
    "--out lone --resume": "lone has no config.json but holds tokenizer.json, which a new run would replace",
    "--out drawn": "drawn has no config.json but holds loss.png, which a new run would replace",
    "--batch-size 9999999999999999999": "--batch-size is too large; it must be below 2^63",
    "--threads 0": "--threads must be at least 1, got 0",
    "--lr -1": "--lr must be a number of at least 0, got -1.0",
    "--lr nan": "--lr must be a number of at least 0, got nan",
    "--lr inf": "--lr must be a number of at least 0, got inf",
    "--val-fraction 1": "--val-fraction must lie between 0 and 1, got 1.0",
    "--beta2 1": "--beta2 must be at least 0 and below 1, got 1.0",
    "--batch-size 2 --micro-batches 3": "--micro-batches 3 is more than --batch-size 2",
    "--heads 5": "--dim 128 is not a multiple of --heads 5; use one that is, or set --head-dim",
    "--kv-heads 0": "--kv-heads 0 is not possible; use a whole number of at least 1 and below 2^63, or none",
    "--heads 4 --kv-heads 3": "--heads 4 is not a multiple of --kv-heads 3; --kv-heads must divide heads",
    "--norm-eps 0": "--norm-eps 0.0 is not possible; use a number above 0",
    "--schedule never": "never",
    "--positions nowhere": "nowhere",
    "--unknown 3": "--unknown",
    "3": "3",
    "--steps": "--steps",
    "--device tpu": "unknown device 'tpu'",
    "--device cuda:9": "device 'cuda:9' was asked for",
    "--data nothing.txt": "nothing.txt is neither a file, a folder",
    "--data empty.txt": "empty.txt is empty",
    "--data short.txt": "needs 129; use a smaller --context, or more text",
    "--data short.txt --context 4 --tokenizer nothing.json": "nothing.json does not exist",
    "--data short.txt --context 4 --tokenizer short.txt": "short.txt",
    "--data short.txt --context 4 --out short.txt": "short.txt cannot be the folder of a run",
    "--resume": "there is no run in runs/ yet; start one with: ",
    "--out other": "other has no config.json but holds model.safetensors",
    "--out other --resume": "other has no config.json but holds model.safetensors",
    "--out foreign": "foreign holds a run already; add --resume to go on with it, or choose another --out",
    "--out foreign --resume": "foreign/config.json is not the configuration of a run",
}


@pytest.mark.parametrize("options", SENTENCES)
def test_impossible_options_give_one_sentence_and_change_nothing(
    options: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    Path("empty.txt").touch()
    Path("short.txt").write_text("a short text\n" * 3)
    files = [("other", "model.safetensors"), ("foreign", "config.json"), ("texts", "a.txt"), ("lone", "tokenizer.json")]
    for name, file in [*files, ("drawn", "loss.png")]:
        Path(name).mkdir()
        (Path(name) / file).write_text('{"model_type": "gpt2"}')
    before = contents(Path())
    code = script(monkeypatch, "--device", "cpu", *options.split())
    captured = capsys.readouterr()
    said = captured.err + (code if isinstance(code, str) else "")
    assert code not in (0, None)
    assert SENTENCES[options] in said
    assert "Traceback" not in said
    assert contents(Path()) == before
    assert not list(Path().glob("runs/*"))
    assert not Path("missing").exists()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError("of 9 GiB"), "train.py: not enough memory (of 9 GiB); try a smaller --batch-size"),
        (OSError(28, "No space left", "a/file"), "train.py: a/file: No space left; make room on that disk, or choose"),
        (OSError(13, "Permission denied", "a/file"), "train.py: a/file: Permission denied; allow it, or choose"),
        (KeyboardInterrupt(), 130),
        (BrokenPipeError(), 1),
    ],
)
def test_later_errors_give_one_sentence_too(
    error: BaseException, code: int | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> None:
        raise error

    monkeypatch.setattr("llm.training.command.start", fail)
    found = script(monkeypatch)
    assert code in found if isinstance(code, str) else code == found


# --- running ----------------------------------------------------------------------------------------------------------


def test_runs_are_numbered(tmp_path: Path) -> None:
    for number in (1, 2):
        options = arguments(tmp_path / "unused", "--steps", "1")
        options[options.index("--out") : options.index("--out") + 2] = []
        options, run = parse(options)  # type: ignore[assignment]
        start(options, run, write_sample)  # type: ignore[arg-type]
        assert str(run) == f"runs/default-{number}"
        assert run.checkpoints.load().step == 1  # type: ignore[union-attr]
    assert str(parse(["--resume"])[1]) == "runs/default-2"


def test_resume_takes_the_options_of_the_run_except_those_given(tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(out, "--steps", "2", "--lr", "0.25", "--dropout", "0.1")
    options, run = parse(["--resume", "--out", str(out)])
    assert (options.training.steps, options.training.lr, options.training.batch_size) == (2, 0.25, 5)
    assert (options.model.dim, options.model.dropout) == (8, 0.1)
    resume(out, "--steps", "4", "--dropout", "0.3")
    changed = replace(
        options,
        training=replace(options.training, steps=4, out=None, resume=False),
        model=replace(options.model, dropout=0.3),
    )
    assert run.options() == changed, "without what is about the command"
    assert len(metrics(out)) == 4


def test_the_same_command_with_resume_added_goes_on(tmp_path: Path) -> None:
    """Also where the run knows better: a vocabulary that the text did not yield, flags that its options have
    already.
    """
    command = arguments(
        tmp_path / "run", "--steps", "2", "--no-bias", "--qk-norm", "--tokenizer", "bpe", "--vocab-size", "5000"
    )
    start(*parse(command), write_sample)
    assert Run(tmp_path / "run").options().model.vocab_size < 5000
    start(*parse([*command, "--resume", "--steps", "3"]), write_sample)
    assert len(metrics(tmp_path / "run")) == 3


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, which no test changes."""
    folder = tmp_path_factory.mktemp("begun")
    with own_cache(folder):
        given = "--preset llama-tiny --steps 1 --positions learned --kv-heads None --norm-eps 1e-5"
        train(folder / "run", *given.split())
    return folder


@pytest.mark.parametrize(
    ("option", "value", "had"),
    [
        ("dim", "16", "8"),
        ("layers", "2", "1"),
        ("heads", "4", "2"),
        ("context", "4", "8"),
        ("positions", "rope", "learned"),
        ("window", "3", "None"),
        ("norm-eps", "0.5", "1e-05"),
        ("tokenizer", "bpe", "char"),
        ("preset", "tiny", "llama-tiny"),
    ],
)
def test_options_that_the_weights_depend_on_cannot_change(begun: Path, option: str, value: str, had: str) -> None:
    before = contents(begun)
    with pytest.raises(
        RunError, match=f"was begun with --{option} {had}, which cannot become {value}; leave that option out, or"
    ):
        resume(begun / "run", f"--{option}", value)
    assert contents(begun) == before


@pytest.mark.parametrize("change", [["--val-fraction", "0.3"], ["--data", "other.txt"]])
def test_other_text_is_refused_and_changes_nothing(tmp_path: Path, change: list[str]) -> None:
    out = tmp_path / "run"
    train(out, "--steps", "2")
    text = (tmp_path / "text.txt").read_text()
    Path("other.txt").write_text("".join(sorted(text)))
    Path("moved.txt").write_text(text)
    before = contents(out)
    with pytest.raises(RunError, match="the text is not the one this run was trained on so far; give the same --data"):
        resume(out, *change, "--steps", "3")
    assert contents(out) == before
    resume(out, "--data", "moved.txt", "--steps", "3")
    assert len(metrics(out)) == 3


def test_arrays_of_another_model_are_refused(tmp_path: Path) -> None:
    for name, layers in (("one", "1"), ("two", "2")):
        train(tmp_path / name, "--steps", "1", "--layers", layers)
    (tmp_path / "two/checkpoints").rename(tmp_path / "one/checkpoints/gone")
    place = tmp_path / "one/checkpoints/step-00000001"
    place.rename(tmp_path / "one/mine")
    (tmp_path / "one/checkpoints/gone/step-00000001").rename(place)
    before = contents(tmp_path / "one")
    with pytest.raises(RunError, match=r"the checkpoint of step 1 is of another model .*unexpected: blocks\.1"):
        resume(tmp_path / "one", "--steps", "2")
    assert contents(tmp_path / "one") == before


def test_a_run_that_is_being_trained_is_refused(tmp_path: Path) -> None:
    train(tmp_path / "run", "--steps", "1")
    with Run(tmp_path / "run").locked(), pytest.raises(RunError, match="another process is training in"):
        resume(tmp_path / "run")


def test_a_tokenizer_is_learned_or_loaded(tmp_path: Path) -> None:
    train(tmp_path / "char", "--steps", "1", "--tokenizer", "char")
    assert Run(tmp_path / "char").options().model.vocab_size == len(set((tmp_path / "text.txt").read_text()))
    train(tmp_path / "bpe", "--steps", "1", "--tokenizer", "bpe", "--vocab-size", "270")
    learned = Tokenizer.load(tmp_path / "bpe/tokenizer.json")
    assert (learned.vocab_size, Run(tmp_path / "bpe").options().model.vocab_size) == (270, 270)
    assert learned.end_of_text is not None
    train(tmp_path / "given", "--steps", "1", "--tokenizer", str(tmp_path / "bpe/tokenizer.json"))
    assert Tokenizer.load(tmp_path / "given/tokenizer.json") == learned
    assert weights(tmp_path / "given") == weights(tmp_path / "bpe")


def test_ctrl_c_at_a_terminal(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), *arguments(tmp_path / "run", "--steps", "1000000", "--eval-every", "1")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    while "validation" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT, err
    step = Run(tmp_path / "run").checkpoints.load().step  # type: ignore[union-attr]
    command = f"{sys.executable} {SCRIPT} --resume --out {tmp_path / 'run'}"
    assert out.splitlines()[-1] == f"stopped at step {step:,} of 1,000,000; go on with: {command}"
    assert "Traceback" not in err


# --- what is checked before the first step ----------------------------------------------------------------------------


def test_the_warmup_follows_the_steps_unless_it_is_given() -> None:
    preset = presets()["default"].training
    assert parse(["--steps", str(preset.steps + 1)])[0].training.warmup == preset.warmup
    assert parse(["--steps", "100", "--warmup", "90"])[0].training.warmup == 90
    for steps in (1, 10, 100, preset.steps - 1):
        training = parse(["--steps", str(steps)])[0].training
        assert training.warmup == preset.warmup * steps // preset.steps
        rates = [learning_rate(training)(step) for step in range(steps)]
        assert steps == 1 or rates[-1] < max(rates), "at the end, the rate falls"


def test_a_run_that_is_resumed_keeps_its_warmup(tmp_path: Path) -> None:
    train(tmp_path / "run", "--steps", "10")
    assert parse(["--resume", "--out", str(tmp_path / "run"), "--steps", "5"])[0].training.warmup == 2


def test_a_rate_that_never_falls_is_said(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    train(tmp_path / "run", "--steps", "3", "--warmup", "3")
    assert "the learning rate only rises, because --warmup 3 is not less than --steps 3" in capsys.readouterr().out
    train(tmp_path / "constant", "--steps", "3", "--warmup", "3", "--schedule", "constant")
    train(tmp_path / "short", "--steps", "3")
    assert "only rises" not in capsys.readouterr().out


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EFBIG, errno.EDQUOT])
def test_a_disk_without_room_for_a_checkpoint_is_noticed_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    def full(path: Path, size: int) -> None:
        raise OSError(error, os.strerror(error))

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(checks, "reserve", full)
        with pytest.raises(RunError, match="there is no room in .* for a checkpoint, which needs .* KiB .*; make room"):
            train(out, "--steps", "2")
    assert not out.exists()
    train(out, "--steps", "2")


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system cannot take room without writing")
def test_the_room_of_a_checkpoint_is_really_taken_and_given_back(tmp_path: Path) -> None:
    checks.reserve(tmp_path / "file", 100_000)
    assert (tmp_path / "file").stat().st_size == 100_000
    with pytest.raises(OSError) as error:
        checks.reserve(tmp_path / "large", 1 << 62)
    assert error.value.errno in NO_ROOM
    train(tmp_path / "run", "--steps", "1")
    before = contents(tmp_path)
    checks.check_room(tmp_path / "run", (1000, 2000))
    assert contents(tmp_path) == before


def test_a_folder_that_cannot_be_written_is_noticed_before_the_text_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **more: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("llm.runs.run.tempfile.TemporaryFile", refuse)
    monkeypatch.setattr("llm.training.text.open_corpus", lambda data: pytest.fail("too late"))
    with pytest.raises(RunError, match=r"cannot be the folder of a run \(Permission denied\); choose another --out"):
        train(tmp_path / "run", "--steps", "1")


def test_a_text_that_a_given_tokenizer_of_characters_cannot_encode_gets_advice_for_the_command_line(
    tmp_path: Path,
) -> None:
    CharTokenizer.train(["the cat"]).save(tmp_path / "letters.json")
    with pytest.raises(
        ValueError, match=r"in the text is not among the 6 characters of .*; use --tokenizer char or bpe"
    ):
        train(tmp_path / "run", "--steps", "1", "--tokenizer", str(tmp_path / "letters.json"))
    assert not (tmp_path / "run").exists()


def test_a_run_of_standard_input_wants_the_text_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = write_text(tmp_path / "text.txt").read_bytes()

    def stdin(content: bytes, *, terminal: bool = False) -> None:
        stream = io.TextIOWrapper(io.BytesIO(content))
        monkeypatch.setattr(stream, "isatty", lambda: terminal, raising=False)
        monkeypatch.setattr(sys, "stdin", stream)

    stdin(text)
    out = tmp_path / "run"
    train(out, "--steps", "2", "--data", "-")
    for content, terminal in ((b"", False), (text, True)):
        stdin(content, terminal=terminal)
        with pytest.raises(RunError, match="learns from standard input, which is not kept; give the same text there"):
            resume(out, "--steps", "3")
    stdin(text)
    resume(out, "--steps", "3")
    resume(out, "--steps", "4", "--data", str(tmp_path / "text.txt"))
    assert len(metrics(out)) == 4


def test_resume_begins_again_what_was_killed_during_setup(tmp_path: Path) -> None:
    """Then the folder is empty, or holds what `Run.begin` writes first."""
    for name, files in (("empty", []), ("begun", ["tokenizer.json"])):
        (tmp_path / name / "checkpoints").mkdir(parents=True)
        if not files:
            (tmp_path / name / "checkpoints").rmdir()
        for file in files:
            (tmp_path / name / file).write_text("{}")
        train(tmp_path / name, "--steps", "1", "--resume")
        assert len(metrics(tmp_path / name)) == 1


# --- help -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["--help", "--help-all"])
@pytest.mark.parametrize("columns", [60, 80, 120])
def test_help_says_nothing_twice_and_fits(
    word: str, columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert script(monkeypatch, word) == 0
    shown = capsys.readouterr().out
    assert "None" not in shown
    assert max(len(line) for line in shown.splitlines()) <= columns
    words = " ".join(re.sub("[│─╭╮╰╯]", " ", shown).split())
    assert not re.search(r"Default: [^(]*\(default: none\)", words)
    places = [shown.index(f"--{name} ") for name in ("data", "steps", "batch-size", "lr", "prompt", "beta2", "seed")]
    assert places == sorted(places), "what is needed most often comes first"


def test_a_switch_or_list_that_may_be_missing_is_one_word() -> None:
    def model(words: str) -> GPTConfig:
        return parse(["--preset", "llama-tiny", *words.split()])[0].model

    for word, value in {"true": True, "False": False, "none": None}.items():
        assert model(f"--qkv-bias {word}").qkv_bias is value
    assert model("--rope-layers 0,2").rope_layers == (0, 2)
    assert model("--rope-layers=").rope_layers == ()
    assert model("--rope-layers none").rope_layers is None
    assert model("--experts 4 --dense-layers 3").dense_layers == (3,)
    assert model("--experts 4 --dense-layers none").dense_layers == ()


def test_help_says_what_kind_of_value_each_option_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    script(monkeypatch, "--help")
    options = re.findall(r"^[│ ] --([\w-]+)(?: ([^\s,]+))?", capsys.readouterr().out, re.MULTILINE)
    assert len(options) > 40
    assert {kind for _, kind in options if not kind.startswith("{")} <= {
        "", "STR", "INT", "FLOAT", "INT|none", "FLOAT|none"
    }  # fmt: skip
    kinds = dict(options)
    assert [kinds[name] for name in ("data", "prompt", "steps", "lr", "threads", "resume")] == [
        "STR", "STR", "INT", "FLOAT", "INT|none", ""
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["None", "none", "", "a b"])
def test_every_text_is_meant(text: str) -> None:
    assert parse([f"--prompt={text}"])[0].training.prompt == text
    if text:
        assert str(parse([f"--out={text}"])[1]) == text


@pytest.mark.parametrize("word", ["none", "None"])
def test_a_number_that_may_be_missing_can_be_taken_away(word: str) -> None:
    options, _ = parse(["--preset", "llama-tiny", "--kv-heads", word, "--threads", word])
    assert (options.model.kv_heads, options.training.threads) == (None, None)


@pytest.mark.parametrize("no_color", ["1", ""])
def test_no_color_means_no_colours(
    no_color: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setitem(tyro._experimental_options, "ansi_codes", True)
    monkeypatch.setattr("tyro._fmtlib._FORCE_ANSI", True)
    monkeypatch.setenv("NO_COLOR", no_color)
    script(monkeypatch, "--help")
    assert ("\x1b" in capsys.readouterr().out) is (no_color == "")


# --- what is decayed --------------------------------------------------------------------------------------------------


def test_matrices_decay_and_nothing_else(tmp_path: Path) -> None:
    train(tmp_path / "run", "--steps", "1", "--bias")
    trainer, _ = set_up(*parse(["--resume", "--out", str(tmp_path / "run")]))
    assert isinstance(trainer.optimizer, AdamW)
    decayed = {name for group in trainer.optimizer.groups for name, on in zip(group.names, group.decayed) if on}
    assert decayed == {name for name, p in trainer.model.named_parameters() if p.ndim >= 2}
    assert any(name.endswith("bias") for name, _ in trainer.model.named_parameters())
