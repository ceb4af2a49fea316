"""train.py --from: what another model is, is kept; what contradicts it is refused; a run of its own goes on exactly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llm.hub import load, save
from llm.hub.convert import convert
from llm.hub.generation_defaults import GenerationDefaults
from llm.hub.load import open_model
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from llm.runs.checkpoints import Checkpoints
from llm.runs.load import load_model
from llm.runs.options import FROM
from llm.runs.run import Run
from llm.training import base
from llm.training.base import base_name
from llm.training.command import parse, start
from llm.training.memory import PROGRAM
from minigrad import no_grad
from tests.llm.gpts import random_gpt
from tests.llm.trainings import (
    Killed,
    assert_same_run,
    interrupt_at,
    kill,
    metrics,
    resume,
    without_pictures,
    write_sample,
    write_text,
)
from tokenizer import END_OF_TEXT, BaseTokenizer, Tokenizer

CONTEXT = 24
LLAMA = GPTConfig(
    vocab_size=300, context=CONTEXT, layers=2, heads=2, kv_heads=1, dim=8, mlp_dim=10, positions="rope", norm="rmsnorm",
    mlp="swiglu", bias=False, tied_head=False,
)  # fmt: skip
GPT2 = GPTConfig(vocab_size=300, context=CONTEXT, layers=1, heads=2, dim=8)
MIXTRAL = replace(LLAMA, experts=3, balance_loss=0.1)
KINDS = {"llama": LLAMA, "gpt2": GPT2, "mixtral": MIXTRAL}
ONE_KIND_OR_ALL = ["llama", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("gpt2", "mixtral"))]
SHORT = [
    "--batch-size", "4", "--eval-batches", "2", "--threads", "1", "--device", "cpu", "--checkpoint-every", "2",
    "--eval-every", "3", "--sample-every", "0",
]  # fmt: skip


@pytest.fixture(scope="module")
def small_tokenizer() -> BaseTokenizer:
    text = " ".join(np.random.default_rng(0).choice(["the", "a", "cat", "dog", "mat", "sat", "ran", "on"], 600))
    return Tokenizer.train([text], 280, special_tokens=[END_OF_TEXT])


@pytest.fixture(autouse=True)
def _there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIGRAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    without_pictures(monkeypatch)
    write_text(tmp_path / "text.txt")


def folder_of(kind: str, tokenizer: BaseTokenizer | None, name: str = "theirs") -> GPT:
    """A folder of Hugging Face with a random model."""
    model = random_gpt(KINDS[kind], 0, np.float32)
    save(model, tokenizer, name)
    return model


def begin(*more: str) -> int:
    return start(*parse(["--from", "theirs", "--data", "text.txt", *SHORT, *more]), write_sample)


def logits(model: GPT) -> np.ndarray:
    with no_grad():
        return model(np.arange(20)[None] * 7 % 280).data


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_begins_with_the_weights_and_the_tokenizer_of_the_model(
    kind: str, small_tokenizer: BaseTokenizer, capsys: pytest.CaptureFixture
) -> None:
    model = folder_of(kind, small_tokenizer)
    assert begin("--steps", "1", "--lr", "0", "--out", "run") == 0
    trained, tokenizer = load_model("run")
    np.testing.assert_array_equal(logits(trained), logits(model))
    assert tokenizer.encode("the cat sat") == small_tokenizer.encode("the cat sat")
    assert trained.config == model.config
    options = Run("run").options()
    assert (options.training.from_, options.training.lr, options.training.beta2) == ("theirs", 0.0, FROM.beta2)
    shown = capsys.readouterr().out
    assert "begins with the weights of theirs" in shown
    assert f"before the first step: loss {metrics(Path('run'))[0]['val_loss']:.4f}" in shown  # lr 0: nothing changes


def test_training_changes_the_weights_and_lowers_the_loss(small_tokenizer: BaseTokenizer) -> None:
    folder_of("llama", small_tokenizer)
    begin("--steps", "30", "--lr", "0.01", "--warmup", "0", "--out", "run", "--eval-every", "1")
    losses = [line["val_loss"] for line in metrics(Path("run"))]
    assert losses[-1] < losses[0] - 0.5


@pytest.mark.parametrize("kind", ONE_KIND_OR_ALL)
def test_a_killed_run_goes_on_exactly_even_if_the_model_is_gone(kind: str, small_tokenizer: BaseTokenizer) -> None:
    folder_of(kind, small_tokenizer)
    more = ["--steps", "5", "--dropout", "0.1", "--context", "16"]
    begin(*more, "--out", "expected")
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, 3, kill)
        with pytest.raises(Killed):
            begin(*more, "--out", "run")
    for path in Path("theirs").iterdir():
        path.unlink()
    resume(Path("run"))
    assert_same_run(Path("run"), Path("expected"))


@pytest.mark.parametrize("kind", ONE_KIND_OR_ALL)
def test_a_run_stopped_before_its_first_checkpoint_begins_again_with_the_weights_of_the_model(
    kind: str, small_tokenizer: BaseTokenizer
) -> None:
    folder_of(kind, small_tokenizer)
    begin("--steps", "3", "--out", "expected")
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, 1, kill)
        with pytest.raises(Killed):
            begin("--steps", "3", "--out", "run")
    assert not Run("run").checkpoints.steps()
    resume(Path("run"))
    assert_same_run(Path("run"), Path("expected"))


def test_what_ends_an_answer_and_the_chat_template_stay_with_the_model(small_tokenizer: BaseTokenizer) -> None:
    """A model for chats that was trained further still ends its answers, and can be saved for chats."""
    tokenizer = Tokenizer.train(["the cat sat"], 270, ["<|im_end|>", "<|pad|>", END_OF_TEXT])
    tokenizer.settings = {"eos_token": "<|im_end|>", "pad_token": "<|pad|>", "chat_template": "{{ messages[0].role }}"}
    save(random_gpt(LLAMA, 0, np.float32), tokenizer, "theirs")
    begin("--steps", "1", "--out", "run")
    begin("--steps", "1", "--out", "plain", "--from", "run")
    for folder in ("run", "plain"):
        source = open_model(folder)
        trained = source.load_tokenizer()
        assert trained is not None and trained.render_chat([{"role": "user", "content": "hi"}]) == "user"
        assert source.read_defaults(trained) == GenerationDefaults((0, 2), None, 1)
    convert("run", "new", "hf")
    assert GenerationDefaults.read("new") == GenerationDefaults((0, 2), None, 1)


def test_a_tokenizer_without_settings_gets_no_file_of_them(small_tokenizer: BaseTokenizer) -> None:
    small_tokenizer.save("own.json")
    folder_of("llama", None)
    begin("--steps", "1", "--out", "run", "--tokenizer", "own.json")
    assert not Path("run", "tokenizer_config.json").exists()


@pytest.mark.control
def test_a_run_that_begins_with_other_weights_is_noticed(
    small_tokenizer: BaseTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = folder_of("llama", small_tokenizer)
    monkeypatch.setattr(base, "load_weights", lambda source: random_gpt(LLAMA, 1, np.float32))
    begin("--steps", "1", "--lr", "0", "--out", "run")
    assert not np.allclose(logits(load_model("run")[0]), logits(model))


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_the_context_may_be_shorter(kind: str, small_tokenizer: BaseTokenizer) -> None:
    model = folder_of(kind, small_tokenizer)
    begin("--steps", "1", "--lr", "0", "--context", "20", "--out", "run")
    trained, _ = load_model("run")
    assert trained.config == replace(model.config, context=20)
    np.testing.assert_array_equal(logits(trained), logits(model))


def test_the_context_is_at_most_512_unless_it_is_given(
    small_tokenizer: BaseTokenizer, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = replace(LLAMA, context=2048)
    save(random_gpt(long, 0, np.float32), small_tokenizer, "theirs")
    assert parse(["--from", "theirs"])[0].model == replace(long, context=512)
    assert parse(["--from", "theirs", "--context", "2048"])[0].model == long
    with pytest.raises(ValueError, match="--context cannot be 2049: the model in theirs has 2048"):
        parse(["--from", "theirs", "--context", "2049"])


def test_a_run_that_this_machine_has_no_memory_for_says_so_before_it_begins(
    small_tokenizer: BaseTokenizer, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder_of("llama", small_tokenizer)
    begin("--steps", "1", "--out", "fits")
    assert "beware" not in capsys.readouterr().out
    monkeypatch.setattr("llm.parallel.runtime.memory", lambda: (PROGRAM, PROGRAM // 2))
    begin("--steps", "1", "--out", "run")
    shown = capsys.readouterr().out
    assert "and this machine has 100 MiB. A shorter --context or a smaller --batch-size takes less." in shown
    assert shown.index("beware") < shown.index("before the first step")


REFUSED = {
    "--layers 3": "--layers cannot be 3: the model in theirs has 2, and its shape comes from there; leave that option",
    "--context 25": "--context cannot be 25: the model in theirs has 24, and .* give a smaller one, or leave it out",
    "--vocab-size 280": "--vocab-size cannot be 280: the model in theirs has 300",
    "--experts 2": "--experts cannot be 2: the model in theirs has none",
    "--rope-layers 0": r"--rope-layers cannot be \(0,\): the model in theirs has none",
    "--bias": "--bias cannot be True: the model in theirs has False",
    "--preset tiny": "--preset tiny describes a new model, and --from theirs one that exists already; leave one",
    "--tokenizer bpe": "--tokenizer bpe is not possible: theirs has a tokenizer of its own; leave that option out",
    "--from nothing": "nothing does not exist",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_contradicts_the_model_is_refused(words: str, small_tokenizer: BaseTokenizer) -> None:
    folder_of("llama", small_tokenizer)
    with pytest.raises(ValueError, match=REFUSED[words]):
        begin(*words.split(), "--out", "run")
    assert not Path("run").exists()


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_a_model_without_a_tokenizer_needs_one(dry: list[str], small_tokenizer: BaseTokenizer) -> None:
    model = folder_of("llama", None)
    with pytest.raises(
        ValueError, match="theirs holds no tokenizer, only a model; give the one that the model was tra"
    ):
        begin("--out", "run", *dry)
    with pytest.raises(ValueError, match="--tokenizer char would learn new tokens, which the model in theirs does not"):
        begin("--out", "run", "--tokenizer", "char", *dry)
    small_tokenizer.save(Path("own.json"))
    assert begin("--out", "run", "--tokenizer", "own.json", "--steps", "1", "--lr", "0", *dry) == 0
    if not dry:
        np.testing.assert_array_equal(logits(load_model("run")[0]), logits(model))


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused() -> None:
    folder_of("gpt2", None)
    Tokenizer.train(["abc abd abe " * 9 + "".join(map(chr, range(200, 1000)))], 310).save(Path("large.json"))
    with pytest.raises(ValueError, match="the tokenizer has 310 tokens, and the model in theirs knows only 300"):
        begin("--out", "run", "--tokenizer", "large.json")


def test_a_run_of_ours_and_a_converted_one_can_be_gone_on_from(small_tokenizer: BaseTokenizer) -> None:
    folder_of("llama", small_tokenizer)
    begin("--steps", "2", "--out", "first")
    assert (
        start(
            *parse(["--from", "first", "--data", "text.txt", *SHORT, "--steps", "1", "--lr", "0", "--out", "second"]),
            write_sample,
        )
        == 0
    )
    np.testing.assert_array_equal(logits(load_model("second")[0]), logits(load_model("first")[0]))
    model, tokenizer = load("second")
    save(model, tokenizer, "third")
    np.testing.assert_array_equal(logits(load("third")[0]), logits(model))


def test_a_dry_run_says_what_the_model_needs_and_loads_no_weights(
    small_tokenizer: BaseTokenizer, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder_of("llama", small_tokenizer)
    monkeypatch.setattr(base, "load_weights", lambda source: 1 / 0)
    begin("--dry-run")
    shown = capsys.readouterr().out
    assert "300 tokens, of the model in theirs" in shown
    assert f"{random_gpt(LLAMA, 0).num_parameters():,}" in shown
    assert "memory, training" in shown
    assert not Path("runs").exists()


def test_the_weights_of_a_run_are_read_once(small_tokenizer: BaseTokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    folder_of("llama", small_tokenizer)
    begin("--steps", "1", "--out", "first")
    read: list[Path] = []
    load_checkpoint = Checkpoints.load

    def counted(self: Checkpoints, *args: Any, **options: Any) -> Any:
        read.append(self.run_folder)
        return load_checkpoint(self, *args, **options)

    monkeypatch.setattr(Checkpoints, "load", counted)
    given = ["--from", "first", "--data", "text.txt", *SHORT, "--steps", "1", "--out", "second"]
    start(*parse([*given, "--dry-run"]), write_sample)
    assert read == []
    start(*parse(given), write_sample)
    assert read == [Path("first")]


def test_a_resumed_run_keeps_its_model(small_tokenizer: BaseTokenizer) -> None:
    folder_of("llama", small_tokenizer)
    begin("--steps", "1", "--out", "run")
    with pytest.raises(ValueError, match="run was begun with --from theirs, which cannot become other"):
        resume(Path("run"), "--from", "other")
    assert resume(Path("run"), "--from", "theirs", "--steps", "2") == 0


@pytest.mark.parametrize(
    ("path", "name"),
    [("a/SmolLM2-135M", "SmolLM2-135M"), ("x.gguf", "x"), ("b/stories.bin", "stories"), ("v1.5/", "v1.5")],
)
def test_the_run_is_called_as_the_model(path: str, name: str) -> None:
    assert base_name(path) == name
