"""generate.py --model: the models of other people, with what they say about writing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import llm
from llm.hub import save
from llm.hub.generation_defaults import GenerationDefaults
from llm.inference.command import parse, start
from llm.inference.generate import generate
from llm.inference.sampling import Sampling
from llm.inference.text import decode_until_stop, end_ids_of, start_ids, stream_text, write_sample
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from tests.llm.hub_files import llama2c_bytes, llama2c_weights
from tests.llm.runs import make_run
from tests.tokenizer.helpers import every_kind, llama2c_file, pieces
from tokenizer import END_OF_TEXT, BaseTokenizer, StreamDecoder, Tokenizer, load

BYTES = Tokenizer.train(["the rain, the sea"], vocab_size=262, special_tokens=[END_OF_TEXT])
CONFIG = GPTConfig(vocab_size=262, context=64, layers=1, heads=2, dim=16)
PLAIN = ["--prompt", "the", "--max-tokens", "12", "--seed", "3"]


def write_folder(path: Path, defaults: GenerationDefaults | None = None, tokenizer: Any = BYTES) -> str:
    save(GPT(CONFIG, rng=1), tokenizer, path, defaults)
    return str(path)


def output(capsys: pytest.CaptureFixture, *arguments: str) -> str:
    assert start(parse([*arguments, "--threads", "1", "--device", "cpu"])) == 0
    return capsys.readouterr().out


def test_it_writes_what_the_library_writes(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = write_folder(tmp_path / "model")
    expected = "the" + llm.generate(*llm.load(path), "the", max_tokens=12, seed=3)
    for weights in ("widened", "stored"):
        assert output(capsys, "--model", path, *PLAIN, "--weights", weights) == f"{expected.removesuffix(chr(10))}\n"


@pytest.mark.parametrize(
    ("defaults", "expected"),
    [
        ({}, Sampling()),
        ({"temperature": 0.6, "top_p": 0.9, "do_sample": True}, Sampling(temperature=0.6, top_p=0.9)),
        ({"top_k": 64, "top_p": 0.95, "do_sample": True}, Sampling(temperature=1.0, top_k=64, top_p=0.95)),
        ({"do_sample": True}, Sampling(temperature=1.0, top_p=1.0)),
        ({"min_p": 0.15, "do_sample": True}, Sampling(temperature=1.0, top_p=1.0, min_p=0.15)),
        ({"typical_p": 0.9}, Sampling(temperature=1.0, top_p=1.0, typical_p=0.9)),
        ({"top_k": 0}, Sampling(temperature=1.0, top_p=1.0)),
        ({"repetition_penalty": 1.1}, Sampling(repetition_penalty=1.1)),
        ({"do_sample": False, "temperature": 0.6}, Sampling(temperature=0, top_p=1.0)),
    ],
)
def test_sampling_is_as_the_model_says(defaults: dict[str, Any], expected: Sampling, tmp_path: Path) -> None:
    path = write_folder(tmp_path / "model", GenerationDefaults(**defaults))
    assert parse(["--model", path]).sampling == expected


def test_what_the_user_says_comes_first(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "model", GenerationDefaults(temperature=0.6, top_k=5, top_p=0.9, do_sample=True))
    options = parse(["--model", path, "--temperature", "0.8", "--top-k", "none"])
    assert options.sampling == Sampling(temperature=0.8, top_k=None, top_p=0.9)


def test_all_ways_of_sampling_are_options_but_those_that_are_lists_of_ids(capsys: pytest.CaptureFixture) -> None:
    options = parse([
        "--min-p", "0.1", "--typical-p", "0.9",
        "--repetition-penalty", "1.1", "--frequency-penalty", "-0.5", "--presence-penalty", "0.25",
    ])  # fmt: skip
    assert options.sampling == Sampling(
        typical_p=0.9, frequency_penalty=-0.5, presence_penalty=0.25, repetition_penalty=1.1, min_p=0.1
    )
    for hidden in ("--logit-bias", "--banned-words"):
        with pytest.raises(SystemExit):
            parse([hidden, "1"])
        assert "Unrecognized options" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        parse(["--help"])
    text = capsys.readouterr().out
    assert "--typical-p" in text and "bias" not in text and "banned" not in text


def test_each_of_the_models_ends_ends_the_text(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    model, tokenizer = llm.load(write_folder(tmp_path / "one"))
    ids = list(generate(model, BYTES.encode("the"), max_tokens=12, seed=3))
    end = next(i for i in ids[1:] if i != ids[0])
    path = write_folder(tmp_path / "two", GenerationDefaults((END_ID, end)))
    expected = "the" + tokenizer.decode(ids[: ids.index(end)])
    assert output(capsys, "--model", path, *PLAIN) == expected + ("" if expected.endswith("\n") else "\n")


END_ID = BYTES.special_tokens[END_OF_TEXT]


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [["--run", "r", "--model", "m"], ["--model", "m", "--checkpoint", "best"], ["--weights", "stored"]]
)
def test_options_that_exclude_each_other(options: list[str], capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stop:
        parse(options)
    assert stop.value.code == 2
    assert "--model" in capsys.readouterr().err


def test_models_that_cannot_write(tmp_path: Path) -> None:
    without = write_folder(tmp_path / "without", tokenizer=None)
    damaged = write_folder(tmp_path / "damaged")
    Path(damaged, "generation_config.json").write_text(json.dumps({"temperature": "hot"}))
    for options, complaint in (
        (["--model", "no-such-model"], "no-such-model does not exist; give a run of train.py, a folder"),
        (["--model", without], "has no tokenizer; give the file or folder of one with --tokenizer"),
        (["--model", damaged], "generation_config.json: temperature='hot' is not possible"),
        (["--run", damaged], "config.json is not the configuration of a run, but of a model of Hugging Face; give"),
        (["--model", without, "--weights", "stored", "--device", "cuda"], "stored weights stay on the CPU"),
    ):
        with pytest.raises(ValueError, match=complaint):
            start(parse([*options, *PLAIN, *(["--tokenizer", damaged] if "cuda" in options else [])]))


def test_help_comes_before_a_model_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "generation_config.json").write_text("{")
    with pytest.raises(SystemExit) as stop:
        parse(["--model", str(tmp_path), "--help"])
    assert stop.value.code == 0


def test_a_tokenizer_may_be_given(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = write_folder(tmp_path / "without", tokenizer=None)
    BYTES.save(tmp_path / "words.json")
    found = output(capsys, "--model", path, "--tokenizer", str(tmp_path / "words.json"), *PLAIN)
    assert found == output(capsys, "--model", write_folder(tmp_path / "with"), *PLAIN)


def test_a_tokenizer_with_more_ids_than_the_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(llama2c_bytes(llama2c_weights(shared=True), version=0))
    BYTES.save(tmp_path / "words.json")
    with pytest.raises(ValueError, match="words.json has 262 ids and the model 11"):
        llm.load(tmp_path / "model.bin", tokenizer=tmp_path / "words.json")
    with pytest.raises(ValueError, match=r"model.bin has no tokenizer; give the path of one with tokenizer="):
        llm.load(tmp_path / "model.bin")


def test_a_run_may_be_given_as_a_model(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run = make_run(tmp_path / "run", BYTES)
    assert output(capsys, "--model", str(run.folder), *PLAIN) == output(capsys, "--run", str(run.folder), *PLAIN)


# --- begin and end of texts -------------------------------------------------------------------------------------------


@pytest.fixture
def sentencepiece(tmp_path: Path) -> BaseTokenizer:
    """A tokenizer of Llama: <s> before a text, and a space before its first word."""
    (tmp_path / "tok.bin").write_bytes(llama2c_file(pieces()))
    return load(tmp_path / "tok.bin")


def test_a_prompt_begins_with_the_token_that_the_model_expects(sentencepiece: BaseTokenizer) -> None:
    assert start_ids(sentencepiece) == [1]
    model = GPT(GPTConfig(vocab_size=sentencepiece.vocab_size, context=32, layers=1, heads=1, dim=8), rng=0)
    found = list(stream_text(model, sentencepiece, "the", max_tokens=5, seed=2))
    ids = [1, *sentencepiece.encode_ordinary("the")]
    expected = list(generate(model, ids, max_tokens=5, seed=2, stop_ids=[2]))
    decoder = StreamDecoder(sentencepiece, mid_text=True)
    assert "".join(found) == decoder.feed(expected) + decoder.finish()


def test_the_space_after_a_prompt_is_written(sentencepiece: BaseTokenizer) -> None:
    prompt, rest = "the", " cat the"
    ids = sentencepiece.encode_ordinary(prompt + rest)[len(sentencepiece.encode_ordinary(prompt)) :]
    assert "".join(decode_until_stop(ids, sentencepiece, mid_text=True)) == rest
    assert "".join(decode_until_stop(ids, sentencepiece)) == rest[1:]  # the beginning of a text


def test_a_sample_in_training_continues_its_prompt(
    sentencepiece: BaseTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the space that SentencePiece leaves out at the beginning of a text."""
    model = GPT(GPTConfig(vocab_size=sentencepiece.vocab_size, context=32, layers=1, heads=1, dim=8), rng=0)
    ids = sentencepiece.encode_ordinary("the cat the")[len(sentencepiece.encode_ordinary("the")) :]
    monkeypatch.setattr("llm.inference.text.continue_prompt", lambda *arguments, **options: iter(ids))
    assert write_sample(model, sentencepiece, "the", seed=0) == " cat the"
    assert write_sample(model, sentencepiece, "", seed=0) == "cat the"


def test_the_end_of_an_answer_ends_the_text_too() -> None:
    tokenizer = Tokenizer.train(["the"], vocab_size=260, special_tokens=[END_OF_TEXT, "<|im_end|>"])
    assert end_ids_of(tokenizer) == {tokenizer.special_tokens[END_OF_TEXT]}
    tokenizer.settings["eos_token"] = "<|im_end|>"
    assert end_ids_of(tokenizer) == set(tokenizer.special_tokens.values())


def test_tokens_before_a_text_are_those_of_the_template() -> None:
    for tokenizer in every_kind().values():
        ids, filled = tokenizer.encode_ordinary("the"), tokenizer.encode("the", add_special_tokens=True)
        begin = tokenizer.template.begin_ids()
        assert filled[: len(begin) + len(ids)] == begin + ids
