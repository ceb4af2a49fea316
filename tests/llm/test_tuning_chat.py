"""The objective chat: from a base model without a chat template to a run that answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import llm
from llm.data.errors import DataError
from llm.hub.tuned import grown
from llm.inference.chat_prompt import chat_ids
from llm.inference.text import end_ids_of, write_sample
from llm.runs.run import Run
from llm.training.command import parse, start
from llm.tuning.chat import task as chat_module
from llm.tuning.chat.chatml import TOKENS, with_chat_template
from llm.tuning.chat.conversation import Encoder, has_empty_answer
from llm.tuning.chat.task import ChatExamples, ChatTask, encode_all
from llm.tuning.examples.rows import Completion, Text
from llm.tuning.tasks import find_task
from tests.llm.conversations import FAMILIES, PLACE, chatml, chats, conversation, tokenizer_with
from tests.llm.trainings import Killed, assert_same_run, interrupt_at, kill, own_cache, train, without_pictures
from tokenizer import CharTokenizer
from tokenizer import load as load_tokenizer

pytest.importorskip("jinja2")
BASE = ["--tokenizer", "bpe", "--vocab-size", "300", "--context", "48", "--steps", "2", "--sample-every", "0"]
# fmt: off
BRIEF = ["--objective", "chat", "--steps", "4", "--batch-size", "3", "--eval-every", "2", "--eval-batches", "2",
         "--checkpoint-every", "2", "--warmup", "0", "--lr", "0.01", "--device", "cpu", "--threads", "1",
         "--sample-every", "0"]
# fmt: on


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a tiny model on text, which has no chat template."""
    folder = tmp_path_factory.mktemp("base")
    with own_cache(folder):
        assert train(folder / "run", *BASE) == 0
    return folder / "run"


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    without_pictures(monkeypatch)


