"""`python -m llm.hub`: what inspect shows, what convert writes, and how both end after an error."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from llm.hub import load, save
from llm.hub.command import main
from llm.hub.generation_defaults import GenerationDefaults
from llm.hub.save import nearest_family
from llm.hub.save_gguf import save_gguf
from llm.model.config import GPTConfig
from llm.model.cost import cache_bytes
from llm.model.gpt import GPT
from minigrad import no_grad
from tests.llm.hub_files import LLAMA2C, llama2c_bytes, llama2c_weights
from tests.llm.runs import make_run
from tokenizer import END_OF_TEXT, Tokenizer

ROOT = Path(__file__).parents[2]
BYTES = Tokenizer.train(["the rain, the sea"], vocab_size=262, special_tokens=[END_OF_TEXT])
LLAMA = GPTConfig(
    vocab_size=262, context=16, layers=2, heads=2, kv_heads=1, dim=32, mlp_dim=32, positions="rope", norm="rmsnorm",
    mlp="swiglu", bias=False,
)  # fmt: skip
KINDS = ["folder", "gguf", "llama2c", "run"]


def make(kind: str, parent: Path) -> Path:
    """A small model of each kind that `load` takes."""
    if kind == "run":
        return make_run(parent / "run", BYTES).folder
    if kind == "llama2c":
        path = parent / "model.bin"
        path.write_bytes(llama2c_bytes(llama2c_weights(shared=True), version=0))
        return path
    model, path = GPT(LLAMA, rng=0).eval(), parent / {"folder": "folder", "gguf": "model.gguf"}[kind]
    save(model, BYTES, path) if kind == "folder" else save_gguf(model, BYTES, path, "F32")
    return path


def parameters_of(path: Path) -> int:
    return load(path)[0].num_parameters()


def script(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "llm.hub", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


# --- inspect ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_inspect_shows_what_is_inside(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = make(kind, tmp_path)
    assert main(["inspect", str(path)]) == 0
    captured = capsys.readouterr()
    model, tokenizer = load(path)
    text = captured.out
    assert captured.err == ""
    assert text.startswith(f"{path}\n  family ")
    assert re.search(rf"parameters +{model.num_parameters():,}\n", text)
    assert f"for {model.config.context:,} tokens" in text
    for name in ("layers", "dim"):
        assert re.search(rf"  {name} +{getattr(model.config, name)}\n", text)
    assert not re.search(r"  dropout ", text) or model.config.dropout  # only what differs from the defaults
    assert len(re.findall(r"blocks\.\*\.attention\.out\.weight\n", text)) == 1  # one line for all layers
    assert ("special tokens  '<|endoftext|>' 0" in text) == (tokenizer is not None)


def test_inspect_adds_up_sizes(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    save_gguf(GPT(LLAMA, rng=0), None, tmp_path / "q8.gguf", "Q8_0")
    main(["inspect", str(tmp_path / "q8.gguf")])
    text = capsys.readouterr().out
    rows = {line.split()[0]: line for line in text.splitlines() if line.count("  ") > 3}
    # 32 numbers take 34 bytes: 2 matrices of (32, 32)
    assert re.search(
        r"2 x \(32, 32\) +Q8_0 +2\.125 KiB +blocks\.\*\.attention\.out\.weight", rows["blk.*.attn_output.weight"]
    )
    assert f"{cache_bytes(LLAMA) / 1024:.4g} KiB for 16 tokens" in text
    assert "tokenizer\n  none" in text


def test_inspect_shows_the_template_and_the_defaults(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    tokenizer = Tokenizer.train(["the rain, the sea"], vocab_size=262, special_tokens=[END_OF_TEXT])
    lines = [f"{{# line {i} #}}" for i in range(20)]
    tokenizer.settings["chat_template"] = "\x1b[2J" + "\n".join(lines)
    save(GPT(LLAMA, rng=0), tokenizer, tmp_path / "chat", GenerationDefaults((261, 3), temperature=0.6))
    main(["inspect", str(tmp_path / "chat")])
    text = capsys.readouterr().out
    assert "  \\x1b[2J{# line 0 #}\n  {# line 1 #}\n" in text  # control characters do nothing to the terminal
    assert "line 8 " not in text and "... and 12 lines more" in text
    assert re.search(r"eos_token_id +\[261, 3\]\n", text) and re.search(r"temperature +0\.6\n", text)


# --- convert ----------------------------------------------------------------------------------------------------------


def logits(model: GPT) -> np.ndarray:
    with no_grad():
        return model(np.arange(5)[None]).data


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_converted_to_a_folder_without_a_change(kind: str, tmp_path: Path) -> None:
    path, folder = make(kind, tmp_path), tmp_path / "new"
    assert main(["convert", str(path), str(folder), "--to", "hf"]) == 0
    (before, tokenizer), (after, tokenizer_after) = load(path), load(folder)
    np.testing.assert_array_equal(logits(before), logits(after), strict=True)
    assert tokenizer == tokenizer_after


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["folder", "model.gguf"])
def test_every_kind_is_converted_to_gguf(kind: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    path = make(kind, tmp_path / "old")
    assert main(["convert", str(path), str(tmp_path / name), "--to", "gguf", "--kind", "F32"]) == 0
    (before, tokenizer), (after, tokenizer_after) = load(path), load(tmp_path / name)  # a folder with one file, or it
    np.testing.assert_allclose(logits(after), logits(before), rtol=1e-5, atol=1e-6)  # eps is float32 in the file
    assert (tokenizer_after is None) == (tokenizer is None)
    if tokenizer is not None and tokenizer_after is not None:
        assert tokenizer_after.encode_ordinary("the sea, é") == tokenizer.encode_ordinary("the sea, é")


@pytest.mark.parametrize(
    ("name", "to", "is_file"),
    [("new", [], False), ("new.gguf", [], True), ("new.gguf", ["--to", "hf"], False), ("new", ["--to", "gguf"], False)],
)
def test_without_to_the_name_decides_what_is_written(name: str, to: list[str], is_file: bool, tmp_path: Path) -> None:
    path, new = make("folder", tmp_path), tmp_path / name
    assert main(["convert", str(path), str(new), *to]) == 0
    assert new.is_file() == is_file
    assert load(new)[0].num_parameters() == parameters_of(path)


def test_a_kind_of_numbers_needs_a_gguf_file(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = make("folder", tmp_path)
    assert main(["convert", str(path), str(tmp_path / "new"), "--kind", "Q8_0"]) == 1
    assert "--kind Q8_0 is for GGUF files; add --to gguf" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_conversion_that_fails_leaves_no_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    experts, path = replace(LLAMA, experts=2), make("folder", tmp_path)
    save(GPT(experts, rng=0), BYTES, tmp_path / "experts")
    assert main(["convert", str(tmp_path / "experts"), str(tmp_path / "new"), "--to", "gguf"]) == 1
    assert (
        "no architecture of GGUF files has such a model; the nearest, llama, cannot have experts=2\n"
        in capsys.readouterr().err
    )
    monkeypatch.setitem(sys.modules, "gguf", None)  # as if it were not installed
    assert main(["convert", str(path), str(tmp_path / "new"), "--to", "gguf"]) == 1
    assert "pip install -e '.[hub]'" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("qk_norm", "family"), [(False, "mixtral"), (True, "qwen3_moe")])
@pytest.mark.parametrize("width", [None, 48])
def test_the_width_of_dense_layers_says_nothing_about_a_mixture_without_them(
    qk_norm: bool, family: str, width: int | None, tmp_path: Path
) -> None:
    config = replace(LLAMA, experts=4, qk_norm=qk_norm, dense_mlp_dim=width)
    model = GPT(config, rng=0).eval()
    assert nearest_family(config).model_type == family
    save(model, None, tmp_path / "new")
    np.testing.assert_array_equal(logits(load(tmp_path / "new")[0]), logits(model), strict=True)


def test_what_the_model_says_about_writing_is_kept(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    defaults = GenerationDefaults((261, 3), top_k=7, temperature=0.6, do_sample=True)
    save(GPT(LLAMA, rng=0), BYTES, old, defaults)
    main(["convert", str(old), str(new)])
    assert GenerationDefaults.read(new) == defaults


# --- errors -----------------------------------------------------------------------------------------------------------


def test_a_run_whose_configuration_was_edited_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", BYTES)
    options = run.options()
    run.write_options(replace(options, model=replace(options.model, layers=options.model.layers + 1)))
    assert main(["convert", str(run), str(tmp_path / "new")]) == 1
    assert f"{run} lacks the tensors blocks.1.attention.out.bias, " in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    # A model that is far too large is refused before it is made.
    run.write_options(replace(options, model=replace(options.model, layers=10**6)))
    monkeypatch.setattr(GPT, "__init__", lambda *args, **more: 1 / 0)
    for command in (["convert", str(run), str(tmp_path / "new")], ["inspect", str(run)]):
        assert main(command) == 1
        assert "parameters are described, and " in capsys.readouterr().err


def test_errors_are_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = make("folder", tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "damaged.gguf").write_bytes(b"GGUF")
    for arguments, complaint in (
        (["inspect", "no-such-model"], "no-such-model does not exist; give a run of train.py, a folder with"),
        (["inspect", str(tmp_path / "empty")], "is no model; give a run"),
        (["inspect", str(tmp_path / "damaged.gguf")], "damaged.gguf"),
        (["inspect", str(path), "--tokenizer", "no-such-file"], "llm.hub: no-such-file does not exist: give a"),
        (["convert", str(path), str(path)], "exists already; give a new folder"),
        (["convert", str(path), str(path / "config.json" / "x")], "config.json"),
    ):
        assert main(arguments) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("python -m llm.hub: ") and captured.err.count("\n") == 1
        assert complaint in captured.err


def test_a_path_beside_a_model_leads_to_it(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = make("folder", tmp_path)
    (tmp_path / "two").mkdir()
    for name in ("a.gguf", "b.gguf"):
        save_gguf(GPT(LLAMA, rng=0), None, tmp_path / "two" / name)
    (tmp_path / "llama2c").mkdir()
    (tmp_path / "llama2c" / "tok512.bin").write_bytes(b"")
    make("llama2c", tmp_path / "llama2c")
    for given, complaint in (
        (path / "model.safetensors", f"is one file of a model; give its folder, {path}"),
        (path / "config.json", f"is one file of a model; give its folder, {path}"),
        (tmp_path / "two", f"and not one itself; give one of {tmp_path / 'two/a.gguf'}, {tmp_path / 'two/b.gguf'}\n"),
        (tmp_path / "llama2c", f"and not one itself; give {tmp_path / 'llama2c/model.bin'}\n"),
        (tmp_path, f"and not one itself; give {path}\n"),
        (
            "SomeBody/SmolLM2",
            "nothing is downloaded; fetch it first, with the program hf: hf download SomeBody/SmolLM2",
        ),
    ):
        assert main(["inspect", str(given)]) == 1
        assert complaint in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["inspect"], ["convert", "a"], ["convert", "a", "b", "--to", "onnx"]])
def test_wrong_options_end_with_status_2(arguments: list[str], capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert capsys.readouterr().out == ""


def test_the_program(tmp_path: Path) -> None:
    path = make("llama2c", tmp_path)
    result = script("inspect", str(path))
    assert (result.returncode, result.stderr) == (0, "")
    assert f"vocab_size  {LLAMA2C['vocab_size']}" in result.stdout
    result = script("convert", str(path), str(tmp_path / "new"))
    assert (result.returncode, result.stdout, result.stderr) == (0, "", f"written: {tmp_path / 'new'}\n")
    result = script("inspect", "no-such-model")
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (1, "", 1)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of Unix")
def test_a_reader_that_goes_away_ends_it_quietly(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "llm.hub", "inspect", str(make("llama2c", tmp_path))]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert (process.wait(60), process.stderr.read()) == (0, b"")


@pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
def test_ctrl_c_leaves_no_half_written_folder(tmp_path: Path) -> None:
    """Stopped at any time, there is the whole folder, or none."""
    path, new = make("folder", tmp_path), tmp_path / "new"
    process = subprocess.Popen(
        [sys.executable, "-m", "llm.hub", "convert", str(path), str(new)], cwd=ROOT, stderr=subprocess.PIPE
    )
    time.sleep(0.5)  # about when it has been imported
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert not new.exists() or load(new)[0].num_parameters() == parameters_of(path)
