"""`python -m llm.data clean`: nothing is lost, and the output depends on the input and the options alone."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.data.documents import Document
from llm.data.lab import clean as clean_module
from llm.data.lab.account import Account
from llm.data.lab.clean import clean
from llm.data.lab.command import main
from llm.data.lab.filters.features import Features
from llm.data.lab.filters.learned import LearnedFilter, save_filter
from llm.data.lab.folder import Shards, row_of
from llm.data.lab.pipeline import Outcome, apply
from llm.data.lab.verdict import Verdict
from llm.data.reading import read_documents
from tests.llm.forms import jsonl
from tests.llm.lab_steps import STEPS, contents, files, find_steps, options, put


@pytest.fixture(autouse=True)
def _steps(monkeypatch):
    monkeypatch.setattr(clean_module, "find_steps", find_steps)


def rows(folder: Path, kind: str) -> list[dict]:
    shards = sorted(folder.glob(f"{kind}-*.jsonl"))
    return [json.loads(line) for path in shards for line in path.read_text().split("\n") if line]


def dropped(outcome: Outcome) -> Verdict | None:
    """The verdict that dropped the text."""
    return next((verdict for verdict in outcome.verdicts if not verdict.kept), None)


@given(files=files, shard=st.sampled_from([256, 1e-4, 1e-9]))
def test_documents_in_are_kept_dropped_and_problems_and_each_is_written_once(tmp_path_factory, files, shard):
    folder = tmp_path_factory.mktemp("clean")
    inputs, out = put(folder / "in", files), folder / "out"
    account = clean(options(inputs, out, shard=shard))
    problems: list = []
    documents = list(read_documents([str(inputs)], problems.append))

    found = {kind: rows(out, kind) for kind in ("kept", "dropped", "problems")}
    assert account.documents["in"] == len(documents) + len(problems) == sum(map(len, found.values()))
    assert account.documents == Counter(
        {"in": account.documents["in"]} | {k: len(found[k]) for k in ("kept", "dropped")}
    )
    assert [(row["problem"], row["source"]) for row in found["problems"]] == [(p.name, p.place) for p in problems]

    outcomes = {document.source: apply(STEPS, document.text) for document in documents}
    assert len(outcomes) == len(documents)
    for row in found["kept"]:
        outcome = outcomes.pop(row["source"])
        assert (row, dropped(outcome)) == ({"text": outcome.text, "source": row["source"], "n": 1}, None)
    originals = {document.source: document.text for document in documents}
    for row in found["dropped"]:
        outcome = outcomes.pop(row["source"])
        assert dropped(outcome) is not None and row["text"] == originals[row["source"]] and row["n"] == 1
        assert row["dropped"] == {
            "rule": dropped(outcome).rule, "number": dropped(outcome).number, "threshold": dropped(outcome).threshold,
        }  # fmt: skip
    assert not outcomes


@given(files=files)
def test_the_report_adds_up_to_the_rows(tmp_path_factory, files):
    folder = tmp_path_factory.mktemp("clean")
    clean(options(put(folder / "in", files), folder / "out"))
    report = json.loads((folder / "out" / "report.json").read_text())
    found = {kind: rows(folder / "out", kind) for kind in ("kept", "dropped", "problems")}
    assert report["documents"] == {"in": sum(map(len, found.values()))} | {kind: len(r) for kind, r in found.items()}
    assert report["bytes"]["kept"] == sum(len(row["text"].encode()) for row in found["kept"])
    assert report["bytes"]["dropped"] == sum(len(row["text"].encode()) for row in found["dropped"])
    by_rule = Counter(row["dropped"]["rule"] for row in found["dropped"])
    assert {rule: counts["documents"] for rule, counts in report["dropped"].items()} == by_rule
    assert report["problems"] == Counter(row["problem"] for row in found["problems"])
    reached = report["documents"]["kept"] + report["documents"]["dropped"]
    for rule, numbers in report["numbers"].items():
        values = [value for value, _ in numbers["histogram"]]
        assert values == sorted(set(values))
        if rule == "short":  # all documents reach the first rule
            assert sum(count for _, count in numbers["histogram"]) == reached
            assert sum(count for value, count in numbers["histogram"] if value < 5) == by_rule["short"]
    assert Account.from_json(report).to_json() == {name: report[name] for name in Account().to_json()}


# What is refused ----------------------------------------------------------------------------------------------------


def test_a_folder_that_is_done_is_not_done_again_and_is_not_overwritten(tmp_path, capsys):
    inputs = put(tmp_path / "in", [['{"text": "long enough"}']])
    arguments = ["clean", str(inputs), "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    before = contents(tmp_path / "out")
    first = capsys.readouterr().out
    assert first.startswith("documents  1 = 1 kept + 0 dropped + 0 problems\n")
    assert main(arguments) == 0
    again = capsys.readouterr()
    assert again.out == first and "done already" in again.err
    assert main([*arguments, "--preset", "c4"]) == 1
    assert "other options" in capsys.readouterr().err
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize("command", ["clean", "dedup"])
def test_the_first_problem_of_each_kind_is_told_and_where_all_is_written(command, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_text("id,body\n1,some text\n")
    Path("b.jsonl").write_text('{"text": "good"}\n{"text": \n{"text"\n')
    assert main([command, "a.csv", "b.jsonl", "--out", "a folder"]) == 0
    said = capsys.readouterr()
    assert "1  no_text, the first in a.csv: no column is called 'text'; the first row is id, body\n" in said.out
    assert "2  broken_row, the first in b.jsonl, line 2: " in said.out and "--field NAME" in said.out
    assert said.err.splitlines()[-1] == "written: a folder; a page about it: python -m llm.data show 'a folder'"
    assert json.loads(Path("a folder/report.json").read_text())["first_problems"].keys() == {"no_text", "broken_row"}
    assert main([command, "a.csv", "b.jsonl", "--out", "a folder"]) == 0
    assert capsys.readouterr().out == said.out


def test_what_cannot_be_done_is_told_in_a_sentence_and_changes_nothing(tmp_path, capsys):
    inputs = put(tmp_path / "in", [['{"text": "long enough"}']])
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file.txt").write_text("mine")
    for arguments, sentence in [
        ([str(inputs), "--out", str(tmp_path / "other")], "has other files, such as file.txt"),
        ([str(inputs), "--out", str(inputs)], "is in the input"),
        ([str(inputs), "--out", str(inputs / "out")], "is in the input"),
        ([str(tmp_path / "none"), "--out", str(tmp_path / "out")], "neither a file"),
    ]:
        assert main(["clean", *arguments]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert sentence in line
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["file.txt"] and len(list(inputs.iterdir())) == 1
    for wrong in ([str(inputs)], ["--out", "x"], [str(inputs), "--out", "x", "--processes", "0"]):
        with pytest.raises(SystemExit):
            main(["clean", *wrong])
        assert capsys.readouterr().err


def test_work_goes_on_only_with_the_same_options_and_files(tmp_path, capsys, monkeypatch):
    inputs = put(tmp_path / "in", [['{"text": "long enough"}'] * 5])
    arguments = ["clean", str(inputs), "--out", str(tmp_path / "out")]
    monkeypatch.setattr(Shards, "write", lambda self, row: (_ for _ in ()).throw(KeyboardInterrupt))
    assert main(arguments) == 130
    monkeypatch.undo()
    monkeypatch.setattr(clean_module, "find_steps", find_steps)
    assert main([*arguments, "--shard", "1"]) == 1
    assert "begun with other shard" in capsys.readouterr().err
    put(inputs, [['{"text": "another text"}']])
    assert main(arguments) == 1
    assert "begun with other input files" in capsys.readouterr().err


def test_two_programs_do_not_write_to_one_folder(tmp_path, capsys):
    from llm.runs.files import locked

    inputs = put(tmp_path / "in", [['{"text": "long enough"}']])
    (tmp_path / "out").mkdir()
    with locked(tmp_path / "out"):
        assert main(["clean", str(inputs), "--out", str(tmp_path / "out")]) == 1
    assert "another program is writing" in capsys.readouterr().err


# Rows ---------------------------------------------------------------------------------------------------------------


@given(fields=st.dictionaries(st.sampled_from(["text", "source", "source_", "dropped", "url"]), st.integers()))
def test_no_field_of_a_row_is_lost(fields):
    row = row_of(Document("the text", "the place", fields), dropped={})
    assert (row["text"], row["source"], row["dropped"]) == ("the text", "the place", {})
    assert sorted(value for name, value in row.items() if name not in ("text", "source", "dropped")) == sorted(
        fields.values()
    )


def test_a_document_of_which_edits_leave_nothing_is_dropped():
    outcome = apply([STEPS[-1]], "!!")
    assert dropped(outcome) is not None and dropped(outcome).rule == "empty"


def test_fields_that_are_not_json_are_written_as_text(tmp_path):
    pytest.importorskip("pyarrow")
    import datetime

    import pyarrow
    import pyarrow.parquet

    table = pyarrow.Table.from_pylist([{"text": "long enough", "day": datetime.date(2026, 1, 2)}])
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    clean(options(tmp_path / "a.parquet", tmp_path / "out"))
    assert rows(tmp_path / "out", "kept")[0]["day"] == "2026-01-02"


# With the real rules ------------------------------------------------------------------------------------------------

GOOD = "This should definitely be a valid input text and of high quality according to Gopher rules. " * 100


def test_a_preset_a_threshold_and_a_list_of_words_are_applied(tmp_path, monkeypatch):
    monkeypatch.undo()  # of the stand-ins
    texts = [GOOD, "Too short.", "the be " * 100, GOOD.replace("valid", "darn valid", 1)]
    (tmp_path / "in.jsonl").write_bytes(jsonl([{"text": text} for text in texts]))
    (tmp_path / "words.txt").write_text("Darn\n")
    inputs = tmp_path / "in.jsonl"
    first = clean(options(inputs, tmp_path / "a", preset="gopher_quality", words=str(tmp_path / "words.txt")))
    assert [row["text"] for row in rows(tmp_path / "a", "kept")] == [GOOD]
    assert first.documents["dropped"] == 3 and "gopher_short_doc" in first.dropped
    clean(options(inputs, tmp_path / "b", preset="gopher_quality", threshold=("gopher_short_doc=2",)))
    assert "gopher_short_doc" not in json.loads((tmp_path / "b" / "report.json").read_text())["dropped"]
    assert clean(options(inputs, tmp_path / "c", preset="none")).documents["kept"] == 4


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--preset", "gofer"], "there is no rule 'gofer'"),
        (["--threshold", "gopher_short_doc"], "is not RULE=NUMBER"),
        (["--threshold", "gopher_short_doc=nan"], "is not RULE=NUMBER"),
        (["--threshold", "language=1"], "there is no rule 'language' among those chosen"),
    ],
)
def test_an_unknown_rule_is_told_before_anything_is_written(tmp_path, capsys, monkeypatch, more, sentence):
    monkeypatch.undo()
    inputs = put(tmp_path / "in", [['{"text": "long enough"}']])
    assert main(["clean", str(inputs), "--out", str(tmp_path / "out"), *more]) == 1
    assert sentence in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_learned_filter_comes_last(tmp_path, monkeypatch):
    monkeypatch.undo()
    inputs = put(tmp_path / "in", [['{"text": "one"}', '{"text": "two"}']])
    # Without weights, each text has the score 1/2.
    features = Features()
    learned = LearnedFilter("filter_spam", np.zeros(1 << features.bits, np.float32), 0.0, 0.6, features)
    save_filter(learned, tmp_path / "spam.safetensors")
    arguments = ["clean", str(inputs), "--preset", "nfc", "--filter", str(tmp_path / "spam.safetensors"), "--out"]
    assert main([*arguments, str(tmp_path / "a")]) == 0
    assert [row["dropped"] for row in rows(tmp_path / "a", "dropped")] == [
        {"rule": "filter_spam", "number": 0.5, "threshold": 0.6}
    ] * 2
    assert main([*arguments, str(tmp_path / "b"), "--threshold", "filter_spam=0.5"]) == 0
    assert len(rows(tmp_path / "b", "kept")) == 2


def test_the_table_of_rules_is_printed(capsys, monkeypatch):
    monkeypatch.undo()
    assert main(["clean", "--rules"]) == 0
    assert "gopher_short_doc" in capsys.readouterr().out