def write_data(path: Path, count: int = 12) -> Path:
    rows = [{"messages": [said("user", f"cat {i}"), said("assistant", "the mat " * (i % 3 + 1))]} for i in range(count)]
    rows += [{"prompt": f"a dog {i}", "completion": " sat on"} for i in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def tune(base: Path, out: Path, data: Path, *more: str) -> int:
    arguments = ["--from", str(base), "--data", str(data), "--out", str(out), *BRIEF, *more]
    return start(*parse(arguments), write_sample, find_task)


def go_on(out: Path) -> int:
    return start(*parse(["--out", str(out), "--resume"]), write_sample, find_task)


# --- ChatML -----------------------------------------------------------------------------------------------------------


@given(chats())
def test_chatml_of_a_tokenizer_without_template(messages: list[dict]) -> None:
    tokenizer = with_chat_template(tokenizer_with())
    encoded = Encoder(tokenizer)(conversation(messages))
    assert encoded.text == "".join(text for text, _ in chatml(messages))
    # White space at the beginning of an answer may become one token with the line end before it.
    messages[-1]["content"] = "a" + messages[-1]["content"]
    encoded, prompt = Encoder(tokenizer)(conversation(messages)), chat_ids(tokenizer, messages[:-1])
    assert encoded.ids[: len(prompt)].tolist() == prompt  # what is read in inference is what was read in training
    assert not encoded.learned[len(prompt) - 1] and encoded.learned[len(prompt)]


@pytest.mark.parametrize(
    "kind", ["bpe", "char", pytest.param("sentencepiece", marks=[pytest.mark.shared, pytest.mark.slow])]
)
def test_new_tokens_come_after_all_others_and_end_a_text(kind: str, tmp_path: Path, request: Any) -> None:
    if kind == "sentencepiece":
        base = load_tokenizer(request.getfixturevalue("shared_data") / "tokenizers" / "llama2")
    else:
        base = CharTokenizer.train(["user assistant\nhi?"]) if kind == "char" else tokenizer_with()
    if kind == "bpe":
        assert with_chat_template(base).vocab_size == base.vocab_size  # it has the two already
        return
    tokenizer = with_chat_template(base)
    assert [tokenizer.special_tokens[name] for name in TOKENS] == [base.vocab_size, base.vocab_size + 1]
    assert tokenizer.special_tokens[TOKENS[-1]] in end_ids_of(tokenizer)
    assert tokenizer.encode_ordinary("hi? user\n") == base.encode_ordinary("hi? user\n")
    tokenizer.save(tmp_path)
    again = load_tokenizer(tmp_path)
    messages = [said("user", "hi?"), said("assistant", "hi")]
    assert again.encode_chat(messages) == tokenizer.encode_chat(messages)
    begin = base.template.begin_ids()
    assert tokenizer.encode_chat(messages)[: len(begin) + 1] == [*begin, base.vocab_size]


def test_a_template_that_exists_is_kept() -> None:
    tokenizer = tokenizer_with("{{ messages }}")
    assert with_chat_template(tokenizer) is tokenizer


def test_parts_of_content_and_tools() -> None:
    tokenizer = with_chat_template(tokenizer_with())
    parts = [{"type": "text", "text": "the "}, {"type": "text", "text": "answer"}]
    assert tokenizer.render_chat([{"role": "user", "content": parts}]) == "<|im_start|>user\nthe answer<|im_end|>\n"
    with pytest.raises(ValueError, match="has no tools"):
        tokenizer.render_chat([said("user", "a")], tools=[{"type": "function"}])


@given(st.integers(1, 5), st.integers(1, 4), st.booleans(), st.integers(0, 2**32 - 1))
def test_new_rows_are_the_mean_and_the_last_is_the_end_of_a_text(
    old: int, new: int, knows_end: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    state = {
        "embedding.weight": rng.normal(size=(old, 3)),
        "head.bias": rng.normal(size=old),
        "norm": rng.normal(size=3),
    }
    result = grown(state, old + new, old - 1 if knows_end else None)
    assert result["norm"] is state["norm"]
    for name in ("embedding.weight", "head.bias"):
        assert result[name].dtype == state[name].dtype
        np.testing.assert_array_equal(result[name][:old], state[name])
        rows = list(result[name][old:])
        if knows_end:
            np.testing.assert_array_equal(rows.pop(), state[name][old - 1])
        for row in rows:
            np.testing.assert_allclose(row, state[name].mean(axis=0), rtol=1e-12, atol=1e-12)  # order of the sum


# --- what is learned --------------------------------------------------------------------------------------------------


def encode(rows: list, context: int) -> ChatExamples:
    return encode_all(Encoder(with_chat_template(tokenizer_with())), rows, context, "training")


def test_examples_whose_answer_begins_beyond_the_context_are_left_out_and_counted() -> None:
    chat = conversation([said("user", "a" * 30), said("assistant", "the answer")])
    brief = conversation([said("user", "a"), said("assistant", "the answer" * 30)])
    examples = encode([chat, brief, chat], 20)
    assert (len(examples.kept), examples.cut, examples.dropped) == (1, 3, 2)
    assert "2 left out" in str(examples) and "3 cut" in str(examples)
    with pytest.raises(
        DataError, match="answers begin after token .*, and the model reads 20; give a larger --context"
    ):
        encode([chat], 20)


def test_empty_answers_are_counted() -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}
    unlearned = {**said("assistant", ""), "weight": 0}
    full = conversation([said("user", "a"), unlearned, said("assistant", "b"), call])
    empty = conversation([said("user", "a"), said("assistant", " "), said("user", "a"), said("assistant", "b")])
    assert not has_empty_answer(full) and has_empty_answer(empty)
    made: dict[str, Any] = {"place": PLACE, "fields": {}}
    assert has_empty_answer(Completion("a", "", **made)) and not has_empty_answer(Completion("", "b", **made))
    examples = encode_all(Encoder(tokenizer_with(FAMILIES["chatml"].template)), [empty, empty], 100, "training")
    assert str(examples).endswith("; 2 with an empty answer, which teach to say nothing")


def test_it_is_said_if_the_model_would_not_learn_to_stop() -> None:
    rows = [conversation([said("user", "a"), said("assistant", "the answer")])]
    for name, endless in (("glm", 1), ("chatml", 0)):
        examples = encode_all(Encoder(tokenizer_with(FAMILIES[name].template)), rows, 100, "training")
        assert examples.endless == endless
        assert ("teach nobody to stop" in str(examples)) is bool(endless)


def test_data_of_which_nothing_would_be_learned_is_refused() -> None:
    row = conversation([said("user", "a"), {**said("assistant", "a"), "weight": 0}])
    with pytest.raises(DataError, match="nothing would be learned from the 1 examples for training: no token belongs"):
        encode([row], 100)
    # A single token has nothing before it that it could be predicted from.
    with pytest.raises(DataError, match="nothing would be learned"):
        encode([Text("", place=PLACE, fields={})], 100)


# --- train.py ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [[], ["--packing"], ["--micro-batches", "3"]])
def test_a_run_of_chat_learns_and_is_opened_as_a_model_for_chats(more: list[str], base: Path, tmp_path: Path) -> None:
    data = write_data(tmp_path / "chat.jsonl")
    assert tune(base, tmp_path / "run", data, *more) == 0
    model, tokenizer = llm.load(str(tmp_path / "run"))
    assert model.config.vocab_size == tokenizer.vocab_size == llm.load(str(base))[1].vocab_size + 2
    assert tokenizer.special_tokens[TOKENS[-1]] in end_ids_of(tokenizer)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["val_loss"] for line in lines if line["val_loss"] is not None]
    assert losses[-1] < losses[0]


