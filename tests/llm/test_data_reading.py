"""Documents come out of every form as they went in; what cannot be read is a problem, and nothing else is lost."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.data.documents import Document
from llm.data.errors import DataError
from llm.data.problems import NAMES, Problem
from llm.data.reading import BY_SUFFIX, read_documents
from tests.llm.forms import COMPRESSIONS, FORMS, csv_table, jsonl, texts


def read(path: str | Path, **options) -> tuple[list[Document], list[Problem]]:
    problems: list[Problem] = []
    documents = list(read_documents([str(path)], problems.append, **options))
    assert {problem.name for problem in problems} <= NAMES.keys()
    assert all(problem.place and problem.message for problem in problems)
    return documents, problems


def written(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    return folder / name


def names_of(problems: list[Problem]) -> list[str]:
    return [problem.name for problem in problems]


@pytest.fixture(autouse=True, scope="module")
def _packages():
    for package in ("pyarrow", "zstandard", "trafilatura"):
        pytest.importorskip(package)


# Every form ---------------------------------------------------------------------------------------------------------


@given(rows=st.lists(texts, min_size=1), form=st.sampled_from(sorted(FORMS)), compression=st.sampled_from(["", ".gz"]))
def test_texts_and_fields_of_rows_come_out_as_they_went_in(tmp_path_factory, rows, form, compression):
    table = [{"id": str(number), "text": text} for number, text in enumerate(rows)]
    content = COMPRESSIONS[compression](FORMS[form](table))
    path = written(tmp_path_factory.mktemp("rows"), f"file{form}{compression}", content)
    documents, problems = read(path)
    assert (problems, [document.text for document in documents]) == ([], rows)
    assert [document.fields for document in documents] == [{"id": str(number)} for number in range(len(rows))]
    assert len({document.source for document in documents}) == len(rows), "each has a place of its own"


@given(text=texts, compression=st.sampled_from(sorted(COMPRESSIONS)))
def test_a_plain_text_is_one_document_whatever_compresses_it(tmp_path_factory, text, compression):
    path = written(tmp_path_factory.mktemp("text"), f"file.txt{compression}", COMPRESSIONS[compression](text.encode()))
    assert read(path) == ([Document(text.removeprefix("\ufeff"), str(path))], [])


def test_the_place_of_a_row_is_its_line(tmp_path):
    path = written(tmp_path, "a.csv", b'text,n\n"one\ntwo",1\nthree,2\n')
    assert [document.source for document in read(path)[0]] == [f"{path}, line 2", f"{path}, line 4"]
    path = written(tmp_path, "a.jsonl", b'\n{"text": "one"}\n\n{"text": "two"}')
    assert [document.source for document in read(path)[0]] == [f"{path}, line 2", f"{path}, line 4"]


def test_a_page_is_its_article_in_its_own_encoding(tmp_path):
    article = "".join(f"<p>A sentence about coffee, number {n}, which is in no menu of a café.</p>" for n in range(20))
    html = f"<html><head><meta charset=latin-1></head><body><nav><a href=x>Menu</a></nav>{article}</body></html>"
    (document,) = read(written(tmp_path, "page.html", html.encode("latin-1")))[0]
    assert document.text.count("café") == 20 and "Menu" not in document.text and "<" not in document.text
    assert read(written(tmp_path, "small.htm", b"<p>few words</p>"))[0][0].text == "few words"
    assert names_of(read(written(tmp_path, "none.html", b"<html><body><script>x()</script></body></html>"))[1]) == [
        "no_text"
    ]


def test_json_is_rows_where_it_holds_objects_with_texts_and_else_a_text(tmp_path):
    lines = written(tmp_path, "lines.json", b'{"text": "one"}\n{"text": "two"}\n')
    array = written(tmp_path, "array.json", b'[{"text": "one"},\n {"text": "two"}]')
    assert [[document.text for document in read(path)[0]] for path in (lines, array)] == [["one", "two"]] * 2
    settings = written(tmp_path, "settings.json", b'{\n  "name": "x"\n}\n')
    assert read(settings)[0] == [Document('{\n  "name": "x"\n}\n', str(settings))]


def test_a_table_of_texts_and_labels_needs_no_header_but_other_tables_do(tmp_path):
    labelled = written(tmp_path, "a.tsv", b"ham\tHow are you?\nspam\tWin!\nham\tFine.\nspam\tBuy!\n")
    assert [dict(document.fields) for document in read(labelled)[0]] == [
        {"label": kind} for kind in ["ham", "spam"] * 2
    ]
    other = written(tmp_path, "b.csv", b"id,content\n1,one\n2,two\n3,three\n4,four\n")
    assert (read(other)[0], names_of(read(other)[1])) == ([], ["no_text"])
    assert [document.text for document in read(other, field="content")[0]] == ["one", "two", "three", "four"]


@given(rows=st.lists(texts, min_size=1, max_size=4), compression=st.sampled_from(sorted(COMPRESSIONS)))
@pytest.mark.parametrize("form", [jsonl, FORMS[".parquet"]])
def test_standard_input_shows_its_form(form, rows, compression):
    content = COMPRESSIONS[compression](form([{"text": text} for text in rows]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        documents, problems = read("-")
    assert (problems, [document.text for document in documents]) == ([], rows)
    assert documents[0].source in ("standard input, line 1", "standard input, row 1")


def test_standard_input_without_rows_is_a_text_and_is_read_once(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"a": 1}\nplain\n')))
    assert read("-")[0] == [Document('{"a": 1}\nplain\n', "standard input")]
    with pytest.raises(DataError, match="read before"):
        read("-")


# Folders ------------------------------------------------------------------------------------------------------------


def test_folders_and_patterns_give_all_files_in_order_without_hidden_ones(tmp_path):
    (tmp_path / "b").mkdir()
    for name in ("a.txt", "b/c.txt", "b.txt", "d.txt", ".hidden"):
        written(tmp_path, name, name.encode())
    (tmp_path / "link").symlink_to(tmp_path)  # not followed: it has no end
    assert [document.text for document in read(tmp_path)[0]] == ["a.txt", "b/c.txt", "b.txt", "d.txt"]
    assert [document.text for document in read(tmp_path / "[bd]*" / "*.txt")[0]] == ["b/c.txt"]
    for nothing in ("nothing", "*.none", ""):
        with pytest.raises(DataError, match="neither a file"):
            read(tmp_path / "b" / nothing if nothing else "")


def test_of_a_folder_of_the_lab_what_was_kept_is_read_with_its_first_source(tmp_path):
    written(tmp_path, "kept-00000.jsonl", jsonl([{"text": "good", "source": "web, line 7", "n": 1}]))
    written(tmp_path, "kept-00001.jsonl", b"")
    written(tmp_path, "dropped-00000.jsonl", jsonl([{"text": "bad", "source": "web, line 8"}]))
    written(tmp_path, "report.json", b"{}")
    assert read(tmp_path) == ([Document("good", "web, line 7", {"n": 1})], [])
    assert read(written(tmp_path, "rows.jsonl", jsonl([{"text": "x", "source": "y"}])))[0][0].fields == {"source": "y"}
    written(tmp_path, "state.json", b"{}")
    with pytest.raises(DataError, match="has not ended"):
        read(tmp_path)


# Problems -----------------------------------------------------------------------------------------------------------

BROKEN_LINES = {
    b"{broken": "broken_row",
    b"[1, 2]": "broken_row",
    b'{"text": 3}': "no_text",
    b'{"n": 3}': "no_text",
    b'{"text": null}': "no_text",
    b'{"text": " "}': "empty",
    b'{"text": "\\ud800"}': "not_utf8",
    b'{"text": "\xff"}': "not_utf8",
    b'{"text": "' + b"x" * 3000 + b'"}': "too_long",
    b'{"text": "' + b"x" * 30000 + b'"}': "too_long",
}


@given(lines=st.lists(st.sampled_from(sorted(BROKEN_LINES)) | texts, min_size=1))
def test_broken_lines_are_named_and_the_others_are_read(tmp_path_factory, lines):
    content = b"".join(
        (line if isinstance(line, bytes) else json.dumps({"text": line}).encode()) + b"\n" for line in lines
    )
    path = written(tmp_path_factory.mktemp("lines"), "a.jsonl", content)
    documents, problems = read(path, longest=2000)
    assert [document.text for document in documents] == [line for line in lines if isinstance(line, str)]
    broken = [(number, line) for number, line in enumerate(lines, 1) if isinstance(line, bytes)]
    assert [(p.place, p.name) for p in problems] == [(f"{path}, line {n}", BROKEN_LINES[line]) for n, line in broken]


BROKEN_ROWS = {b'"x"y,1': "broken_row", b"1": "broken_row", b"\xff,1": "not_utf8", b" ,1": "empty"}
BROKEN_ROWS |= {b"x" * 3000 + b",1": "too_long", b"x" * 30000 + b",1": "too_long", b"1,2,3": "broken_row"}


@given(lines=st.lists(st.sampled_from(sorted(BROKEN_ROWS)) | texts, min_size=1))
def test_broken_rows_of_a_table_are_named_and_the_others_are_read(tmp_path_factory, lines):
    rows = [line + b"\n" if isinstance(line, bytes) else csv_table([{"text": line, "n": 1}]) for line in lines]
    # Of a row that was written, without its header.
    content = b"text,n\n" + b"".join(row.removeprefix(b"text,n\r\n") for row in rows)
    documents, problems = read(written(tmp_path_factory.mktemp("rows"), "a.csv", content), longest=2000)
    assert [document.text for document in documents] == [line for line in lines if isinstance(line, str)]
    assert names_of(problems) == [BROKEN_ROWS[line] for line in lines if isinstance(line, bytes)]


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.txt", b"", "empty"),
        ("a.txt", b"\xef\xbb\xbf\n", "empty"),
        ("a.txt", b"one\ntwo\n\xe9", "not_utf8"),
        ("a.txt", "two".encode("utf-16"), "binary"),
        ("a.txt", b"x" * 3000, "too_long"),
        ("a.jsonl", b"\n", "empty"),
        ("a.jsonl", '{"text": "a"}'.encode("utf-16"), "binary"),
        ("a.csv", b"text\n", "empty"),
        ("a.json", b'[{"text": ' + b"x" * 3000, "too_long"),
        ("a.json", b'[{"text": "a}', "broken_row"),
        ("a.html", b" ", "empty"),
        ("a.html", b"<p>" + b"x" * 3000, "too_long"),
        ("a.parquet", b"PAR1", "damaged"),
        ("a.txt.gz", gzip.compress(b"x" * 99)[:-9], "damaged"),
        ("a.txt.gz", gzip.compress(b""), "empty"),
    ],
)
def test_a_file_that_is_no_document_is_one_problem(tmp_path, name, content, problem):
    assert (read(written(tmp_path, name, content), longest=2000)[0], problem) == ([], problem)
    assert names_of(read(tmp_path / name, longest=2000)[1]) == [problem]


def test_what_comes_before_damage_is_read(tmp_path):
    content = jsonl([{"text": f"text {n}"} for n in range(20_000)])
    for suffix in (".gz", ".zst"):
        path = written(tmp_path, f"a.jsonl{suffix}", COMPRESSIONS[suffix](content)[:-10])
        documents, problems = read(path)
        assert 100 < len(documents) < 20_000 and names_of(problems)[-1] == "damaged"


def test_the_line_of_bytes_that_are_not_utf8_is_told(tmp_path):
    path = written(tmp_path, "a.txt", b"one\ntwo\n\xe9")
    assert read(path)[1][0].place == f"{path}, line 3"


def test_a_file_that_vanishes_is_a_problem(tmp_path):
    kept, gone = written(tmp_path, "a.txt", b"text"), written(tmp_path, "b.txt", b"text")
    problems: list[Problem] = []
    documents = read_documents([str(tmp_path)], problems.append)
    assert next(documents).source == str(kept)
    gone.unlink()
    assert (list(documents), names_of(problems)) == ([], ["unreadable"] if problems else [])


@given(
    content=st.binary()
    | st.sampled_from([b"[{", b'{"text":"', b"text\n"]).flatmap(lambda b: st.binary().map(b.__add__))
)
@pytest.mark.parametrize("suffix", [".txt", ".json", *sorted(BY_SUFFIX)])
def test_no_bytes_of_a_file_end_in_an_exception(tmp_path_factory, suffix, content):
    folder = tmp_path_factory.mktemp("any")
    for compression in ("", ".gz"):
        documents, problems = read(written(folder, f"a{suffix}{compression}", COMPRESSIONS[compression](content)))
        assert documents or problems
    documents, problems = read(written(folder, f"a{suffix}.gz", gzip.compress(content)[:-5]))
    assert documents or problems


def test_without_a_package_one_sentence_says_how_to_get_it(tmp_path, monkeypatch):
    for name, content, package in [
        ("a.parquet", b"PAR1", "pyarrow"),
        ("a.txt.zst", COMPRESSIONS[".zst"](b"text"), "zstandard"),
        ("a.html", b"<p>text</p>", "trafilatura"),
    ]:
        path = written(tmp_path, name, content)
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(DataError, match=rf"needs {package}.*pip install -e '\.\[data\]'"):
            read(path)


def test_text_is_read_without_any_of_the_packages(tmp_path):
    written(tmp_path, "a.jsonl.gz", gzip.compress(b'{"text": "row"}\n'))
    written(tmp_path, "b.csv", b"text\nrow\n")
    written(tmp_path, "c.txt", b"row")
    code = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(('pyarrow', 'zstandard', 'trafilatura')))\n"
        "from llm.data.reading import read_documents\n"
        f"print(len(list(read_documents([{str(tmp_path)!r}]))))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "3\n"


# Memory -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.csv", "a.txt.gz", "a.html"])
def test_a_document_of_a_gigabyte_takes_no_memory_for_it(tmp_path, name):
    start = {"a.jsonl": b'{"text": "', "a.csv": b"text\n"}.get(name, b"")
    opener = gzip.open if name.endswith(".gz") else open
    with opener(tmp_path / name, "wb", **({"compresslevel": 1} if name.endswith(".gz") else {})) as file:
        file.write(start)
        for _ in range(1024):
            file.write(b"x" * (1 << 20))
    code = (
        "import re\n"
        "from llm.data.reading import read_documents\n"
        f"assert list(read_documents([{str(tmp_path / name)!r}], lambda problem: print(problem.name))) == []\n"
        # Not `ru_maxrss`, which a process inherits from the one that started it.
        "print(int(re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1]) // 1024)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    problem, megabytes = result.stdout.split()
    assert problem == "too_long" and int(megabytes) < 500
