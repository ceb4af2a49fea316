"""train.py with adapters and --freeze: what is trained, what checkpoints hold, and what opens the run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from llm import hub
from llm.hub.convert import convert
from llm.hub.errors import HubError
from llm.inference.model_choice import load_run
from llm.model.adapters.attach import AdaptedGPT, adapter_off
from llm.model.config import GPTConfig
from llm.model.frozen import check_trainable, freeze
from llm.model.gpt import GPT
from llm.runs.errors import RunError
from llm.runs.load import load_model
from llm.runs.options import Options
from llm.runs.run import Run
from llm.runs.tuning_options import TuningOptions
from llm.training.command import parse, start
from minigrad import no_grad
from tests.llm.trainings import (
    Killed,
    assert_same_run,
    interrupt_at,
    kill,
    metrics,
    own_cache,
    resume,
    train,
    without_pictures,
    write_sample,
    write_text,
)

KINDS = {
    "lora": ["--lora-rank", "2", "--lora-dropout", "0.1"],
    "dora": ["--lora-rank", "2", "--dora", "--lora-targets", "qkv,mlp.down"],
    "embedding": ["--lora-rank", "2", "--rslora", "--lora-targets", "embedding,head"],
    "prefix": ["--prefix-tokens", "2"],
    "prompt": ["--prompt-tokens", "2"],
}
SHORT = [
    "--batch-size", "4", "--eval-batches", "2", "--threads", "2", "--device", "cpu", "--checkpoint-every", "2",
    "--eval-every", "3", "--sample-every", "0", "--steps", "5", "--warmup", "0",
]  # fmt: skip
kinds = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text, and a run to begin with."""
    folder = tmp_path_factory.mktemp("base")
    with own_cache(folder):
        write_text(folder / "text.txt")
        train(folder / "base", "--steps", "2", "--eval-every", "2", "--sample-every", "0", "--context", "16")
    return folder


