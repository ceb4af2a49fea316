"""`python -m llm.tuning show`: the learned tokens of a file of examples, marked and counted."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from hypothesis import given

from llm.inference.terminal import streams
from llm.tuning.chat import show as show_module
from llm.tuning.chat.conversation import Encoder
from llm.tuning.chat.show import pieces
from llm.tuning.command import main
from tests.llm.conversations import FAMILIES, chats, conversation, tokenizer_with

pytest.importorskip("jinja2")
Q, A = {"role": "user", "content": "is it a"}, {"role": "assistant", "content": "the answer"}


def write(path: Path, *records: dict) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A tokenizer alone, with a chat template."""
    tokenizer_with(FAMILIES["chatml"].template, eos_token="<|im_end|>").save(tmp_path / "model")
    return tmp_path / "model"


def test_learned_tokens_are_marked_and_counted(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "x.jsonl", {"messages": [Q, A, Q, A]}, {"prompt": "is it", "completion": " a"})
    assert main(["show", str(file), "--model", str(model)]) == 0
    tokenizer = tokenizer_with(FAMILIES["chatml"].template)
    answer = len(tokenizer.encode("the answer<|im_end|>", allowed_special="all"))
    turn = "<|im_start|>user\nis it a<|im_end|>\n<|im_start|>assistant\n{+the answer<|im_end|>+}\n"
    whole = len(tokenizer.encode(2 * turn.replace("{+", "").replace("+}", ""), allowed_special="all"))
    text = len(tokenizer.encode("is it a")) + 1
    assert capsys.readouterr().out == (
        f"--- {file}, line 1: {2 * answer} of {whole} tokens learned; the end of the turn is learned in 2 of 2 turns\n"
        f"{turn}{turn}"
        f"--- {file}, line 2: 2 of {text} tokens learned; the end of the turn is learned\n"
        "is it{+ a<|im_end|>+}\n"
        f"--- 2 examples in {file}: {2 * answer + 2} of {whole + text} tokens learned; "
        "the end of the turn is learned in 3 of 3 turns\n"
    )


def test_both_answers_of_a_preference_are_shown(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "x.jsonl", *[{"prompt": [Q], "chosen": [A], "rejected": "a"}] * 3)
    assert main(["show", str(file), "--model", str(model), "--rows", "1"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("{+") == 2 and "{+the answer<|im_end|>+}" in shown and "{+a<|im_end|>+}" in shown
    assert "line 1, chosen: " in shown and "line 1, rejected: " in shown and "--- 3 examples in" in shown


def test_colour_is_for_terminals(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    file = write(tmp_path / "x.jsonl", {"messages": [Q, {"role": "assistant", "content": "a\x1b[2Jb\nc"}]})
    screen = Terminal()
    monkeypatch.setattr(streams.sys, "stdout", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert main(["show", str(file), "--model", str(model)]) == 0
    # What a message contains is not obeyed by the terminal.
    green = f"\x1b[{show_module.LEARNED}m"
    assert f"{green}a\\x1b[2Jb\x1b[0m\n{green}c<|im_end|>\x1b[0m\n" in screen.getvalue()
    assert "{+" not in screen.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    screen.seek(0)
    screen.truncate()
    assert main(["show", str(file), "--model", str(model)]) == 0
    assert "\x1b" not in screen.getvalue() and "{+" in screen.getvalue()


def test_data_of_which_nothing_would_be_learned_is_refused(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "x.jsonl", {"messages": [Q, A | {"weight": 0}]})
    assert main(["show", str(file), "--model", str(model)]) == 1
    assert f"nothing would be learned from {file}: no token belongs to an answer" in capsys.readouterr().err


def test_without_a_chat_template_it_is_chatml(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokenizer_with().save(tmp_path / "model")
    file = write(tmp_path / "x.jsonl", {"messages": [Q, A]})
    assert main(["show", str(file), "--model", str(tmp_path / "model")]) == 0
    captured = capsys.readouterr()
    assert "{+the answer<|im_end|>+}" in captured.out and "has no chat template" in captured.err


@pytest.mark.parametrize(
    ("records", "message"),
    [([{"text": "a", "label": 1}], "line 1: found the keys 'text', 'label'"), ([], "holds no examples")],
)
def test_errors_are_sentences(
    records: list[dict], message: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "x.jsonl", *records)
    assert main(["show", str(file), "--model", str(model)]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert main(["show", str(file), "--model", str(tmp_path / "none")]) == 1
    assert "none" in capsys.readouterr().err


@given(chats())
def test_pieces_are_the_text(messages: list[dict]) -> None:
    encoded = Encoder(tokenizer_with(FAMILIES["chatml"].template))(conversation(messages))
    parts = list(pieces(encoded))
    assert "".join(text for text, _ in parts) == encoded.text
    assert [learned for _, learned in parts] == [number % 2 == 1 for number in range(len(parts))]
