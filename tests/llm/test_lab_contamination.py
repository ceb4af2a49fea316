"""python -m llm.data contamination: what a test and a training text have in common is found, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.data.lab.command import main
from llm.data.lab.duplicates import shingles as fast
from llm.data.lab.duplicates.overlap import overlaps, runs_by_size
from llm.data.lab.duplicates.textbook import words_of

WORDS = st.sampled_from(["a", "b", "c", "D!", "é"])
TEXTS = st.lists(st.lists(WORDS, max_size=12).map(" ".join), max_size=5)
QUESTION = "How many clips did Natalia sell altogether in April and May, if she sold 48 of them to her friends?"


def words(text: str) -> list[str]:
    return words_of(text) or [text]


def runs_of(text: str, size: int) -> list[tuple[str, ...]]:
    found = words(text)
    return [tuple(found[i : i + size]) for i in range(len(found) - size + 1)]


@given(documents=TEXTS, texts=TEXTS, most=st.integers(1, 5), data=st.data())
def test_overlaps_are_the_runs_of_words_that_both_have(
    documents: list[str], texts: list[str], most: int, data: st.DataObject
) -> None:
    shortest = data.draw(st.integers(1, most))
    expected = {}
    for i, text in enumerate(texts):
        size = min(most, len(words(text)))
        wanted = set(runs_of(text, size)) if size >= shortest else set()
        for d, document in enumerate(documents):
            if count := sum(run in wanted for run in runs_of(document, size)):
                expected[d, i] = count
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast, "BLOCK", data.draw(st.sampled_from([8, 1000])))
        found = list(overlaps(documents, runs_by_size(texts, range(len(texts)), most, shortest)))
    assert {(each.document, each.item): each.runs for each in found} == expected
    for each in found:
        common = tuple(words(each.words))
        assert common in runs_of(documents[each.document], len(common))
        size = min(most, len(words(texts[each.item])))
        assert set(runs_of(each.words, size)) <= set(runs_of(texts[each.item], size))


def test_a_question_in_the_training_text_is_listed_and_dropped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"question": QUESTION, "answer": "72"},
        {"question": "Why?", "answer": "No"},
        {"list": [{"deep": "x " * 9}]},
    ]
    test, training = tmp_path / "test.jsonl", tmp_path / "training.jsonl"
    test.write_text("".join(json.dumps(row) + "\n" for row in rows))
    texts = ["Nothing of it. " * 9, f"Before. {QUESTION.upper().replace(' ', '  ')} After.", QUESTION[:40]]
    training.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    arguments = ["--test", str(test), "--out", str(tmp_path / "out"), "--json", str(tmp_path / "all.json")]
    assert main(["contamination", str(training), *arguments]) == 0
    printed = capsys.readouterr().out
    assert f"{training}, line 2 has {test}, line 1: how many clips did natalia" in printed
    assert "1 of 3 items are in the training text; 1 are too short to be looked for" in printed
    (dropped,) = (tmp_path / "out" / "dropped-00000.jsonl").read_text().splitlines()
    assert json.loads(dropped)["text"] == texts[1]
    assert json.loads(dropped)["overlaps"][0]["test"] == f"{test}, line 1"
    assert len((tmp_path / "out" / "kept-00000.jsonl").read_text().splitlines()) == 2
    assert json.loads((tmp_path / "all.json").read_text())["overlaps"][0]["words"].endswith("to her friends")


def test_a_long_overlap_is_shortened_where_it_is_printed_and_whole_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = " ".join(f"{a}{b}" for a in "abcdefghij" for b in "abcdefghijklmnopqrst")
    Path("a.txt").write_text(text)
    assert main(["contamination", "a.txt", "--test", "a.txt", "--json", "all.json"]) == 0
    said = capsys.readouterr()
    (line,) = [line for line in said.out.splitlines() if line.startswith("a.txt has a.txt: aa ab")]
    assert line.endswith("... (200 words)") and len(line) < 300
    assert json.loads(Path("all.json").read_text())["overlaps"][0]["words"] == text
    assert "nothing was written: --out FOLDER" in said.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["IN"], "contamination IN ... --test FILE"),
        (["IN", "--test", "T", "--shortest", "14"], "must be at least 1, and at most"),
        (["IN", "--test", "missing.jsonl"], "missing.jsonl: No such file"),
        (["IN", "--test", "T"], "no text of the tests has 8 words"),
        (["IN", "--test", "T", "--shortest", "1", "--out", "OUT", "--json", "no/where"], "no: there is no such folder"),
    ],
)
def test_what_cannot_be_searched_is_refused_in_a_sentence(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("IN").write_text("text")
    Path("T").write_text("short")
    try:
        status = main(["contamination", *arguments])
    except SystemExit as end:  # from the parser of options
        status = int(str(end.code))
    assert status in (1, 2)
    assert message in " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert not Path("OUT").exists(), "it is refused before the work"
