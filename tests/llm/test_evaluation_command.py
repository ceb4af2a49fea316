"""`python -m llm.evaluation`: results, files, going on after a kill, and sentences for what is not possible."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llm.evaluation import command
from llm.evaluation.likelihood import log_likelihood
from llm.evaluation.perplexity import score_text
from llm.evaluation.tasks import progress
from llm.evaluation.tasks.items import task_of
from llm.evaluation.tasks.known import find_description
from llm.evaluation.tasks.predictors import LanguageModel
from llm.evaluation.tasks.results import evaluate_task
from llm.inference.sampling import Sampling
from llm.inference.text import write_text
from llm.runs.load import load_model
from tests.llm.runs import make_run
from tests.llm.smollm2 import smollm2_path
from tokenizer import END_OF_TEXT, Tokenizer

BYTES = Tokenizer.train(["the rain, the sea"], vocab_size=262, special_tokens=[END_OF_TEXT])
ROWS = {
    "choice": [{"query": f"a{i}", "choices": [f"b{i}", "see"], "label": i % 2} for i in range(5)],
    "blimp": [{"sentence_good": f"the rain {i}", "sentence_bad": f"rain the {i}"} for i in range(5)],
    "lambada": [{"text": f"the sea, the {word}"} for word in ("sea", "rain", "end")],
    "answers": [{"question": "the", "answer": "rain"}, {"question": "a" * 40, "answer": "sea"}],
    "text": [{"text": "the rain, the sea. " * 4}, {"text": "é"}],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs, and a file for each task."""
    folder = tmp_path_factory.mktemp("evaluation")
    make_run(folder / "run", BYTES, steps=(5,))
    make_run(folder / "other", BYTES, steps=(6,), best=6)
    for name, rows in ROWS.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def evaluate(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    monkeypatch.chdir(folder)

    def run(*arguments: str) -> int:
        return command.main(["run", "--device", "cpu", *arguments])

    return run


ALL = [word for name in ROWS for word in ("--task", f"{name}={name}.jsonl")] + ["--max-tokens", "4"]


def results(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def test_results_are_printed_and_written_item_by_item(
    evaluate: Callable[..., int], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(*ALL, "--json", str(tmp_path / "a.json"), "--show", "1") == 0
    found, printed = results(tmp_path / "a.json")["tasks"], capsys.readouterr().out
    assert list(found) == list(ROWS)
    assert {name: each["n"] for name, each in found.items()} == {name: len(rows) for name, rows in ROWS.items()}
    model, tokenizer = load_model(folder / "run")
    for row, expected in zip(ROWS["choice"], found["choice"]["loglikelihoods"], strict=True):
        scores = [log_likelihood(model, tokenizer, row["query"], f" {each}").total for each in row["choices"]]
        np.testing.assert_allclose(scores, expected, atol=1e-4)  # batches are added up in another order
    whole = log_likelihood(model, tokenizer, "", " the rain 0").total  # as lm-eval, with a space before it
    assert found["blimp"]["loglikelihoods"][0][0] == pytest.approx(whole, abs=1e-4)
    text = score_text(model, tokenizer, ROWS["text"][0]["text"])
    assert found["text"]["loglikelihoods"][0] == pytest.approx(text.total, abs=1e-3)
    answer = write_text(model, tokenizer, "the", max_tokens=4, sampling=Sampling(temperature=0.0, top_p=1.0))
    assert found["answers"]["answers"][0] == answer
    assert "choice: 5 items" in printed and "95% interval" in printed and "lost: choice.jsonl, line" in printed


def test_a_long_question_leaves_room_for_an_answer(folder: Path) -> None:
    model, tokenizer = load_model(folder / "run")
    whole = LanguageModel(model, tokenizer).answers(["ab" * 100], 3, [])
    assert whole == [write_text(model, tokenizer, ("ab" * 100)[-29:], max_tokens=3, sampling=Sampling(temperature=0.0))]
    (whole,) = LanguageModel(model, tokenizer).answers(["ab" * 100], 1000, [])  # half of the context is the question's
    half = write_text(model, tokenizer, "ab" * 8, max_tokens=16, sampling=Sampling(temperature=0.0))
    assert whole.startswith(half.rstrip("\ufffd"))


def test_an_answer_ends_before_a_stop_string(folder: Path) -> None:
    model = LanguageModel(*load_model(folder / "run"))
    (whole,) = model.answers(["the"], 20, [])
    stop = whole[len(whole) // 2 :][:2]
    assert model.answers(["the", "the"], 20, [stop, "never"]) == [whole[: whole.index(stop)]] * 2


@pytest.mark.parametrize("kind", ["choice", "blimp", "lambada", "text", "answers"])
def test_the_batch_changes_no_result(kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = LanguageModel(*load_model(folder / "run"))
    task = task_of(kind, find_description(kind), ROWS[kind])
    together = evaluate_task(task, model).to_json()
    for name in ("batched.score_batched", "perplexity.score_batched"):
        monkeypatch.setattr(f"llm.evaluation.{name}", small_batches(name))
    alone = evaluate_task(task, model).to_json()
    for name, value in together.items():
        if name in ("loglikelihoods", "calibration", "perplexity"):
            continue
        assert value == alone[name] or isinstance(value, float) and value == pytest.approx(alone[name], rel=1e-4)
    if kind != "answers":
        np.testing.assert_allclose(together["loglikelihoods"], alone["loglikelihoods"], atol=1e-4)


def small_batches(name: str) -> Callable[..., Any]:
    from llm.evaluation.batched import score_batched

    return lambda model, texts, batch_tokens: score_batched(model, texts, 1)


def test_work_that_was_killed_goes_on_to_the_same_bytes(
    evaluate: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PIECE", 2)
    assert evaluate(*ALL, "--against", "other", "--out", str(tmp_path / "whole")) == 0
    calls, usual = [0], progress.outcomes_of

    def killed(*arguments: Any) -> Any:
        calls[0] += 1
        if calls[0] in (3, 7, 15):
            raise KeyboardInterrupt
        return usual(*arguments)

    monkeypatch.setattr(progress, "outcomes_of", killed)
    given = [*ALL, "--against", "other", "--out", str(tmp_path / "killed")]
    assert [evaluate(*given) for _ in range(4)] == [130, 130, 130, 0]
    assert (tmp_path / "killed" / "results.json").read_bytes() == (tmp_path / "whole" / "results.json").read_bytes()
    assert calls[0] == 3 + 2 * 10  # nothing is computed twice but the pieces that were killed


def test_a_folder_belongs_to_one_model(
    evaluate: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--task", "choice=choice.jsonl", "--out", str(tmp_path / "out")]
    assert evaluate(*given, "--limit", "2") == 0
    assert evaluate(*given) == 0
    assert results(tmp_path / "out" / "results.json")["tasks"]["choice"]["n"] == 5
    assert command.main(["other", *given]) == 1
    assert "holds results with another model; give another --out" in capsys.readouterr().err


def test_files_are_written_also_if_nobody_reads_the_output(folder: Path, tmp_path: Path) -> None:
    script = f"{sys.executable} -m llm.evaluation run --task blimp=blimp.jsonl --device cpu --json {tmp_path}/a | true"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    result = subprocess.run(script, shell=True, cwd=folder, env=environment, capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("", "") and results(tmp_path / "a")["tasks"]["blimp"]["n"] == 5


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names of files may be any bytes on Linux only")
def test_names_and_rows_that_are_not_utf8_cost_no_results(evaluate: Callable[..., int], folder: Path) -> None:
    row = {"query": "a", "choices": ["b", "\ud800"], "label": 0}
    files = [os.fsdecode(name) for name in (b"\xff.jsonl", b"\xfe.jsonl")]
    for file in files:
        rows = [{**row, "kind": kind} for kind in ("\udc80", "k")]
        (folder / file).write_text("".join(json.dumps(each) + "\n" for each in rows))
    tasks = [f"--task=choice={file}" for file in files]
    assert evaluate(*tasks, "--json", "odd.json", "--out", "odd", "--show", "2") == 0
    found = json.loads((folder / "odd.json").read_text())["tasks"]
    assert [each["n"] for each in found.values()] == [2, 2]


def test_two_models_are_compared(
    evaluate: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.json"
    assert evaluate(*ALL, "--against", "other", "--json", str(path), "--show", "2") == 0
    found = results(path)
    difference = found["tasks"]["choice"]["difference"]["acc"]
    assert difference["difference"] == pytest.approx(
        found["tasks"]["choice"]["acc"] - found["tasks"]["choice"]["against"]["acc"]
    )
    assert "against other:" in capsys.readouterr().out
    assert evaluate(*ALL, "--against", "run", "--json", str(path)) == 0
    for each in results(path)["tasks"].values():
        assert all((one["difference"], one["p"]) == (0, 1) for one in each["difference"].values())


def test_several_files_of_a_kind_and_a_description_of_ones_own(
    evaluate: Callable[..., int], folder: Path, tmp_path: Path
) -> None:
    own = {"score": "choice", "shapes": [{"context": "{query}", "choices": ["{query}", "x"], "label": 0}]}
    (tmp_path / "mine.json").write_text(json.dumps(own))
    (tmp_path / "choice.jsonl").write_text((folder / "choice.jsonl").read_text())
    (tmp_path / "more.jsonl").write_text((folder / "choice.jsonl").read_text())
    same = str(tmp_path / "choice.jsonl")
    tasks = ["choice=choice.jsonl", f"choice={tmp_path / 'more.jsonl'}", f"choice={same}"]
    tasks += [f"{tmp_path / 'mine.json'}=choice.jsonl", "blimp=blimp.jsonl", "blimp=blimp.jsonl"]
    path = tmp_path / "a.json"
    assert evaluate(*[word for task in tasks for word in ("--task", task)], "--json", str(path)) == 0
    names = ["choice:choice.jsonl", "choice:more", f"choice:{same}", "mine", "blimp"]
    assert list(results(path)["tasks"]) == names


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--task", "choice=missing.jsonl"], "missing.jsonl: No such file"),
        (["--task", "choice"], "'choice' is no task; give KIND=FILE"),
        (["--task", "hellaswag"], "give KIND=FILE, such as hellaswag=hellaswag.jsonl, or a built-in one: copying"),
        (["--task", "chess=choice.jsonl"], "there is no task 'chess'; choose one of hellaswag"),
        (["--task", "missing.json=choice.jsonl"], "missing.json: No such file"),
        (["--task", "lambada=choice.jsonl"], "choice.jsonl, line 1: the row has the fields query, choices, label"),
        (["--task", "classify=classes.jsonl"], "this task needs a classifier"),
        (["--task", "choice=choice.jsonl", "--shots", "5"], "--shots 5 needs more than 5 rows"),
        (["--task", "choice=choice.jsonl", "--tokenizer", "run"], "leave --tokenizer out"),
        (["--task", "text=text.jsonl", "--stride", "33"], "stride must be from 1 to 32"),
        (["--task", "answers=answers.jsonl", "--chat"], "no chat template"),
        (["--task", "lambada=long.jsonl"], "long.jsonl, line 2: the continuation has"),
        (["--task", "choice=choice.jsonl", "--against", "missing"], "missing"),
        (["--task", "choice=choice.jsonl", "--json", "no/where.json"], "no: there is no such folder"),
    ],
)
def test_what_is_not_possible_is_told_in_a_sentence(
    evaluate: Callable[..., int], folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    (folder / "classes.jsonl").write_text('{"text": "a", "label": "b"}\n')
    (folder / "long.jsonl").write_text('{"text": "a b"}\n{"text": "a ' + "b" * 90 + '"}\n')
    assert evaluate(*arguments) == 1
    message = capsys.readouterr().err
    assert re.search(re.escape(said), message) and message.count("\n") == 1


def test_another_model_that_does_not_exist_is_told_before_the_first_one_works(
    evaluate: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate("--task", "choice=choice.jsonl", "--against", "missing", "--out", str(tmp_path / "out")) == 1
    assert "missing does not exist" in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["blimp", "lambada", "text"])
def test_an_item_that_cannot_be_scored_is_told_before_the_others_are_scored(
    kind: str, evaluate: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = "a " + "b" * 90
    last = {"blimp": {"sentence_good": long, "sentence_bad": "b"}, "lambada": {"text": long}, "text": {"text": ""}}[
        kind
    ]
    rows = [*(ROWS[kind] * 70)[:70], last]  # more than are scored together
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = ["--task", "choice=choice.jsonl", "--task", f"{kind}={tmp_path / 'rows.jsonl'}"]
    assert evaluate(*task, "--out", str(tmp_path / "out")) == 1
    said = capsys.readouterr()
    assert said.out == "" and "rows.jsonl, line 71: " in said.err and "use only the 70 before it" in said.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", [["--against", "missing"], ["--json", "no/where.json"], ["--json", "."]])
def test_what_would_fail_after_the_work_is_told_before_it(
    evaluate: Callable[..., int], monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setattr(command, "solve", lambda *_: pytest.fail("the work has begun"))
    assert evaluate("--task", "choice=choice.jsonl", *arguments) == 1


@pytest.mark.parametrize(
    "arguments", [[], ["--task", "choice=x", "--limit", "0"], ["--task", "choice=x", "--seed", "-1"]]
)
def test_wrong_options_are_refused(evaluate: Callable[..., int], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        evaluate(*arguments)
    assert ended.value.code == 2


@pytest.mark.shared
@pytest.mark.slow
def test_smollm2_on_hellaswag_and_lambada_is_what_lm_eval_says(shared_data: Path, tmp_path: Path) -> None:
    data = shared_data / "tasks"
    tasks = ["--task", f"hellaswag={data}/hellaswag_val_2000.jsonl", "--task", f"lambada={data}/lambada_2000.jsonl"]
    path = tmp_path / "results.json"
    assert command.main([str(smollm2_path()), *tasks, "--limit", "60", "--json", str(path), "--device", "cpu"]) == 0
    found, golden = results(path)["tasks"], results(data / "golden_smollm2.json")
    for name in ("hellaswag", "lambada"):
        # Both sides compute in float32, but add up in another order.
        np.testing.assert_allclose(found[name]["loglikelihoods"], golden[name]["loglikelihoods"], rtol=0, atol=2e-3)
        assert found[name]["acc"] == pytest.approx(golden[name]["acc"])
    assert found["hellaswag"]["acc_norm"] == pytest.approx(golden["hellaswag"]["acc_norm"])
    assert found["lambada"]["perplexity"] == pytest.approx(golden["lambada"]["perplexity"], rel=2e-3)
    assert found["lambada"]["greedy"] == golden["lambada"]["greedy"]
