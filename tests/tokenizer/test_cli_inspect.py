"""The table of `inspect` is read back: each token with its id, the rank of its merge, and its bytes."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenizer import CharTokenizer, Tokenizer
from tokenizer.cli.commands import main
from tokenizer.cli.inspect import MAX_SHOWN_BYTES, TOKEN_WIDTH
from tokenizer.cli.terminal import printable

LONG = "abcdefghijklmnopqrstuvwxyz" * 2  # becomes one token, longer than its columns
TEXTS = st.lists(
    st.sampled_from(["low", " lower", LONG, "é", "🐢", " ", "\n", "x", "123"]), min_size=1, max_size=8
).map("".join)
ROW = re.compile(
    r"( *\d+) ( *(?:\d+|-))  " f"(.{{{TOKEN_WIDTH}}}) " r"((?:[0-9a-f]{2} )*[0-9a-f]{2})(?: \.\.\. \((\d+) bytes\))?"
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inspect") / "tokenizer.json"
    Tokenizer.train([f"low lower lowest {LONG} {LONG}"], vocab_size=320).save(path)
    return path


def lines_of(path: Path, text: str, *options: str) -> list[str]:
    output = io.StringIO()
    with redirect_stdout(output):
        assert main(["inspect", "-t", str(path), "--text", text, "--color", "never", *options]) == 0
    return output.getvalue().rstrip("\n").split("\n")


@given(text=TEXTS)
def test_the_table_has_the_ids_ranks_and_bytes_of_all_tokens(trained: Path, text: str) -> None:
    tokenizer = Tokenizer.load(trained)
    ids = tokenizer.encode(text)
    ranks = {
        tokenizer.tokens.index(tokenizer.tokens[a] + tokenizer.tokens[b]): i
        for i, (a, b) in enumerate(tokenizer.merges)
    }
    lines = lines_of(trained, text)
    header, *rows = lines[-len(ids) - 1 :]
    for row, i in zip(rows, ids, strict=True):
        match, data = ROW.fullmatch(row), tokenizer.tokens[i]
        assert match is not None, row
        shown_id, rank, shown, in_hex, length = match.groups()
        assert int(shown_id) == i
        assert rank.strip() == str(ranks.get(i, "-"))
        assert bytes.fromhex(in_hex) == data[:MAX_SHOWN_BYTES]
        assert length == (str(len(data)) if len(data) > MAX_SHOWN_BYTES else None)
        name = printable(data)
        assert shown.rstrip(" ") == (name if len(name) <= TOKEN_WIDTH else name[: TOKEN_WIDTH - 3] + "...").rstrip(" ")
        # The names of the columns stand above their columns.
        assert header.index("id") + 2 == match.end(1) and header.index("rank") + 4 == match.end(2)
        assert header.index("token") == match.start(3) and header.index("bytes") == match.start(4)


@given(text=TEXTS)
def test_above_the_table_stand_the_tokens_of_the_text_and_their_number(trained: Path, text: str) -> None:
    tokenizer = Tokenizer.load(trained)
    ids, size = tokenizer.encode(text), len(text.encode())
    *shown, empty, summary = lines_of(trained, text, "--no-table")
    assert "".join(shown) == "".join(f"[{printable(tokenizer.tokens[i])}]" for i in ids) and empty == ""
    assert summary == f"{len(ids)} tokens, {size} bytes: {size / len(ids):.2f} bytes a token"


def test_tokens_that_no_merge_makes_have_no_rank(tmp_path: Path) -> None:
    CharTokenizer.train(["abc"]).save(tmp_path / "tokenizer.json")
    rows = lines_of(tmp_path / "tokenizer.json", "cab")[-3:]
    assert [row.split() for row in rows] == [["2", "-", "c", "63"], ["0", "-", "a", "61"], ["1", "-", "b", "62"]]
