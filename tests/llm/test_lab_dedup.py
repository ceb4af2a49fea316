"""python -m llm.data dedup: the same result however the work is cut, in any number of processes, also after a kill."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.data.documents import Document
from llm.data.lab.command import main
from llm.data.lab.duplicates import chunks as chunks_module
from llm.data.lab.duplicates import groups, textbook
from llm.data.lab.duplicates.chunks import read_chunk, write_chunks
from llm.data.lab.duplicates.exact import Unit, split, without_repeated
from llm.data.lab.duplicates.near import Search, first_of_clusters
from llm.data.lab.duplicates.plan import Plan
from llm.data.lab.workers import workers
from tests.llm.labs import TEXT, contents, write_corpus

ROOT = Path(__file__).parents[2]
PLAN = Plan(bands=6, rows=2, words=2)
WORDS = st.sampled_from(["a", "b", "c", "d"])
# Few words, so that there are duplicates of all kinds, and texts of different lengths that share most of their words.
CORPORA = st.lists(st.one_of(st.lists(WORDS, max_size=6), st.lists(WORDS, min_size=6)).map(" ".join), max_size=12)


@contextmanager
def cut(documents: int, keys: int) -> Iterator[Path]:
    """A folder for a corpus that is cut into chunks of so many documents, and whose keys into parts of so many."""
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as folder:
        patch.setattr(chunks_module, "DOCUMENTS", documents)
        patch.setattr(groups, "MOST_KEYS", keys)
        yield Path(folder)


def clusters(texts: Sequence[str], search: Search, documents: int = 3, keys: int = 100) -> list[int]:
    with cut(documents, keys) as folder, workers(1) as run:
        parts = list(write_chunks(map(Document, texts), folder))
        return first_of_clusters(parts, search, folder, run)[0].tolist()


@given(texts=CORPORA, documents=st.integers(1, 13), keys=st.integers(2, 100))
def test_clusters_are_those_of_the_textbook_however_the_corpus_is_cut(
    texts: list[str], documents: int, keys: int
) -> None:
    assert clusters(texts, Search(exact=False, near=PLAN), documents, keys) == textbook.first_alike(texts, PLAN)


@given(texts=st.lists(st.text("ab", max_size=2), max_size=12), documents=st.integers(1, 13), keys=st.integers(2, 100))
def test_equal_texts_are_together_without_minhash(texts: list[str], documents: int, keys: int) -> None:
    assert clusters(texts, Search(near=None), documents, keys) == [texts.index(text) for text in texts]


@pytest.mark.parametrize("unit", ["lines", "paragraphs"])
@given(data=st.data(), documents=st.integers(1, 13), keys=st.integers(2, 100))
def test_parts_that_repeat_are_counted_in_the_whole_corpus(
    unit: Unit, data: st.DataObject, documents: int, keys: int
) -> None:
    end = {"lines": "\n", "paragraphs": "\n\n"}[unit]
    texts = data.draw(st.lists(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=4).map(end.join), max_size=8))
    counts = Counter(part for text in texts for part in text.split(end))
    with cut(documents, keys) as folder, workers(1) as run:
        chunks = list(write_chunks(map(Document, texts), folder))
        for policy in ("first", "unique"):
            edited = without_repeated(chunks, unit, policy, folder, run)
            left = [document.text.split(end) for each in edited for document in read_chunk(each.path)]
            emptied = [document.text for each in edited for document in read_chunk(each.emptied)]
            found = [part for parts in left for part in parts if part]
            assert found == [part for part in counts if policy == "first" or counts[part] == 1]
            assert len(left) + len(emptied) == len(texts)
            assert sum(each.parts for each in edited) == counts.total() - len(found)


@given(texts=CORPORA, data=st.data())
def test_the_same_documents_are_together_in_any_order(texts: list[str], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(texts))))
    search = Search(near=PLAN, verify=data.draw(st.sampled_from([None, 0.6])))
    before, after = clusters(texts, search), clusters([texts[i] for i in order], search)
    together = [before[i] for i in order]
    for i, j in combinations(range(len(texts)), 2):
        assert (together[i] == together[j]) == (after[i] == after[j])


@given(texts=CORPORA, threshold=st.sampled_from([0.5, 0.75, 1.0]))
def test_verified_clusters_join_the_pairs_that_are_alike_and_no_others(texts: list[str], threshold: float) -> None:
    plan = Plan(bands=20, rows=1, words=2)  # misses one in 10^6 pairs of similarity 0.5
    sets = [textbook.shingles(text, 2) for text in texts]
    expected = list(range(len(texts)))
    for _ in texts:
        for i, one in enumerate(sets):
            for j, other in enumerate(sets):
                if textbook.jaccard(one, other) >= threshold:
                    expected[i] = expected[j] = min(expected[i], expected[j])
    assert clusters(texts, Search(near=plan, verify=threshold)) == expected


# --- the command ------------------------------------------------------------------------------------------------------


def rows(folder: Path, kind: str) -> list[dict[str, Any]]:
    files = sorted(folder.glob(f"{kind}-*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]


TEXTS = [TEXT, "yes", TEXT.replace("wordaa", "other"), TEXT, "something else", "Yes!", "no", "!!!", "???"]


def test_what_is_dropped_names_what_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = write_corpus(tmp_path / "raw.jsonl", TEXTS)
    assert main(["dedup", str(corpus), "--out", str(tmp_path / "out")]) == 0
    assert [row["id"] for row in rows(tmp_path / "out", "kept")] == [0, 1, 4, 6, 7, 8]
    found = {row["id"]: (row["dropped"]["rule"], row["duplicate_of"]) for row in rows(tmp_path / "out", "dropped")}
    place = f"{corpus}, line"
    exact, near = "exact_duplicate", "near_duplicate"
    assert found == {2: (near, f"{place} 1"), 3: (exact, f"{place} 1"), 5: (near, f"{place} 2")}
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["documents"] == {"in": 9, "kept": 6, "dropped": 3, "problems": 0}
    assert report["dropped"][near]["documents"] == 2
    assert "9 = 6 kept + 3 dropped + 0 problems" in capsys.readouterr().out
    names = {"kept-00000.jsonl", "dropped-00000.jsonl", "problems-00000.jsonl", "report.json"}
    assert set(contents(tmp_path / "out")) == names


@pytest.mark.parametrize(
    ("policy", "expected"), [("first", ["home\nmenu\n\none\n", "\ntwo\n"]), ("unique", ["one\n", "two\n"])]
)
def test_lines_stay_where_they_are_first_or_only_if_there_is_no_other(
    policy: str, expected: list[str], tmp_path: Path
) -> None:
    corpus = write_corpus(tmp_path / "raw.jsonl", ["home\nmenu\n\none\n", "home\nmenu\n\ntwo\n", "menu\n"])
    assert main(["dedup", str(corpus), "--out", str(tmp_path / "out"), "--no-near", "--lines", policy]) == 0
    assert [row["text"] for row in rows(tmp_path / "out", "kept")] == expected
    (dropped,) = rows(tmp_path / "out", "dropped")
    assert (dropped["text"], dropped["dropped"]["rule"]) == ("menu\n", "repeated_lines")


def test_lines_alone_can_be_taken_out(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "raw.jsonl", ["one\ntwo", "two", "two\nthree"])
    options = ["--no-near", "--no-exact", "--lines", "first"]
    assert main(["dedup", str(corpus), "--out", str(tmp_path / "out"), *options]) == 0
    assert [row["text"] for row in rows(tmp_path / "out", "kept")] == ["one\ntwo", "three"]


def test_a_folder_that_is_done_is_not_done_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["dedup", str(write_corpus(tmp_path / "raw.jsonl", TEXTS)), "--out", str(tmp_path / "out")]
    assert main(words) == main(words) == 0
    printed = capsys.readouterr()
    assert "is done already" in printed.err and printed.out.count("6 kept") == 2
    assert main([*words, "--rows", "4"]) == 1
    assert "is done, with other options; give another --out" in capsys.readouterr().err


def test_what_cannot_be_read_is_counted(tmp_path: Path) -> None:
    raw = tmp_path / "raw.jsonl"
    raw.write_bytes(b'{"text": "one"}\n{"text": \n{"no": 1}\n{"text": "two"}\n')
    assert main(["dedup", str(raw), "--out", str(tmp_path / "out")]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["documents"] == {"in": 4, "kept": 2, "dropped": 0, "problems": 2}
    assert len(rows(tmp_path / "out", "problems")) == 2


def test_paragraphs_that_repeat_are_taken_out(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "raw.jsonl", ["one\n1\n\ntwo", "three\n\none\n1", "one\n1"])
    assert main(["dedup", str(corpus), "--out", str(tmp_path / "out"), "--no-near", "--paragraphs", "first"]) == 0
    assert [row["text"] for row in rows(tmp_path / "out", "kept")] == ["one\n1\n\ntwo", "three\n\n"]


@given(st.text(st.sampled_from("a\n \r\u2028")))
def test_the_parts_of_a_text_are_the_text(text: str) -> None:
    for unit in ("lines", "paragraphs"):
        assert "".join(part + end for part, end in split(text, unit)) == text


def test_licences_that_differ_in_their_heads_are_near_duplicates(tmp_path: Path) -> None:
    """As in Stanford's CS336: those of Rails and React, with 500 hashes in 50 bands, and a true similarity of 0.8."""
    _, body = (ROOT / "LICENSE").read_text().split("Permission is hereby granted", 1)
    heads = ["Copyright (c) David Heinemeier Hansson", "MIT License\n\nCopyright (c) Meta Platforms, Inc."]
    texts = [*(f"{head}\n\nPermission is hereby granted{body}" for head in heads), TEXT]
    corpus = write_corpus(tmp_path / "raw.jsonl", texts)
    options = ["--bands", "50", "--rows", "10", "--verify", "0.8"]
    assert main(["dedup", str(corpus), "--out", str(tmp_path / "out"), *options]) == 0
    assert [row["id"] for row in rows(tmp_path / "out", "kept")] == [0, 2]
    (dropped,) = rows(tmp_path / "out", "dropped")
    expected = textbook.jaccard(*(textbook.shingles(text, 5) for text in texts[:2]))
    assert dropped["similarity"] == dropped["dropped"]["number"] == pytest.approx(expected, abs=1e-4)
    assert dropped["dropped"]["threshold"] == 0.8 <= expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--processes", "0"], "must be more than 0"),
        (["--verify", "2"], "is not a similarity: it must be above 0, and at most 1"),
        (["--verify", "0.5", "--no-near"], "--no-near does not look for them"),
        (["--no-near", "--no-exact"], "there is nothing to look for"),
        (["--bands", "0"], "--bands must be at least 1, got 0"),
    ],
)
def test_options_without_sense_are_refused_in_a_sentence(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status = main(["dedup", "raw.jsonl", "--out", str(tmp_path / "out"), *options])
    except SystemExit as end:  # from the parser of options
        status = int(str(end.code))
    assert status in (1, 2)
    assert message in " ".join(capsys.readouterr().err.replace("│", " ").split())
