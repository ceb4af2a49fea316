"""`python -m llm.data mix`: exact counts, whole passes, the same mixture for the same seed."""

from __future__ import annotations

import json
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.data.lab import drawing
from llm.data.lab.command import main
from llm.data.lab.drawing import apportion, draw, largest_total, scaled
from llm.data.reading import read_documents

WEIGHTS = st.lists(st.floats(0.01, 100), min_size=1, max_size=5)
SOURCES = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 100)), min_size=1, max_size=4)  # size, count


@given(WEIGHTS, st.integers(0, 10_000))
def test_counts_add_up_and_differ_from_their_shares_by_less_than_one(weights: list[float], total: int) -> None:
    counts = apportion(weights, total)
    assert sum(counts) == total and min(counts) >= 0
    assert all(abs(count - total * w / sum(weights)) < 1 + 1e-9 for count, w in zip(counts, weights))


@given(WEIGHTS, st.integers(-1000, 900), st.integers(0, 10_000))
def test_the_unit_of_the_weights_does_not_matter(weights: list[float], exponent: int, total: int) -> None:
    others = scaled([weight * 2.0**exponent for weight in weights])
    assert scaled(weights) == others and apportion(others, total) == apportion(weights, total)
    assert largest_total(others, [7] * len(others)) == largest_total(weights, [7] * len(weights))


@given(st.lists(st.tuples(st.floats(0.1, 10), st.integers(1, 50)), min_size=1, max_size=4))
def test_the_largest_total_repeats_no_document_and_one_more_would(sources: list[tuple[float, int]]) -> None:
    weights, sizes = zip(*sources)
    total = largest_total(weights, sizes)
    assert total >= 1 and all(count <= size for count, size in zip(apportion(weights, total), sizes))
    assert any((total + 1) * w / sum(weights) > size for w, size in zip(weights, sizes)), "the share of a source"


@given(SOURCES, st.integers(0, 99))
def test_each_source_comes_as_often_as_counted_and_in_whole_passes(sources: list[tuple[int, int]], seed: int) -> None:
    sizes, counts = zip(*sources)
    places = list(draw(counts, sizes, seed))
    assert places == list(draw(counts, sizes, seed))
    for number, (size, count) in enumerate(sources):
        rows = [row for source, row in places if source == number]
        assert len(rows) == count
        for begin in range(0, count, size):
            part = rows[begin : begin + size]
            assert len(set(part)) == len(part) and set(part) <= set(range(size))


@given(SOURCES, st.integers(0, 99), st.integers(1, 50))
def test_the_places_do_not_depend_on_how_many_are_computed_at_once(sources, seed: int, block: int) -> None:
    sizes, counts = zip(*sources)
    expected = list(draw(counts, sizes, seed))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawing, "BLOCK", block)
        assert list(draw(counts, sizes, seed)) == expected


def test_sources_and_documents_come_in_random_order() -> None:
    """The first half has half of each source, and half of its documents: 5 standard deviations of each."""
    places = list(draw([3000, 1000], [3000, 500], seed=1))
    first = places[:2000]
    assert abs(sum(source == 0 for source, _ in first) - 1500) < 5 * np.sqrt(2000 * 0.75 * 0.25 / 2)
    assert abs(sum(row < 1500 for source, row in first if source == 0) - 750) < 5 * np.sqrt(1500 / 8)
    second_pass = [row for source, row in places if source == 1][500:]
    assert second_pass != [row for source, row in places if source == 1][:500]
    assert places != list(draw([3000, 1000], [3000, 500], seed=2))


def test_a_mixture_of_very_many_documents_begins_at_once() -> None:
    assert len(list(islice(draw([10**15, 1], [10**12, 3], seed=0), 10))) == 10


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, list[str]]:
    texts = {"a": [f"a {i}" for i in range(50)], "b": [f"b {i}, a longer text: " + "x" * 40 for i in range(6)]}
    for name, each in texts.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"text": t, "n": len(t)}) + "\n" for t in each))
    return texts


def mixed(folder: Path, out: str, *options: str, weights: tuple[object, object] = (3, 1)) -> list[str]:
    names = [f"{folder}/{name}.jsonl={weight}" for name, weight in zip("ab", weights)]
    assert main(["mix", *names, "--out", str(folder / out), *options]) == 0
    return [document.text for document in read_documents([str(folder / out)])]


