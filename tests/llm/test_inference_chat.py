"""generate.py --chat as a person uses it, at a terminal and with pipes; and what the model reads in a long chat."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import llm
from llm.hub import save
from llm.inference.chat_prompt import chat_ids
from llm.inference.command import start
from llm.inference.engine.engine import Engine, Reading
from llm.inference.engine.requests import Generation
from llm.inference.generate import generate
from llm.inference.model_choice import load_other
from llm.inference.options import parse
from llm.inference.sampling import Sampling
from llm.inference.terminal.chat import Chat
from llm.inference.terminal.conversation import ContinuedText, Messages, TooLong
from llm.inference.terminal.text_writer import TextWriter
from llm.model.config import GPTConfig
from llm.model.gpt import GPT
from tests.llm.smollm2 import smollm2_path
from tests.llm.terminals import CTRL_C, CTRL_D, Terminal
from tokenizer import BaseTokenizer, Tokenizer

pytest.importorskip("jinja2")
SCRIPT = Path(__file__).parents[2] / "generate.py"
TEMPLATE = (
    "{% for m in messages %}<|start|>{{ m.role }} {{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant {% endif %}"
)
ESCAPE = "\x1b"


def make_tokenizer(template: str | None = TEMPLATE) -> BaseTokenizer:
    tokenizer = Tokenizer.train(["the rain, the sea"], vocab_size=262, special_tokens=["<|start|>", "<|end|>"])
    tokenizer.settings = {"eos_token": "<|end|>"} | ({"chat_template": template} if template else {})
    return tokenizer


def make_model(folder: Path, context: int = 128, template: str | None = TEMPLATE) -> str:
    """A model that with --temperature 0 writes text without end: the logit of special tokens is always 0."""
    tokenizer = make_tokenizer(template)
    model = GPT(GPTConfig(vocab_size=262, context=context, layers=1, heads=2, dim=16, positions="rope"), rng=1)
    model.embedding.weight.data[list(tokenizer.special_tokens.values())] = 0
    save(model, tokenizer, folder)
    return str(folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_model(tmp_path_factory.mktemp("model") / "chat")


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_model(tmp_path_factory.mktemp("model") / "endless", context=100_000)


def command(model: str, *options: str) -> list[str]:
    fixed = ["--model", model, "--threads", "1", "--temperature", "0", "--seed", "1", "--chat"]
    return [sys.executable, str(SCRIPT), *fixed, *options]


@pytest.fixture
def piped(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path) -> Callable[..., Any]:
    """A function that runs generate.py with lines on standard input: exit status, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def run(model: str, *options: str, stdin: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        status = start(parse([*command(model, *options)[2:], "--device", "cpu"]))
        return status, *capsys.readouterr()

    return run


# --- without a terminal -----------------------------------------------------------------------------------------------


def test_each_line_of_a_pipe_is_a_message(piped: Any, model: str, tmp_path: Path) -> None:
    lines = (
        "hi é\n\n/save one.json\n/reset\nho\n /x\n/save two.json\n/save two.json\n/save\n/nothing\n/quit\nnot read\n"
    )
    status, out, err = piped(model, "--system", "be kind", "--max-tokens", "4", stdin=lines)
    assert (status, ESCAPE in out, "Traceback" in err) == (0, False, False)
    one, two = (json.loads((tmp_path / name).read_text("utf-8")) for name in ("one.json", "two.json"))
    assert [m["role"] for m in one] == ["system", "user", "assistant"]
    assert [m["role"] for m in two] == ["system", "user", "assistant", "user", "assistant"]
    assert (one[0]["content"], one[1]["content"]) == ("be kind", "hi é")
    assert (two[1]["content"], two[3]["content"]) == ("ho", "/x")  # after /reset; a space makes / a message
    assert out == "".join(m["content"].removesuffix("\n") + "\n" for m in [one[2], two[2], two[4]])
    assert err.count("saved the conversation in two.json") == 2  # what this chat has written may be written again
    assert "/save needs the name of a file" in err and "there is no command /nothing" in err


def test_ctrl_c_in_the_instant_before_an_answer_does_not_leave(monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    options = parse([*command(model)[2:], "--device", "cpu"])
    loaded = load_other(model, None, "widened", "cpu")
    chat, lines, handled = Chat(loaded, TextWriter(loaded, options), seed=1), iter(["one", "two", "/quit"]), []

    def handle(line: str) -> bool:
        handled.append(line)
        if line == "one":
            raise KeyboardInterrupt  # the chat has the line, and does not listen for Ctrl-C yet
        return obeyed(line)

    obeyed, chat.handle = chat.handle, handle  # type: ignore[method-assign]
    chat.answer = lambda message: False  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("llm.inference.terminal.chat.read_line", lambda: next(lines))
    assert chat.run() == 0
    assert handled == ["one", "two", "/quit"]


def test_the_answers_are_those_of_the_model(piped: Any, model: str) -> None:
    tokenizer = make_tokenizer()
    ids = chat_ids(tokenizer, [{"role": "user", "content": "hi"}])
    written = list(generate(llm.load(model)[0], ids, max_tokens=9, sampling=Sampling(temperature=0)))
    status, out, _ = piped(model, "--max-tokens", "9", stdin="hi\n")
    assert (status, out) == (0, tokenizer.decode(written).removesuffix("\n") + "\n")
    for option in (["--draft", "prompt"], ["--draft", model]):  # guesses change nothing
        assert piped(model, "--max-tokens", "9", *option, stdin="hi\n")[:2] == (0, out)


def test_a_file_of_somebody_else_is_not_overwritten(piped: Any, model: str, tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    status, _, err = piped(model, stdin="/save notes\n/save no/folder\n")
    assert (status, (tmp_path / "notes").read_text()) == (0, "mine")
    assert "notes exists already; give another name" in err and "there is no folder" in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a file that is always full")
def test_answers_that_cannot_be_written_end_the_chat_with_an_error(model: str) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command(model, "--max-tokens", "9"), input="hi\nho\n", stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1
    assert done.stderr.count("could not be written to standard output") == 1 and "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder in which no file can be made")
def test_a_chat_goes_on_if_it_cannot_be_saved(piped: Any, model: str) -> None:
    status, out, err = piped(model, "--max-tokens", "3", stdin="/save /proc/chat.json\nhi\n")
    assert status == 0 and out and "/proc/chat.json cannot be written" in err


def test_a_long_chat_goes_on_and_says_what_is_left_out(piped: Any, model: str) -> None:
    status, out, err = piped(model, "--max-tokens", "20", stdin="hello there\n" * 6 + "x" * 500 + "\nhello\n")
    assert status == 0 and len(out.splitlines()) >= 7
    assert "the context is full: the model no longer sees the oldest" in err
    assert "tokens and the context is 128; shorten it" in err


def test_a_model_without_a_template_continues_the_text(piped: Any, tmp_path: Path) -> None:
    path = make_model(tmp_path / "plain", template=None)
    status, out, err = piped(path, "--max-tokens", "5", stdin="the rain\nthe sea\n")
    assert status == 0 and out
    assert "has no chat template, so it does not answer, but continues what you write" in err
    with pytest.raises(ValueError, match="so it knows no --system message; leave it out"):
        piped(path, "--system", "x", stdin="hi\n")


def test_a_message_that_the_template_refuses_does_not_end_the_chat(piped: Any, tmp_path: Path) -> None:
    template = "{% if 'no' in messages[-1].content %}{{ raise_exception('not so') }}{% endif %}" + TEMPLATE
    path = make_model(tmp_path / "strict", template=template)
    status, out, err = piped(path, "--max-tokens", "3", stdin="no\nyes\n")
    assert status == 0 and out and "cannot render this conversation: not so" in err and "Traceback" not in err


def test_answers_match_a_pattern_and_probabilities_are_a_table(piped: Any, model: str) -> None:
    status, out, _ = piped(model, "--regex", "[ab]{3}", "--show-probs", stdin="hi\n")
    lines = out.splitlines()
    assert status == 0 and lines[0].startswith("probability") and len(lines) == 1 + 3
    assert ESCAPE not in out and all(line.split()[0].endswith("%") for line in lines[1:])


def test_the_program_answers_a_pipe(model: str) -> None:
    result = subprocess.run(
        command(model, "--max-tokens", "4"), input=b"hi\n/nothing\n", capture_output=True, timeout=60
    )
    assert (result.returncode, result.stdout.count(b"\n"), b"\x1b" in result.stdout) == (0, 1, False)
    assert [line.split(b" ")[0] for line in result.stderr.splitlines()] == [b"the", b"there", b"4"]


@pytest.mark.slow
def test_a_real_model_answers(piped: Any) -> None:
    status, out, _ = piped(str(smollm2_path()), "--max-tokens", "20", stdin="What is the capital of France?\n")
    assert (status, out) == (0, "The capital of France is Paris.\n")  # as with transformers


# --- at a terminal ----------------------------------------------------------------------------------------------------


def test_ctrl_c_stops_an_answer_and_the_second_at_the_prompt_leaves(endless: str, tmp_path: Path) -> None:
    chat = Terminal(command(endless, "--max-tokens", "90000"), tmp_path)
    chat.wait_for("> ")
    chat.press("hello\r")
    chat.wait_for("hello\r\n")
    chat.wait_for_more()  # the answer
    chat.press(CTRL_C)
    chat.wait_for("\n> ")
    chat.press("/save chat.json\r")
    chat.wait_for("saved the conversation")
    messages = json.loads((tmp_path / "chat.json").read_text())
    assert [m["role"] for m in messages] == ["user", "assistant"] and messages[1]["content"]  # what was written stays
    chat.press("again\r")
    chat.wait_for("again\r\n")
    chat.wait_for_more()
    chat.press(CTRL_C)
    chat.wait_for("\n> ")
    chat.press(CTRL_C)
    assert chat.finish() == 130
    assert "Traceback" not in chat.shown


def test_one_ctrl_c_at_the_prompt_does_not_leave_but_ctrl_d_does(model: str, tmp_path: Path) -> None:
    chat = Terminal(command(model), tmp_path)
    chat.wait_for("> ")
    chat.press(CTRL_C)
    chat.wait_for("once more leaves")
    chat.press("/help\r")
    chat.wait_for("/save FILE")
    chat.press(CTRL_C)
    chat.wait_for("once more leaves")
    chat.press(CTRL_D)
    assert chat.finish() == 0
    assert "Traceback" not in chat.shown


@pytest.mark.parametrize(
    "environment", [{}, *(pytest.param(each, marks=pytest.mark.slow) for each in ({"NO_COLOR": "1"}, {"TERM": "dumb"}))]
)
def test_tokens_are_shaded_at_a_terminal_that_has_colours(
    model: str, tmp_path: Path, environment: dict[str, str]
) -> None:
    chat = Terminal(command(model, "--show-probs", "--max-tokens", "6"), tmp_path, **environment)
    chat.wait_for("> ")
    chat.press("hi\r")
    chat.wait_for("was cut off")
    assert ("48;5;" in chat.shown) == (not environment)
    chat.press("/quit\r")
    assert chat.finish() == 0


@pytest.mark.slow
def test_with_standard_output_in_a_file_only_the_answers_are_in_it(model: str, tmp_path: Path) -> None:
    words = " ".join(map(repr, command(model, "--max-tokens", "4")))
    chat = Terminal(["sh", "-c", f"{words} > out.txt"], tmp_path)
    chat.wait_for("> ")
    chat.press("hi\r")
    chat.wait_for("was cut off")
    chat.press("/quit\r")
    assert chat.finish() == 0
    text = (tmp_path / "out.txt").read_text("utf-8")
    assert text and "> " not in text and ESCAPE not in text


# --- what the model reads ---------------------------------------------------------------------------------------------

WORDS = st.text("abc ", min_size=1, max_size=40)


@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=12), st.none() | st.just("be kind"))
def test_the_newest_turns_fit_and_the_system_message_stays(turns: list[tuple[str, str]], system: str | None) -> None:
    tokenizer, context, room = make_tokenizer(), 150, 30
    chat = Messages(tokenizer, context, room, system)
    seen = 0
    for question, answer in turns:
        before = seen
        ids = chat.prompt(question)
        seen += chat.left_out
        assert len(ids) <= context - room
        kept = chat.messages[: system is not None] + chat.turns[seen:] + [{"role": "user", "content": question}]
        assert ids == chat_ids(tokenizer, kept)
        assert chat.left_out == seen - before and seen % 2 == 0
        chat.add(question, answer)
    assert [m["content"] for m in chat.messages if m["role"] == "user"] == [question for question, _ in turns]