@pytest.fixture(autouse=True)
def _there(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIGRAD_CACHE", str(folder / "cache"))
    monkeypatch.chdir(tmp_path)
    without_pictures(monkeypatch)
    shutil.copy(folder / "text.txt", tmp_path)
    shutil.copytree(folder / "base", tmp_path / "base")


def begin(out: str, *more: str, base: str = "base") -> int:
    return start(*parse(["--from", base, "--data", "text.txt", *SHORT, "--out", out, *more]), write_sample)


def logits(model: GPT) -> np.ndarray:
    with no_grad():
        return model(np.arange(8)[None]).data


@kinds
def test_only_the_adapter_is_trained_and_kept(kind: str) -> None:
    begin("run", *KINDS[kind], "--lr", "0.1")
    model, tokenizer = hub.load("run")
    base, _ = load_model("base")
    assert isinstance(model, AdaptedGPT) and tokenizer is not None
    assert not np.allclose(logits(model), logits(base), atol=1e-3)
    with adapter_off(model):
        np.testing.assert_array_equal(logits(model), logits(base))
    trained = dict(model.named_trainable())
    assert load_file("run/model.safetensors").keys() == trained.keys()
    moments = {name.split(".", 1)[1] for name in load_file("run/optimizer.safetensors") if name != "lr"}
    assert moments == trained.keys()
    losses = [line["val_loss"] for line in metrics(Path("run"))]
    assert losses[-1] is not None


@kinds
def test_what_opens_a_run_opens_it_with_its_adapter(kind: str) -> None:
    begin("run", *KINDS[kind], "--lr", "0.1")
    model, _ = hub.load("run")
    for found in (load_run(Run("run"), "last", "cpu").model, load_run(Run("run"), "best", "cpu").model):
        assert isinstance(found, AdaptedGPT)
    np.testing.assert_array_equal(logits(load_run(Run("run"), "last", "cpu").model), logits(model))
    if kind in ("prefix", "prompt"):
        with pytest.raises(ValueError, match="run cannot be a plain model: a prefix or a prompt cannot be merged"):
            convert("run", "folder.gguf")
    else:
        begin("next", "--steps", "1", "--lr", "0", base="run")
        np.testing.assert_allclose(logits(load_model("next")[0]), logits(model), atol=1e-5)  # float32, other order


@kinds
def test_a_killed_run_goes_on_exactly_also_from_another_folder(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = [*KINDS[kind], "--threads", str(1 + len(kind) % 2)]
    begin("expected", *more)
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, 3, kill)
        with pytest.raises(Killed):
            begin("run", *more, "--data", str(tmp_path / "text.txt"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    resume(tmp_path / "run")
    assert_same_run(tmp_path / "run", tmp_path / "expected")


def test_a_run_whose_base_is_gone_or_has_changed_says_so() -> None:
    begin("run", *KINDS["lora"])
    assert Run("run").options().training.from_ == str(Path("base").resolve())
    before = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    Path("base").rename("moved")
    with pytest.raises(ValueError, match=r"adapter of the model at .*base, which is not there any more; put it"):
        hub.load("run")
    with pytest.raises(RunError, match="which is not there any more"):
        resume(Path("run"), "--steps", "9")
    assert before == {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    resume(Path("run"), "--from", "moved")
    hub.load("run")
    resume(Path("moved"), "--steps", "3")
    with pytest.raises(ValueError, match="its weights are not those that the adapter was trained with; put them"):
        hub.load("run")
    change_config(lambda config: config.pop("base"))
    with pytest.raises(ValueError, match="does not say which model its adapter belongs to"):
        hub.load("run")


def change_config(change: Callable[[dict[str, Any]], object]) -> None:
    """As a user does it who edits the file."""
    config = json.loads(Path("run/config.json").read_text())
    change(config)
    del config["sha256"]
    Path("run/config.json").write_text(json.dumps(config))


def test_the_weights_of_another_adapter_are_refused() -> None:
    begin("run", *KINDS["lora"])
    written = Path("run/config.json").read_text()
    for name, value in (("lora_rank", 3), ("lora_targets", "qkv")):
        change_config(lambda config, name=name, value=value: config["tuning"].update({name: value}))
        with pytest.raises(ValueError, match=r"is of another model than run/config\.json describes"):
            hub.load("run")
        Path("run/config.json").write_text(written)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("tuning",), [1]), (("tuning",), 3), (("tuning", "lora_rank"), 10**400), (("tuning", "lora_rank"), -1),
        (("tuning", "lora_alpha"), "x"), (("tuning", "lora_targets"), None), (("base",), 3), (("base",), "0" * 64),
        (("task",), 3), (("task",), {"classes": 3}), (("task",), {"classes": ["a", "a"]}), (("model", "layers"), 10**9),
        (("model", "vocab_size"), 10**9), (("model", "context"), 10**6), (("model", "dim"), 16),
        (("training", "from_"), None), (("training", "from_"), "text.txt"),
    ],
    ids=str,
)  # fmt: skip
def test_a_damaged_description_is_refused_in_a_sentence(place: tuple[str, ...], value: Any) -> None:
    begin("run", *KINDS["lora"], "--steps", "1")

    def change(config: dict[str, Any]) -> None:
        *parents, last = place
        for parent in parents:
            config = config[parent]
        config[last] = value

    change_config(change)
    for use in (lambda: hub.load("run"), lambda: load_run(Run("run"), "last", "cpu")):
        with pytest.raises((ValueError, OSError)):
            use()


# --- --freeze ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("parts", "threads"), [("1", "2"), ("embedding", "1"), ("*.mlp, norm", "2")])
def test_what_is_frozen_stays_as_it_is_and_the_rest_is_trained(parts: str, threads: str) -> None:
    begin("run", "--freeze", parts, "--lr", "0.1", "--threads", threads)
    base, (model, _) = load_model("base")[0], hub.load("run")
    freeze(base, parts)
    frozen = {name for name, p in base.named_parameters() if not p.requires_grad}
    before, after = base.state_dict(), model.state_dict()
    assert {name for name in before if np.array_equal(before[name], after[name])} == frozen
    assert after.keys() == before.keys() and load_file("run/model.safetensors").keys() == before.keys()


@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_killed_run_with_frozen_parts_goes_on_exactly(threads: str) -> None:
    """Processes get their copies of frozen weights when they begin."""
    more = ["--freeze", "embedding", "--threads", threads]
    begin("expected", *more)
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, 3, kill)
        with pytest.raises(Killed):
            begin("run", *more)
    resume(Path("run"))
    assert_same_run(Path("run"), Path("expected"))


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--freeze", "9"], "--freeze 9 is not possible: the model has 1 block"),
        (["--freeze", "heads"], "--freeze heads fits no part of the model; its parts are embedding, norm, blocks.0"),
        (["--freeze", "*"], "--freeze leaves nothing to train; freeze less"),
        (
            ["--freeze", "1", "--lora-rank", "2"],
            "--freeze is not needed with adapters, which freeze the weights of the model already; leave it",
        ),
        (["--lora-rank", "2", "--prefix-tokens", "2"], "a model has one adapter"),
        (["--lora-rank", "2", "--lora-targets", "nothing"], "no matrix of the model fits the target 'nothing'"),
        (["--lora-rank", "0"], "--lora-rank must be at least 1, got 0"),
        (["--prompt-tokens", "99"], "a model with a context of 16 cannot have 99 virtual tokens"),
    ],
)
def test_what_is_not_possible_is_refused_and_leaves_nothing(
    more: list[str], sentence: str, capsys: pytest.CaptureFixture
) -> None:
    for dry in ([], ["--dry-run"]) if more != ["--freeze", "*"] else [[]]:
        try:
            begin("run", *more, *dry)
            pytest.fail("not refused")
        except ValueError as error:
            said = str(error)
        except SystemExit:
            said = " ".join(capsys.readouterr().err.replace("│", " ").split())
        assert sentence in said
        assert not Path("run").exists()


def test_a_run_in_place_of_a_folder_of_peft_is_told_how_it_is_opened() -> None:
    begin("run", "--lora-rank", "2")
    with pytest.raises(HubError, match="run is a run, which is opened without .*: generate.py --run run; a folder"):
        hub.load("base", adapter="run")
    with pytest.raises(HubError, match="nothing is no folder; give that of an adapter"):
        hub.load("base", adapter="nothing")


def test_a_resumed_run_with_all_weights_gets_no_adapter() -> None:
    begin("run")
    with pytest.raises(RunError, match="begun with --lora-rank None, which cannot become 2"):
        resume(Path("run"), "--lora-rank", "2")


def test_virtual_tokens_leave_room_for_a_text() -> None:
    options = Options(model=GPTConfig(vocab_size=9, context=16), tuning=TuningOptions(prefix_tokens=16))
    with pytest.raises(ValueError, match="a model with a context of 16 cannot have 16 virtual tokens"):
        _ = options.context


def test_a_model_of_which_all_is_frozen_cannot_be_trained() -> None:
    model: Any = load_model("base")[0]
    check_trainable(model)
    model.requires_grad_(False)
    with pytest.raises(ValueError, match="leaves nothing to train"):
        check_trainable(model)