def test_a_run_that_was_killed_ends_like_one_that_was_not(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_data(tmp_path / "chat.jsonl")
    tune(base, tmp_path / "whole", data, "--packing")
    with monkeypatch.context() as patch:
        interrupt_at(patch, 3, kill)
        with pytest.raises(Killed):
            tune(base, tmp_path / "killed", data, "--packing")
    assert go_on(tmp_path / "killed") == 0
    assert_same_run(tmp_path / "killed", tmp_path / "whole")


def test_what_to_type_next_is_a_chat(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tune(base, tmp_path / "run", write_data(tmp_path / "chat.jsonl"))
    shown = capsys.readouterr().out
    assert f"generate.py --chat --run {tmp_path / 'run'}\n" in shown
    assert "4 steps of 3 examples; " in shown
    assert "22 examples, " in shown and "2 examples for validation, 8 steps an epoch" in shown


def test_a_file_of_its_own_for_validation(base: Path, tmp_path: Path) -> None:
    data, others = write_data(tmp_path / "chat.jsonl"), write_data(tmp_path / "others.jsonl", 2)
    options, run = parse(
        ["--from", str(base), "--data", str(data), "--val-data", str(others), "--out", str(tmp_path / "run"), *BRIEF]
    )
    task = ChatTask(options, run)
    assert (len(task.train_rows), len(task.val_rows)) == (24 - 4, 4)  # the four that are also in `others` are left out
    with pytest.raises(DataError, match="all examples of .* are in .* too"):
        ChatTask(replace(options, tuning=replace(options.tuning, val_data=str(data))), run)


@pytest.mark.parametrize("prompt", ["", "a cat"])
def test_samples_are_answers(prompt: str, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def record(function: Callable) -> Callable:
        def call(tokenizer: Any, messages: Any) -> Any:
            asked.append(messages)
            return function(tokenizer, messages)

        return call

    monkeypatch.setattr(chat_module, "chat_ids", record(chat_ids))
    data = tmp_path / "chat.jsonl"
    chats = [{"messages": [said("user", q), said("assistant", "a")] * 2} for q in "xy"]
    data.write_text("".join(json.dumps(chat) + "\n" for chat in chats))
    arguments = ["--from", str(base), "--data", str(data), "--out", str(tmp_path / "run"), *BRIEF, "--prompt", prompt]
    options, run = parse(arguments)
    task = ChatTask(options, Run(str(tmp_path / "run")))
    model = llm.GPT(task.options.model)
    text = task.sample(model, lambda *_: "never")
    question = prompt or task.val_rows[0].messages[0]["content"]
    assert text.startswith(f"user: {question}\nassistant: ")
    assert asked == [[said("user", question)]]


def test_a_sample_asks_the_first_question_whose_answer_is_learned(base: Path, tmp_path: Path) -> None:
    begins = {"messages": [said("assistant", "a"), said("user", "q"), said("assistant", "a")]}
    ignored = {"messages": [said("user", "no"), {**said("assistant", "a"), "weight": 0}]}
    good = {"messages": [said("user", "yes"), said("assistant", "a")]}
    data, others = tmp_path / "chat.jsonl", tmp_path / "others.jsonl"
    data.write_text(json.dumps(good) + "\n" + json.dumps({**good, "id": 1}) + "\n")

    def sample(*chats: dict) -> str:
        others.write_text("".join(json.dumps({**chat, "id": 2}) + "\n" for chat in chats))
        options, run = parse(["--from", str(base), "--data", str(data), "--val-data", str(others),
                              "--out", str(tmp_path / "run"), *BRIEF])  # fmt: skip
        task = ChatTask(options, run)
        return task.sample(llm.GPT(task.options.model), lambda *_: "a text")

    assert sample(begins, ignored, good).startswith("user: yes\nassistant: ")
    assert sample(begins) == "a text"