def test_a_message_that_is_too_long_changes_nothing() -> None:
    chat = Messages(make_tokenizer(), 50, 10)
    chat.add("hi", "ho")
    before = list(chat.messages)
    with pytest.raises(TooLong, match="tokens and the context is 50; shorten it"):
        chat.prompt("x" * 100)
    assert chat.messages == before and chat.prompt("hi")


@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=12))
def test_a_continued_text_is_the_end_of_all_that_was_written(turns: list[tuple[str, str]]) -> None:
    tokenizer, context = make_tokenizer(None), 60
    text = ContinuedText(tokenizer, context)
    for begin, continuation in turns:
        ids = text.prompt(begin)
        before, left_out = text.text, text.left_out
        text.add(begin, continuation)
        assert text.text.startswith(before) and text.text.endswith(begin + continuation)
        whole = text.text.removesuffix(continuation)
        assert len(ids) < context and tokenizer.encode_ordinary(whole)[left_out:] == ids
    assert text.messages == [{"role": "text", "content": text.text}]
    text.reset()
    assert text.text == ""


def test_what_was_read_in_a_chat_is_not_read_again(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    monkeypatch.setattr(Engine, "_prefill", counted(Engine._prefill, read))
    options = parse(["--model", model, "--chat", "--max-tokens", "4", "--temperature", "0"])
    loaded = load_other(model, None, "widened", "cpu")
    text_writer = TextWriter(loaded, options)
    chat = Chat(loaded, text_writer, seed=1)
    for message in ("hello", "there", "again"):
        chat.answer(message)
    ids = chat.conversation.prompt("again")
    assert len(read) == 3 and sum(read) < len(ids)


def counted(method: Callable[..., Any], read: list[int]) -> Callable[..., Any]:
    """The method of the engine. It notes how many tokens of prompts are read."""

    def note(engine: Engine, generations: list[Generation]) -> list[Reading]:
        readings = method(engine, generations)
        read.extend(len(each.ids) for each in readings)
        return readings

    return note
