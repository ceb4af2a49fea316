"""The benchmark of tokenizers: its texts are the same each time, and nothing is compared that differs."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from benchmarks import tokenizer as benchmark
from benchmarks import tokenizer_added as added
from benchmarks import tokenizer_peers as peers
from benchmarks import tokenizer_texts as texts
from benchmarks.comparison import Mismatch, Spread
from tokenizer import Tokenizer, load


@pytest.mark.parametrize("make", [texts.english, texts.python, texts.multilingual])
def test_texts_have_their_size_and_are_the_same_each_time(make) -> None:  # noqa: ANN001
    text = make(50_000)
    assert 50_000 <= len(text.encode()) + 3 <= 51_000
    assert make(50_000) == text


def test_a_corpus_comes_back_from_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = texts.corpus(30_000)
    assert sum(len(text.encode()) for text in documents) == 30_000
    path = tmp_path / "corpus"
    path.write_text(peers.BETWEEN.join(documents), "utf-8", newline="")
    monkeypatch.setattr(peers, "BLOCK", 100)
    assert list(peers.documents(str(path))) == documents


def test_trainers_learn_as_many_tokens(tmp_path: Path) -> None:
    path = tmp_path / "corpus"
    path.write_text("low lower lowest" * 50, "utf-8")
    trainers = {"ours": "numpy", "textbook": "numpy", "tokenizers": "tokenizers", "rustbpe": "rustbpe"}
    found = {who for who, library in trainers.items() if importlib.util.find_spec(library)}
    assert {peers.train(who, str(path), "260")["tokens"] for who in found} == {260}


def test_the_table() -> None:
    results = [
        benchmark.as_speeds("encode", "a text", {"ours": [0.1, 0.2, 0.4], "tiktoken": [0.2, 0.2, 0.2]}),
        benchmark.Result("start", "import", "s", {"ours": Spread(0.012345, 0.01, 234.5)}, {}),
    ]
    assert benchmark.table(results) == [
        "| work |  | unit | ours | tiktoken | vs tiktoken |",
        "| --- | --- | --- | --- | --- | --- |",
        "| encode | a text | MB/s | 5 (2.5-10) | 5 (5-5) | 1 (0.5-2) |",
        "| start | import | s | 0.012 (0.01-234) |  |  |",
    ]
    assert json.loads(json.dumps(benchmark.to_json(results[0])))["ratios"]["tiktoken"]["max"] == 2


def test_different_ids_are_not_compared() -> None:
    def coder(*ids: int) -> peers.Coder:
        return peers.Coder(lambda text: list(ids), str, list)

    benchmark.check_ids({"ours": coder(1, 2), "tiktoken": coder(1, 2)}, "text")
    with pytest.raises(Mismatch, match="ours, tiktoken do not give the same ids"):
        benchmark.check_ids({"ours": coder(1, 2), "tiktoken": coder(1, 3)}, "text")


@pytest.mark.parametrize(
    ("option", "message"), [("--work=fly", "--work does not know fly"), ("--rounds=0", "at least 1, got 0")]
)
def test_options_that_make_no_sense(option: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        benchmark.main([option])


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parity
def test_a_measurement(shared_data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip("tiktoken")
    monkeypatch.setattr(texts, "MEGABYTE", 100_000)
    monkeypatch.setattr(benchmark.os, "sched_setaffinity", lambda *_: None, raising=False)
    monkeypatch.setenv("MINIGRAD_DATA", str(shared_data))
    for name, value in peers.ONE_THREAD.items():
        monkeypatch.setenv(name, value)
    benchmark.main(["--work", "huge,decode", "--encodings", "gpt2", "--quick"])
    lines = capsys.readouterr().out.splitlines()
    rows = [line for line in lines if line.startswith("| one huge word") or line.startswith("| decode")]
    assert len(rows) == 4
    assert all("MB/s" in row for row in rows)


def test_a_vocabulary_with_thousands_of_added_tokens(tmp_path: Path) -> None:
    source = tmp_path / "tokenizers" / "gpt2"
    Tokenizer.train(["low lower lowest"], 260, ["<|x|>"]).save(source)
    (tmp_path / "out").mkdir()
    made = load(added.write_vocabulary(tmp_path, tmp_path / "out"))
    assert len(made.added_tokens) == added.ADDED_TOKENS
    assert made.decode(made.encode("<unused7>low<unused8>", allowed_special="all")) == "<unused7>low<unused8>"
    with pytest.raises(FileNotFoundError, match=r"no tokenizer\.json in"):
        added.write_vocabulary(tmp_path / "nothing", tmp_path)


@pytest.mark.parity
def test_what_is_compared_with_added_tokens_gives_the_same_ids(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    Tokenizer.train(["low lower lowest"], 260, ["<|x|>"]).save(tmp_path / "tokenizers" / "gpt2")
    path = added.write_vocabulary(tmp_path, tmp_path)
    for what, works in added.works_of(path, "low lower\nlowest").items():
        if what != "loading the file":
            assert works["ours"][0]() == works["tokenizers"][0](), what
