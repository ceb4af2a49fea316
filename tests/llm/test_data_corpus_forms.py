"""`train.py --data` with rows, pages and compressed files: in every form, the text is that of the documents."""

from __future__ import annotations

import gzip
import io
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.data.corpora import open_corpus
from llm.data.corpus import Corpus
from llm.data.dataset import prepare
from llm.data.errors import DataError
from tests.llm.forms import COMPRESSIONS, FORMS, jsonl, texts
from tokenizer import Tokenizer


def texts_of(corpus: Corpus) -> list[str]:
    return ["".join(document) for document in corpus.documents()]


@given(
    rows=st.lists(texts, min_size=1),
    form=st.sampled_from(sorted(FORMS)),
    compression=st.sampled_from(sorted(COMPRESSIONS)),
)
def test_each_form_of_a_text_is_the_same_corpus(tmp_path_factory, rows, form, compression):
    pytest.importorskip("pyarrow")
    pytest.importorskip("zstandard")
    path = tmp_path_factory.mktemp("forms") / f"a{form}{compression}"
    path.write_bytes(COMPRESSIONS[compression](FORMS[form]([{"text": text} for text in rows])))
    corpus = open_corpus(str(path))
    assert texts_of(corpus) == rows == texts_of(corpus), "it can be read again"
    # The fingerprint is a part of the name in the cache: what was tokenized in one form is found in another.
    assert corpus.survey.fingerprint == Corpus("texts", rows).survey.fingerprint


@given(text=texts, compression=st.sampled_from([".gz", ".zst"]), size=st.integers(1, 9))
def test_a_compressed_text_is_read_in_chunks_like_another(tmp_path_factory, text, compression, size):
    pytest.importorskip("zstandard")
    path = tmp_path_factory.mktemp("text") / f"a.txt{compression}"
    path.write_bytes(COMPRESSIONS[compression](text.encode()))
    (document,) = Corpus("a", [path], chunk_characters=size).documents()
    chunks = list(document)
    assert "".join(chunks) == text.removeprefix("\ufeff") and all(len(chunk) <= 2 * size for chunk in chunks)


def test_rows_through_a_pipe_are_documents_and_other_text_is_not(monkeypatch):
    for content, expected in [
        (jsonl([{"text": "one"}, {"text": "two"}]), ["one", "two"]),
        (gzip.compress(b"plain"), ["plain"]),
        (b'{"name": "settings"}\n', ['{"name": "settings"}\n']),
        (b"text,n\none,1\n", ["text,n\none,1\n"]),
    ]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        assert texts_of(open_corpus("-")) == expected


def test_a_folder_may_hold_all_forms(tmp_path):
    (tmp_path / "a.txt").write_text("plain")
    (tmp_path / "b.jsonl").write_bytes(jsonl([{"text": "row 1"}, {"text": ""}, {"text": "row 2"}]))
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress(b"text\nrow 3\n"))
    (tmp_path / "d.bin").write_bytes(b"\0")
    (tmp_path / "e.json").write_text('{\n  "name": "settings"\n}')
    corpus = open_corpus(str(tmp_path))
    assert texts_of(corpus) == ["plain", "row 1", "row 2", "row 3", '{\n  "name": "settings"\n}']
    assert corpus.left_out == [tmp_path / "d.bin"]


def test_of_a_folder_of_the_lab_what_was_kept_is_learned_from(tmp_path):
    for name in ("kept-00000.jsonl", "dropped-00000.jsonl"):
        (tmp_path / name).write_bytes(jsonl([{"text": name, "source": "x"}]))
    (tmp_path / "report.json").write_text(json.dumps({"text": "no document"}))
    assert texts_of(open_corpus(str(tmp_path))) == ["kept-00000.jsonl"]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.jsonl", b'{"text": "good"}\n{"n": 1}\n', r"a.jsonl, line 2: the row has no field 'text', only n; .*clean"),
        (
            "a.jsonl",
            b'{"prompt": "a", "completion": "b"}\n',
            "only prompt, completion, which train.py reads with --obj",
        ),
        ("a.jsonl", b'{"text": "good"}\n{"text"\n', "a.jsonl, line 2: .* is not JSON"),
        ("a.csv", b"id,content\n1,x\n", "a.csv: no column is called 'text'; the first row is id, content"),
        ("a.jsonl", b"", "a.jsonl is empty"),
        ("a.jsonl", b'{"text": ""}\n', "a.jsonl is empty"),
        ("a.txt.gz", gzip.compress(b"")[:-3], "a.txt.gz is damaged"),
        ("a.txt.gz", gzip.compress(bytes(range(1, 128)) * 2000)[:-3], "a.txt.gz is damaged"),
        ("a.txt.gz", gzip.compress(b"\0"), "a.txt.gz is not UTF-8 text"),
    ],
)
def test_what_cannot_be_learned_from_is_refused_by_its_place(tmp_path, name, content, sentence):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=sentence):
        open_corpus(str(tmp_path / name)).take_survey()


def test_a_missing_package_is_told(tmp_path, monkeypatch):
    (tmp_path / "a.html").write_text("<p>text</p>")
    monkeypatch.setitem(sys.modules, "trafilatura", None)
    with pytest.raises(DataError, match="needs trafilatura"):
        open_corpus(str(tmp_path))


@pytest.mark.parametrize("rows", [1, 3])
def test_rows_that_change_meanwhile_are_refused(tmp_path, monkeypatch, rows):
    monkeypatch.setenv("MINIGRAD_CACHE", str(tmp_path / "cache"))
    path: Path = tmp_path / "a.jsonl"
    path.write_bytes(jsonl([{"text": "a text of some words"}] * 2))
    corpus = open_corpus(str(path))
    corpus.take_survey()
    path.write_bytes(jsonl([{"text": "a text of some words"}] * rows))
    with pytest.raises(DataError, match="changed while it was being read"):
        prepare(corpus, Tokenizer.train(["a text of some words"], 257))
