"""generate.py shows what happens inside the model, keeps to a pattern, and takes guesses; and what it refuses."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

import llm
from llm.hub import save
from llm.inference.command import parse, start
from llm.inference.inspection import logit_lens
from llm.inference.logprobs import log_probabilities
from llm.inference.sampling import Sampling
from llm.inference.terminal import lens_tables
from llm.inference.terminal.attention_picture import draw_square, name_heads_and_layers, name_tokens, smaller
from llm.inference.terminal.lens_tables import LABEL, Column, blocks
from llm.inference.terminal.streams import TokenCounter
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from minigrad import no_grad
from tokenizer import END_OF_TEXT, BaseTokenizer, Tokenizer

BYTES = Tokenizer.train(["the rain, the sea"], vocab_size=262, special_tokens=[END_OF_TEXT])
GREEDY = Sampling(temperature=0)
QUOTED = r'"(?:[^"\\]|\\.)*"'
ROW = re.compile(r' *([\d.]+)%  (".*?(?<!\\)") .*')


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_model(tmp_path_factory.mktemp("model") / "m", BYTES)


def make_model(path: Path, tokenizer: BaseTokenizer, seed: int = 1) -> str:
    config = GPTConfig(vocab_size=tokenizer.vocab_size, context=64, layers=2, heads=2, dim=16)
    save(GPT(config, rng=seed), tokenizer, path)
    return str(path)


def output(capsys: pytest.CaptureFixture, model: str, *options: str, prompt: str = "the") -> str:
    fixed = ["--model", model, "--threads", "1", "--device", "cpu", "--temperature", "0", "--seed", "1"]
    assert start(parse([*fixed, "--prompt", prompt, *options])) == 0
    return capsys.readouterr().out


def test_the_table_has_each_token_with_its_probability(model: str, capsys: pytest.CaptureFixture) -> None:
    plain = output(capsys, model, "--max-tokens", "9")
    header, *lines = output(capsys, model, "--max-tokens", "9", "--show-probs").splitlines()
    assert header.startswith("probability") and len(lines) == 9
    gpt, ids = llm.load(model)[0], BYTES.encode("the")
    for line in lines:
        row = ROW.fullmatch(line)
        assert row
        with no_grad():
            logits = gpt(np.array([ids])).data[0, -1]
        ids.append(int(logits.argmax()))
        p = np.exp(log_probabilities(logits).max())
        # Written with one digit after the point, of logits that another order of sums may change in the last digits.
        assert abs(float(row[1]) - 100 * p) <= 0.0501
        assert json.loads(row[2]) == BYTES.decode_bytes(ids[-1:]).decode("utf-8", "backslashreplace")
    assert BYTES.decode(ids).removesuffix("\n") + "\n" == plain


def test_the_lens_has_a_line_for_each_layer_and_ends_with_the_answer(model: str, capsys: pytest.CaptureFixture) -> None:
    lines = output(capsys, model, "--max-tokens", "1", "--logit-lens").splitlines()
    assert [line.split("  ")[0] for line in lines[1:4]] == ["embedding", "layer 0", "layer 1"]
    rows = logit_lens(llm.load(model)[0], BYTES.encode("the"))
    for line, row in zip(lines[1:4], rows, strict=True):
        best = int(row.argmax())
        text = json.dumps(BYTES.decode_bytes([best]).decode("utf-8", "backslashreplace"), ensure_ascii=False)
        assert line[10:].startswith(f"  {text} {np.exp(log_probabilities(row)[best]):.1%}")


@pytest.mark.parametrize("length", [2, 5, 40])
def test_the_lens_of_tokens_has_what_each_layer_would_say(
    model: str, length: int, capsys: pytest.CaptureFixture
) -> None:
    prompt = "the rain, the sea; the sea, the rain"[:length] if length < 40 else "?" * length
    gpt, ids = llm.load(model)[0], BYTES.encode(prompt)
    _, _, table = output(capsys, model, "--max-tokens", "1", "--logit-lens", prompt=prompt).partition("of the prompt\n")
    head, *lines = table.splitlines()[:4]
    assert [json.loads(each) for each in re.findall(QUOTED, head)] == texts_of(ids[-32:])
    streams = np.stack([logit_lens(gpt, ids, position) for position in range(len(ids))])[-32:]  # (T, layers + 1, V)
    for row, line in enumerate(lines):
        assert line.startswith("embedding" if row == 0 else f"layer {row - 1}")
        assert [json.loads(each) for each in re.findall(QUOTED, line)] == texts_of(streams[:, row].argmax(axis=1))


def texts_of(ids: Iterable[int]) -> list[str]:
    return [BYTES.decode_bytes([int(id)]).decode("utf-8", "backslashreplace") for id in ids]


def test_columns_are_as_many_as_the_terminal_has_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = [Column('"a"' + "a" * (n % 7), [('"b"', 0.5)]) for n in range(30)]
    assert list(blocks(columns)) == [columns]
    monkeypatch.setattr(lens_tables, "at_terminal", lambda: True)
    for width in (10, 40, 80):
        monkeypatch.setenv("COLUMNS", str(width))
        shown = list(blocks(columns))
        assert sum(shown, []) == columns
        assert all(len(each) == 1 or LABEL + sum(column.width for column in each) <= width for each in shown)
        first = [LABEL + sum(column.width for column in [*each, after[0]]) for each, after in pairwise(shown)]
        assert all(each > width for each in first), "the next column had no room"


def test_the_picture_names_heads_layers_and_tokens() -> None:
    axes = Figure().subplots(2, 3)
    for axis in axes.flat:
        draw_square(axis, np.tril(np.random.default_rng(0).random((300, 300))))
    name_heads_and_layers(axes)
    name_tokens(axes, [f'"${n} and much more"' for n in range(300)])
    assert [axis.get_title() for axis in axes[0]] == ["head 0", "head 1", "head 2"]
    assert [axis.get_ylabel() for axis in axes[:, 0]] == ["layer 0", "layer 1"]
    for labels in (axes[0, 0].get_yticklabels(), axes[1, 2].get_xticklabels()):
        shown = [label.get_text() for label in labels]
        assert shown[:2] == ['"\\$0 and muc…', '"\\$15 and mu…'] and len(shown) == 20
    assert not axes[0, 1].get_xticklabels() and not axes[0, 1].get_yticklabels()
    assert axes[0, 0].get_xlim() == (-0.5, 299.5) and axes[0, 0].get_ylim() == (299.5, -0.5)


def test_the_speed_is_that_of_writing() -> None:
    counter = TokenCounter()
    counter.count(0, 0.2, is_reading=True)
    counter.count(1, 0.3, is_reading=True)
    for _ in range(9):
        counter.count(1, 0.5, is_reading=False)
    assert str(counter) == "10 tokens in 5.00 s, 2 tokens/s"
    counter.count(0, 9, is_reading=True)
    assert str(counter) == "10 tokens in 4.50 s, 2 tokens/s, after 9.5 s of reading"
    counter = TokenCounter(with_draft=True)
    counter.count(1, 0.5, is_reading=True)
    counter.count(4, 0.5, is_reading=False)
    assert str(counter) == "5 tokens in 1.00 s, 5 tokens/s, 2.5 tokens in each step"


@pytest.mark.parametrize("suffix", [".png", ".svg", ".PDF"])
def test_attention_is_drawn(model: str, suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / f"picture{suffix}"
    output(capsys, model, "--max-tokens", "70", "--attention", str(path))  # longer than the context
    begin = {".png": b"\x89PNG", ".svg": b"<?xml", ".PDF": b"%PDF"}[suffix]
    assert path.read_bytes().startswith(begin)
    assert os.listdir(tmp_path) == [path.name]


def test_a_picture_of_a_long_text_keeps_the_largest_weights() -> None:
    square = np.random.default_rng(0).random((300, 300))
    small = smaller(square)
    assert small.shape == (100, 100)
    np.testing.assert_array_equal(small[7, 9], square[21:24, 27:30].max())
    np.testing.assert_array_equal(smaller(square[:128, :128]), square[:128, :128])


def test_what_is_written_matches(model: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert re.fullmatch(r"the[0-9]{3}-[ab]+\n", output(capsys, model, "--regex", "[0-9]{3}-[ab]{2,4}"))
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps({"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"]}))
    out = output(capsys, model, "--schema", str(schema), prompt="")
    assert json.loads(out)["a"] in (1, 2)
    assert start(parse(["--model", model, "--prompt", "x", "--regex", "[0-9]{9}", "--max-tokens", "3"])) == 0
    assert "the text does not match yet: it was cut off after --max-tokens 3" in capsys.readouterr().err


def test_guesses_change_nothing(model: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    smaller = make_model(tmp_path / "smaller", BYTES, seed=2)
    plain = output(capsys, model, "--max-tokens", "30", "--temperature", "0.9", "--num-samples", "2")
    for draft in ("prompt", smaller):
        options = ("--max-tokens", "30", "--temperature", "0.9", "--num-samples", "2", "--draft", draft)
        assert output(capsys, model, *options) == plain


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--chat", "--prompt", "x"], "--chat and --prompt do not go together"),
        (["--chat", "--logit-lens"], "--chat and --logit-lens"),
        (["--chat", "--num-samples", "2"], "--chat and --num-samples"),
        (["--serve", "--chat"], "--serve and --chat"),
        (["--serve", "--draft", "prompt"], "--serve and --draft"),
        (["--serve", "--max-tokens", "20"], "--serve and --max-tokens"),
        (["--num-samples", "2", "--attention", "a.png"], "--num-samples and --attention"),
        (["--regex", "a", "--schema", "s.json"], "give one of the two"),
        (["--system", "be kind"], "--system is for --chat"),
        (["--attention", "picture.txt"], ".png, .pdf or .svg"),
        (["--attention", "no/folder/a.png"], "there is no folder"),
        (["--stop", "a", "--stop", ""], "--stop must have at least one character"),
    ],
)
def test_what_does_not_go_together_is_refused(
    options: list[str], message: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    with pytest.raises(SystemExit) as stop:
        parse(options)
    assert stop.value.code == 2
    assert message in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_what_cannot_be_used_is_said_in_one_sentence(model: str, tmp_path: Path) -> None:
    others = make_model(tmp_path / "others", Tokenizer.train(["a sea of rain"], 262, [END_OF_TEXT]))
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "deep.json").write_text('{"items":' * 100_000 + "{}" + "}" * 100_000)
    (tmp_path / "odd.json").write_text('{"type": "colour"}')
    for options, message in (
        (["--draft", others], "has another vocabulary than"),
        (["--draft", str(tmp_path / "nothing")], "does not exist"),
        (["--regex", "("], r"cannot be used here"),
        (["--regex", r"(a)\1"], r"the pattern '\(a\)\\1' cannot be used here"),
        (["--schema", str(tmp_path / "bad.json")], "is not JSON"),
        (["--schema", str(tmp_path / "deep.json")], "nested too deeply"),
        (["--schema", str(tmp_path / "odd.json")], "colour"),
    ):
        with pytest.raises(ValueError, match=message):
            start(parse(["--model", model, "--prompt", "a", *options]))
    with pytest.raises(OSError, match="nothing"):
        start(parse(["--model", model, "--prompt", "a", "--schema", str(tmp_path / "nothing")]))


def test_an_answer_in_a_chat_may_be_longer() -> None:
    assert (parse([]).max_tokens, parse(["--chat"]).max_tokens) == (200, 1000)
    assert parse(["--chat", "--max-tokens", "7"]).max_tokens == 7
