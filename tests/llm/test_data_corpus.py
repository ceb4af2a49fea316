"""What --data accepts: every kind of source gives its exact text, again and again, or one sentence that helps."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.data import builtin
from llm.data.corpora import open_corpus
from llm.data.corpus import Corpus
from llm.data.errors import DataError
from llm.data.split import training_sizes
from llm.data.stdlib import stdlib_docstrings, stdlib_folder
from llm.data.text import decode_prompt
from llm.runs.options import TrainOptions


def texts_of(source: Corpus) -> list[str]:
    return ["".join(document) for document in source.documents()]


def stdin_with(content: bytes) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(content), encoding="utf-8")


# Reading ------------------------------------------------------------------------------------------------------------


@given(text=st.text(st.sampled_from("ab \r\né漢🙂")) | st.text(), size=st.integers(1, 9), as_file=st.booleans())
def test_chunks_of_a_document_join_to_its_text(tmp_path_factory, text, size, as_file):
    text = text.removeprefix("\ufeff") + "!"  # a byte order mark is not text
    document: str | Path = text
    if as_file:
        document = tmp_path_factory.mktemp("corpus") / "text.txt"
        document.write_bytes(text.encode())
    source = Corpus("test", [document], chunk_characters=size)
    chunks = list(source)
    assert "".join(chunks) == text
    assert all(0 < len(chunk) <= 2 * size for chunk in chunks)
    assert list(source) == chunks, "a second iteration gives the same"
    assert source.survey.sizes.tolist() == [len(text)]
    assert Corpus("whole", [text]).survey.fingerprint == source.survey.fingerprint, "chunks do not change it"


@given(lines=st.lists(st.text("abc ", max_size=6).map(lambda line: line + "\n"), min_size=1))
def test_chunks_of_a_file_end_at_line_ends_where_lines_are_short(tmp_path_factory, lines):
    path = tmp_path_factory.mktemp("corpus") / "lines.txt"
    path.write_text("".join(lines), newline="")
    assert all(chunk.endswith("\n") for chunk in Corpus("test", [path], chunk_characters=8))


def test_a_byte_order_mark_is_not_text_and_line_ends_are_kept(tmp_path):
    path = tmp_path / "windows.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n")
    assert list(open_corpus(str(path))) == ["one\r\ntwo\r\n"]


@given(
    text=st.text(st.sampled_from("ab\r\né🙂")).filter(lambda text: not text.endswith("\r")),
    mark=st.booleans(),
    end=st.sampled_from(["", "\n", "\r\n"]),
)
def test_a_piped_prompt_is_the_text_that_a_model_would_learn_from_a_file(tmp_path_factory, text, mark, end):
    """Without the line end after its last line, which a shell adds."""
    text = text.rstrip("\r\n")
    content = b"\xef\xbb\xbf" * mark + (text + end).encode()
    path = tmp_path_factory.mktemp("prompt") / "file.txt"
    path.write_bytes(content + b"!")
    assert "".join(open_corpus(str(path))) == text + end + "!"
    assert decode_prompt(content) == text


def test_a_prompt_of_other_bytes_keeps_them_and_one_in_utf16_is_refused():
    assert decode_prompt(b"caf\xe9\n").encode(errors="surrogateescape") == b"caf\xe9"
    with pytest.raises(DataError, match="the prompt from standard input is not UTF-8 text: it has a zero byte at pos"):
        decode_prompt("The class".encode("utf-16-le"))


@given(texts=st.lists(st.text("a1\n\0", max_size=4), min_size=1, max_size=4), other=st.data())
def test_fingerprints_differ_where_documents_do(texts, other):
    others = other.draw(st.lists(st.text("a1\n\0", max_size=4), min_size=1, max_size=4))
    if "".join(texts) and "".join(others):
        same = Corpus("a", texts).survey.fingerprint == Corpus("b", others).survey.fingerprint
        assert same == (texts == others)


# Sources ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path) -> Path:
    for name, content in {
        "b.txt": b"second",
        "a/z.md": b"first, as a/ sorts before b.txt",
        "picture.png": b"\x89PNG\r\n\0\0\0\r",
        ".hidden": b"no",
        ".git/config": b"no",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    return tmp_path


def test_a_folder_is_its_text_files_in_sorted_order(folder):
    assert texts_of(open_corpus(str(folder))) == ["first, as a/ sorts before b.txt", "second"]


def test_a_glob_is_the_files_it_matches(folder):
    assert texts_of(open_corpus(str(folder / "**/*.[mt]*"))) == ["first, as a/ sorts before b.txt", "second"]


UTF16 = "a text".encode("utf-16-le")


def test_what_is_left_out_of_a_folder_or_pattern_is_told_and_why(folder):
    for name in ("utf16.txt", "c.bin", "d.bin", "e.bin", "f.bin"):
        (folder / name).write_bytes(UTF16)
    for data in (str(folder), str(folder / "**/*.*")):
        corpus = open_corpus(data)
        assert texts_of(corpus) == ["first, as a/ sorts before b.txt", "second"]
        names = ", ".join(str(folder / name) for name in ("c.bin", "d.bin", "e.bin", "f.bin", "picture.png"))
        assert corpus.omissions == (
            f"left out of {data}, because they hold zero bytes (binary files, or UTF-16): {names} and 1 more"
        )
    assert open_corpus(str(folder / "b.txt")).omissions == open_corpus("python-docs").omissions == ""


@pytest.mark.parametrize("content", [UTF16, "\ufeffa text".encode("utf-16-le"), b"text\0text", bytes(8)])
@pytest.mark.parametrize("way", ["file", "standard input", "pipe"])
def test_what_is_left_out_of_a_folder_is_refused_when_it_is_given_alone(tmp_path, monkeypatch, content, way):
    path, data = tmp_path / "alone", str(tmp_path / "alone")
    if way == "pipe":
        os.mkfifo(path)
        threading.Thread(target=path.write_bytes, args=(content,), daemon=True).start()
    elif way == "file":
        path.write_bytes(content)
    else:
        data = "-"
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    with pytest.raises(DataError, match=r"is not UTF-8 text: it has a zero byte at position \d.*convert it to UTF-8"):
        open_corpus(data)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs /dev/zero")
def test_a_device_without_an_end_is_not_copied():
    with pytest.raises(DataError, match="/dev/zero is not UTF-8 text"):
        open_corpus("/dev/zero")


def test_no_room_for_a_copy_of_standard_input_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", stdin_with(b"text"))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryDirectory", full)
    with pytest.raises(DataError, match=r"standard input could not be copied to .*No space left.*TMPDIR to another"):
        open_corpus("-")


def test_standard_input_can_be_read_again_and_is_deleted_in_the_end(monkeypatch):
    monkeypatch.setattr(sys, "stdin", stdin_with("Grüße\n".encode()))
    source = open_corpus("-")
    (path,) = source._documents
    assert texts_of(source) == texts_of(source) == ["Grüße\n"]
    del source
    assert not path.exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_read_like_standard_input(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("through a pipe",))
    writer.start()
    source = open_corpus(str(pipe))
    writer.join()
    assert texts_of(source) == texts_of(source) == ["through a pipe"]


def test_python_docs_are_prose_in_which_no_topic_repeats_another():
    source = open_corpus("python-docs")
    texts = texts_of(source)
    assert len(texts) >= 50
    assert source.survey.characters > 300_000
    assert repeated_share(texts) < 0.02
    from pydoc_data.topics import topics

    assert repeated_share(list(topics.values())) > 0.1, "the measure must see the repetitions in all topics together"


def test_python_help_is_the_topics_and_the_docstrings():
    topics, texts = texts_of(open_corpus("python-docs")), texts_of(open_corpus("python-help"))
    assert texts == [*topics, *stdlib_docstrings(stdlib_folder())]
    assert repeated_share(texts) < 0.03  # sentences about parameters that several methods have
    assert open_corpus(TrainOptions().data).name == "python-help"


def test_some_of_both_kinds_of_python_help_is_held_out():
    topics = len(texts_of(open_corpus("python-docs")))
    sizes = open_corpus("python-help").survey.sizes
    held_out = training_sizes(sizes, TrainOptions().val_fraction) == 0
    assert 2 <= held_out[:topics].sum() < topics / 2
    assert 0.05 < sizes[held_out].sum() / sizes.sum() <= 0.1


def test_without_the_source_of_the_library_python_help_is_the_topics_and_a_warning_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("llm.data.builtin.stdlib_folder", lambda: tmp_path / "python.zip")
    with pytest.warns(UserWarning, match=r"no library source in .*python.zip, so the text is its language reference"):
        texts = texts_of(open_corpus("python-help"))
    assert texts == texts_of(open_corpus("python-docs"))


def repeated_share(texts: list[str]) -> float:
    """The share of text in paragraphs of some length that stand in several documents."""
    paragraphs = [" ".join(part.split()) for text in texts for part in set(text.split("\n\n"))]
    long = [paragraph for paragraph in paragraphs if len(paragraph) > 60]
    return 1 - sum(map(len, set(long))) / sum(map(len, long))


def test_python_stdlib_is_source_without_tests():
    source = open_corpus("python-stdlib")
    names = [path.as_posix() for path in source._documents]
    assert any(name.endswith("/argparse.py") for name in names)
    assert not any("/test/" in name or "/tests/" in name or "/site-packages/" in name for name in names)
    assert source.survey.characters > 5_000_000  # every file is read, so every file is UTF-8
    assert [path.as_posix() for path in open_corpus("python-stdlib")._documents] == names


# Errors -------------------------------------------------------------------------------------------------------------


def test_what_does_not_exist_is_refused_with_all_that_would_be_accepted():
    with pytest.raises(
        DataError, match=r"--data shakespear is neither a file.*python-help, python-docs, python-stdlib, shakespeare"
    ):
        open_corpus("shakespear")


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 5000], ids=["empty", "zero byte", "too long"])
def test_odd_names_are_refused_too(name):
    with pytest.raises(DataError, match="neither a file"):
        open_corpus(name)


def test_a_folder_without_text_is_refused(tmp_path):
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\0")
    with pytest.raises(DataError, match="holds no text files"):
        open_corpus(str(tmp_path))


@pytest.mark.parametrize("nothing", [b"", b"\xef\xbb\xbf"], ids=["no bytes", "a byte order mark"])
def test_empty_text_is_refused(tmp_path, monkeypatch, nothing):
    (tmp_path / "empty.txt").write_bytes(nothing)
    monkeypatch.setattr(sys, "stdin", stdin_with(nothing))
    for data in [str(tmp_path / "empty.txt"), str(tmp_path), "-"]:
        with pytest.raises(DataError, match="is empty"):
            open_corpus(data)


@given(
    before=st.integers(0, 30_000),
    letter=st.sampled_from(["x", "é", "漢"]),
    broken=st.sampled_from(["ff", "c3", "e6bc"]),
)
def test_bytes_that_are_not_utf8_are_located(tmp_path_factory, before, letter, broken):
    path = tmp_path_factory.mktemp("corpus") / "latin.txt"
    text = (letter * before).encode()
    path.write_bytes(text + bytes.fromhex(broken) + b"\nmore")
    message = rf"latin\.txt is not UTF-8 text \(byte 0x{broken[:2]} at position {len(text):,}\)"
    with pytest.raises(DataError, match=message):
        list(open_corpus(str(path)))


def test_a_file_that_vanishes_is_reported(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("text")
    source = open_corpus(str(path))
    path.unlink()
    with pytest.raises(DataError, match=r"text\.txt cannot be read"):
        list(source)


# Shakespeare --------------------------------------------------------------------------------------------------------

PLAY = b"First Citizen:\nBefore we proceed any further, hear me speak.\n"


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("MINIGRAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(builtin, "SHAKESPEARE_SHA256", hashlib.sha256(PLAY).hexdigest())
    return tmp_path / "cache"


def serve(monkeypatch, answer: bytes | Exception) -> list[str]:
    """Let the network answer so; returns the list of addresses that will have been asked for."""
    asked = []

    def urlopen(url: str, timeout: float) -> io.BytesIO:
        asked.append(url)
        if isinstance(answer, Exception):
            raise answer
        return io.BytesIO(answer)

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    return asked


def test_shakespeare_is_downloaded_once(cache, monkeypatch):
    asked = serve(monkeypatch, PLAY)
    assert texts_of(open_corpus("shakespeare")) == texts_of(open_corpus("shakespeare")) == [PLAY.decode()]
    assert asked == [builtin.SHAKESPEARE_URL]
    assert [path.name for path in cache.iterdir()] == ["shakespeare.txt"]


@pytest.mark.parametrize("error", [urllib.error.URLError("no route to host"), TimeoutError("timed out")])
def test_shakespeare_offline_says_what_to_do(cache, monkeypatch, error):
    serve(monkeypatch, error)
    with pytest.raises(DataError, match=r"could not download http.*put that file at .*shakespeare\.txt.*--data FILE"):
        open_corpus("shakespeare")
    serve(monkeypatch, AssertionError("nothing is to be downloaded"))
    cache.mkdir()
    (cache / "shakespeare.txt").write_bytes(PLAY)
    assert texts_of(open_corpus("shakespeare")) == [PLAY.decode()], "doing what it says must help"


def test_a_wrong_download_is_refused_and_not_kept(cache, monkeypatch):
    serve(monkeypatch, b"<html>please log in to this network</html>")
    with pytest.raises(DataError, match="sent something else than the expected file"):
        open_corpus("shakespeare")
    assert not (cache / "shakespeare.txt").exists()


def test_a_wrong_file_in_the_cache_is_refused_and_left_alone(cache, monkeypatch):
    serve(monkeypatch, AssertionError("nothing is to be downloaded"))
    cache.mkdir()
    (cache / "shakespeare.txt").write_bytes(PLAY[:-1])
    with pytest.raises(DataError, match="is not the expected file; delete it"):
        open_corpus("shakespeare")
    assert (cache / "shakespeare.txt").read_bytes() == PLAY[:-1]


def test_a_cache_that_cannot_be_written_is_reported(cache, monkeypatch):
    serve(monkeypatch, PLAY)
    cache.write_text("a file stands where the folder should be")
    with pytest.raises(DataError, match="could not write to the cache folder .* set MINIGRAD_CACHE"):
        open_corpus("shakespeare")


def test_what_downloads_is_imported_only_for_a_download():
    code = "import sys, llm.data; print({'urllib.request', 'ssl', 'http.client'} & {*sys.modules})"
    root = Path(__file__).parents[2]
    result = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


@pytest.mark.shared
def test_the_pinned_hash_is_that_of_the_real_file(shared_data):
    content = (shared_data / "corpora" / "tinyshakespeare.txt").read_bytes()
    assert hashlib.sha256(content).hexdigest() == builtin.SHAKESPEARE_SHA256