def test_a_mixture_has_whole_documents_of_each_source_by_weight(tmp_path: Path, sources, capsys) -> None:
    texts = mixed(tmp_path, "out", "--documents", "40")
    counts = Counter(text[0] for text in texts)
    assert counts == {"a": 30, "b": 10} and set(texts) <= {*sources["a"], *sources["b"]}
    assert max(Counter(texts).values()) == 2, "10 of 6 documents: four of them come twice"
    printed = capsys.readouterr().out
    assert "10 of 6 documents" in printed and "1.67 passes" in printed
    row = json.loads((tmp_path / "out" / "kept-00000.jsonl").read_text().splitlines()[0])
    assert row["n"] == len(row["text"]) and ".jsonl, line " in row["source"]
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [s["drawn"] for s in report["sources"]] == [30, 10] and report["documents"]["kept"] == 40
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"kept-00000.jsonl", "report.json"}


def test_without_a_number_no_document_comes_twice(tmp_path: Path, sources) -> None:
    texts = mixed(tmp_path, "out")
    assert Counter(text[0] for text in texts)["b"] == 6 and len(set(texts)) == len(texts) == 24


@pytest.mark.parametrize("weights", [("1e308", "1e308"), ("5e-324", "5e-324"), ("3e307", "1e308")])
@pytest.mark.parametrize("by", ["documents", "bytes"])
def test_weights_may_be_as_large_or_small_as_numbers_are(tmp_path: Path, sources, weights, by: str) -> None:
    texts = mixed(tmp_path, "out", "--by", by, weights=weights)
    assert texts and {text[0] for text in texts} == {"a", "b"}


def test_the_seed_decides_the_bytes(tmp_path: Path, sources) -> None:
    texts = [mixed(tmp_path, f"out{i}", "--seed", seed, "--shard", "0.001") for i, seed in enumerate("778")]
    assert texts[0] == texts[1] != texts[2]
    files = [sorted((p.name, p.read_bytes()) for p in (tmp_path / f"out{i}").iterdir()) for i in (0, 1)]
    assert files[0] == files[1] and len(files[0]) > 2, "several files"


def test_weights_can_be_shares_of_bytes(tmp_path: Path, sources) -> None:
    texts = mixed(tmp_path, "out", "--by", "bytes", "--documents", "2000", weights=(1, 1))
    share = sum(len(text) for text in texts if text[0] == "a") / sum(map(len, texts))
    assert abs(share - 0.5) < 0.01, "whole passes, but for the last: up to 6 texts of 60 in 20,000 bytes"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("a.jsonl", "is not a source with a weight"),
        ("a.jsonl=0", "is not a source with a weight"),
        ("a.jsonl=nan", "is not a source with a weight"),
        ("=1", "is not a source with a weight"),
        ("nothing.jsonl=1", "nothing.jsonl is neither"),
        ("empty.jsonl=1", "has no documents"),
    ],
)
def test_a_wrong_source_is_told_and_nothing_is_left(
    tmp_path: Path, monkeypatch, sources, source, message, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty.jsonl").write_text("\n")
    before = sorted(tmp_path.iterdir())
    assert main(["mix", "b.jsonl=1", source, "--out", "out"]) == 1
    assert message in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("number", ["0", "-1", "99999999999999999999"])
def test_a_number_of_documents_that_cannot_be_is_refused(tmp_path: Path, sources, capsys, number: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["mix", f"{tmp_path}/a.jsonl=1", "--out", str(tmp_path / "out"), "--documents", number])
    assert ended.value.code == 2 and "must be from 1 to" in capsys.readouterr().err


def test_what_is_there_is_not_replaced(tmp_path: Path, sources, capsys) -> None:
    (tmp_path / "out").mkdir()
    mixed(tmp_path, "out")
    assert main(["mix", f"{tmp_path}/a.jsonl=1", "--out", str(tmp_path / "out")]) == 1
    assert "is there already" in capsys.readouterr().err


def test_broken_lines_are_named_and_counted(tmp_path: Path, sources, capsys) -> None:
    with open(tmp_path / "a.jsonl", "a") as file:
        file.write('{"text": \n' * 9)
    mixed(tmp_path, "out")
    told = capsys.readouterr().err
    assert told.count("a.jsonl, line 5") == 5 and "9 in all with the problem broken_row" in told
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["sources"][0]["problems"] == {"broken_row": 9}
