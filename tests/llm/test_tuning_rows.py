"""Files of examples: every shape that people have is read, and a row that does not fit is named by file and line."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.data.errors import DataError
from llm.data.records import Place, read_records
from llm.tuning.examples.rows import Completion, Conversation, Labeled, Preference, Prompt, Row, Text, read_rows, row_of
from llm.tuning.examples.split import checksum, split_rows, without

ALL = (Row,)
Q, A, B = (
    {"role": "user", "content": "q"},
    {"role": "assistant", "content": "a"},
    {"role": "assistant", "content": "b"},
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
fields = texts.filter(lambda text: "\0" not in text)


def write(folder: Path, *records: Any, name: str = "x.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def read_one(folder: Path, record: Any) -> Any:
    (row,) = read_rows(write(folder, record), ALL)
    return row


# --- shapes -----------------------------------------------------------------------------------------------------------

CONVERSATIONS = {
    "messages": ({"messages": [Q, A]}, [Q, A], 0),
    "ShareGPT": ({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}, [Q, A], 0),
    "ShareGPT with system": (
        {"system": "s", "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
        [{"role": "system", "content": "s"}, Q, A],
        0,
    ),
    "conversations with roles": ({"conversations": [Q, A]}, [Q, A], 0),
    "prompt and completion as messages": ({"prompt": [Q], "completion": [A]}, [Q, A], 1),
    "a completion as a text": ({"prompt": [Q], "completion": "a"}, [Q, A], 1),
    "a prompt as a text": ({"prompt": "q", "completion": [A]}, [Q, A], 1),
    "instruction": ({"instruction": "q", "output": "a"}, [Q, A], 1),
    "instruction and input": (
        {"instruction": "q", "input": "i", "output": "a", "text": "all of it"},
        [{"role": "user", "content": "q\ni"}, A],
        1,
    ),
    "instruction and system": (
        {"instruction": "q", "input": "", "output": "a", "system": "s"},
        [{"role": "system", "content": "s"}, Q, A],
        2,
    ),
    "null is nothing": ({"messages": [Q, A], "chosen": None, "rejected": None}, [Q, A], 0),
    "question and answer": ({"question": "q", "answer": "a"}, [Q, A], 1),
    "an answer that is a number": ({"question": "q", "answer": 7}, [Q, {"role": "assistant", "content": "7"}], 1),
}


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_shapes_of_conversations(name: str, tmp_path: Path) -> None:
    record, messages, first = CONVERSATIONS[name]
    row = read_one(tmp_path, record)
    assert isinstance(row, Conversation)
    assert (row.messages, row.first) == (messages, first)
    assert str(row.place) == f"{tmp_path / 'x.jsonl'}, line 1"


def test_other_shapes(tmp_path: Path) -> None:
    row = read_one(tmp_path, {"prompt": "p", "completion": " c"})
    assert isinstance(row, Completion) and (row.prompt, row.completion) == ("p", " c")
    row = read_one(tmp_path, {"text": "t", "source": 3})
    assert isinstance(row, Text) and (row.text, row.fields["source"]) == ("t", 3)
    row = read_one(tmp_path, {"text": "t", "label": 3})
    assert isinstance(row, Labeled) and (row.text, row.label) == ("t", "3")
    row = read_one(tmp_path, {"prompt": [Q], "solution": "42"})
    assert isinstance(row, Prompt) and (row.prompt, row.fields["solution"]) == ([Q], "42")


PREFERENCES = {
    "with a prompt": {"prompt": [Q], "chosen": [A], "rejected": [B]},
    "with a prompt in the messages": {"chosen": [Q, A], "rejected": [Q, B]},
    "with a prompt in both": {"prompt": "q", "chosen": [Q, A], "rejected": [Q, B], "messages": [Q, A]},
    "with a prompt as a text": {"prompt": "q", "chosen": [A], "rejected": [B]},
    "with answers as texts": {"prompt": [Q], "chosen": "a", "rejected": "b"},
    "with an instruction": {"instruction": "q", "input": "", "chosen": "a", "rejected": "b"},
}


@pytest.mark.parametrize("name", PREFERENCES)
def test_preferences_have_two_answers_to_the_same_prompt(name: str, tmp_path: Path) -> None:
    row = read_one(tmp_path, PREFERENCES[name])
    assert isinstance(row, Preference)
    assert isinstance(row.chosen, Conversation) and isinstance(row.rejected, Conversation)
    assert (row.chosen.messages, row.chosen.first) == ([Q, A], 1)
    assert (row.rejected.messages, row.rejected.first) == ([Q, B], 1)


@given(st.lists(st.sampled_from(["yes", "yellow", "no", "Human:", "a"]), max_size=4), fields, fields)
def test_the_prompt_of_two_texts_is_what_both_begin_with(shared: list[str], one: str, other: str) -> None:
    chosen, rejected = (" ".join([*shared, text]) for text in (one + "1", other + "2"))
    row = row_of(Place("x", 1), {"chosen": chosen, "rejected": rejected})
    assert isinstance(row, Preference)
    assert isinstance(row.chosen, Completion) and isinstance(row.rejected, Completion)
    prompt = row.chosen.prompt
    assert prompt == row.rejected.prompt
    assert (prompt + row.chosen.completion, prompt + row.rejected.completion) == (chosen, rejected)
    assert row.chosen.completion and row.rejected.completion and prompt == prompt.rstrip()
    assert chosen[len(prompt) : len(prompt) + 1].isspace() or not prompt  # it ends with a whole word


# --- what does not fit ------------------------------------------------------------------------------------------------

WRONG = [
    ("{", "is not JSON"),
    ("[1] 2", "is not JSON"),
    ("3", "found 3; expected an object"),
    ('{"textt": "a"}', "found the keys 'textt'; expected chosen, rejected; or messages;"),
    ("{}", "found no keys"),
    ('{"messages": []}', r"messages is \[\]; expected a list of messages"),
    ('{"messages": "hi"}', 'messages is "hi"; expected a list'),
    ('{"messages": [{"role": "assistant"}]}', "message 1 has the content null; expected a text"),
    ('{"messages": [{"content": "a"}]}', "message 1 is .*; expected an object with role and content"),
    (
        '{"messages": [{"role": "user", "content": "a"}]}',
        "found messages with the roles user; expected one with the role assistant",
    ),
    ('{"messages": [{"role": "assistant", "content": [{"type": "image"}]}]}', "expected a text"),
    ('{"messages": [{"role": "assistant", "content": "a"}], "tools": "{"}', "tools is .*; expected a list of JSON"),
    ('{"conversations": [{"from": "human"}]}', "expected a list of objects with from and value"),
    ('{"conversations": [{"from": ["human"], "value": "a"}]}', "expected a list of objects with from and value"),
    ('{"prompt": "a", "completion": 5}', "completion is 5; expected a text or a list of messages"),
    ('{"text": 3}', "text is 3; expected a text"),
    ('{"text": "a", "label": []}', r"label is \[\]; expected a text or a number"),
    ('{"chosen": "a", "rejected": "a"}', "are the same"),
    ('{"chosen": "a", "rejected": [{"role": "assistant", "content": "a"}]}', "of two kinds"),
    ("[" * 100_000, "nested too deeply|is not JSON"),
    ("1" * 5000, "found 1111|is not JSON"),
]


@pytest.mark.parametrize(("line", "message"), WRONG)
def test_a_row_that_does_not_fit_is_named_by_file_and_line(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"text": "a"}\n\n' + line + "\n")
    with pytest.raises(DataError, match=rf"x.jsonl, line 3: .*({message})"):
        read_rows(path, ALL)


def test_a_row_of_another_kind_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, {"text": "a", "label": 1}, {"text": "a"})
    with pytest.raises(DataError, match="line 2: found the keys 'text'; expected text, label$"):
        read_rows(path, (Labeled,))
    with pytest.raises(DataError, match="'text', 'label', which are for --objective classify; expected text$"):
        read_rows(path, (Text,))


def test_only_the_keys_of_the_wanted_kinds_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 1: found the keys 'sentence', 'label'; expected text, label$"):
        read_rows(write(tmp_path, {"sentence": "a", "label": 1}), (Labeled,))


def test_questions_and_answers_in_a_table(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("question,answer\nq,a\n")
    (row,) = read_rows(tmp_path / "x.csv", ALL)
    assert isinstance(row, Conversation) and row.messages == [Q, A]


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv", "x.tsv"])
def test_an_empty_file_and_one_that_is_not_utf8(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text("\n")
    with pytest.raises(DataError, match="holds no examples"):
        read_rows(path, ALL)
    path.write_bytes(b"a\nb\xff\n")
    with pytest.raises(DataError, match=f"{name}, line 2: the bytes are not UTF-8"):
        read_rows(path, ALL)


# --- formats of files -------------------------------------------------------------------------------------------------


@given(st.lists(st.dictionaries(texts, texts | st.integers() | st.lists(texts), max_size=3), min_size=1), st.data())
def test_records_of_json_are_read_back(tmp_path_factory: Any, records: list[dict], data: st.DataObject) -> None:
    folder = tmp_path_factory.getbasetemp()
    as_lines = folder / "lines.jsonl"
    end, ascii_only = data.draw(st.sampled_from(["\n", "\r\n", "\n\n"])), data.draw(st.booleans())
    as_lines.write_bytes("".join(json.dumps(record, ensure_ascii=ascii_only) + end for record in records).encode())
    read = read_records(as_lines)
    assert [record for _, record in read] == records
    assert [place.line for place, _ in read] == [1 + k * end.count("\n") for k in range(len(records))]
    as_array = folder / "array.json"
    indent = data.draw(st.sampled_from([None, 2]))
    as_array.write_text(json.dumps(records, indent=indent, ensure_ascii=ascii_only), encoding="utf-8-sig")
    assert [record for _, record in read_records(as_array)] == records


def test_lines_of_an_array(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('[\n{"text": "a"},\n\n  {"text":\n"b"}, {"text": 3}\n]')
    with pytest.raises(DataError, match="x.json, line 5: text is 3"):
        read_rows(path, ALL)
    for broken, line in (('[\n{"text": "a"}\n{"text": "b"}]', 2), ('[{"text": "a"},\n', 2), ('[{"text": "a"}', 1)):
        path.write_text(broken)
        with pytest.raises(DataError, match=f"x.json, line {line}: "):
            read_rows(path, ALL)


@given(st.lists(st.tuples(fields, fields), min_size=1), st.sampled_from(["text", "Sentence", "message"]))
def test_csv_with_a_header(tmp_path_factory: Any, rows: list[tuple[str, str]], name: str) -> None:
    path = tmp_path_factory.getbasetemp() / "x.csv"
    stream = io.StringIO(newline="")
    csv.writer(stream).writerows([("Label", name), *rows])
    path.write_bytes(stream.getvalue().encode())
    assert [(record["label"], record["text"]) for _, record in read_records(path)] == rows


words = st.text("abc \"'", min_size=1, max_size=8).filter(lambda text: text.strip())


@given(st.lists(st.tuples(words, st.sampled_from(["ham", "spam"])), min_size=8, max_size=20), st.booleans())
def test_tables_without_a_header_have_a_text_and_a_label(
    tmp_path_factory: Any, rows: list[tuple[str, str]], label_first: bool
) -> None:
    rows = [(f"{text} {number}", label) for number, (text, label) in enumerate(rows)]
    rows += [("one", "ham"), ("two", "spam"), ("three", "ham"), ("four", "spam")]  # each class at least twice
    path = tmp_path_factory.getbasetemp() / "x.tsv"
    path.write_text(
        "".join("\t".join((label, text) if label_first else (text, label)) + "\r\n" for text, label in rows)
    )
    read = read_rows(path, (Labeled,))
    assert [(row.text, row.label) for row in read] == rows


def test_tables_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"
    path.write_text("ham\ta\nspam\tb\tc\n")
    with pytest.raises(DataError, match="x.tsv, line 2: found 3 columns; expected 2"):
        read_rows(path, ALL)
    path.write_text("text,label\na,b\n")
    with pytest.raises(DataError, match="line 1: found 1 column; expected 2, .* a .csv has commas .* a .tsv tabs"):
        read_rows(path, ALL)
    path.write_text("v1\tv2\n" + "ham\tone\nspam\ttwo\nham\tthree\nspam\tfour\n")
    with pytest.raises(DataError, match="line 1: 'v1' is the label of this row alone"):
        read_rows(path, ALL)
    path = tmp_path / "x.csv"
    path.write_text('text,label\na,1\n"b\nc",2,3\n')
    with pytest.raises(DataError, match="x.csv, line 3: found 3 columns; expected 2 as in the header"):
        read_rows(path, ALL)
    path.write_text('text,label\na,"1\n')
    with pytest.raises(DataError, match="x.csv, line 2: this row is not CSV"):
        read_rows(path, ALL)


def test_csv_with_questions_and_answers(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    for column, kind in (("question", Conversation), ("prompt", Prompt)):
        path.write_text(f"{column},answer\n1 + 1,2\n1 + 2,3\n")
        rows: list[Any] = read_rows(path, ALL)
        assert [type(row) for row in rows] == [kind, kind]
        assert rows[0].fields == {column: "1 + 1", "answer": "2"}


def test_csv_with_other_columns(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("id,instruction,input,output\n1,q,,a\n")
    (row,) = read_rows(path, (Conversation,))
    assert (row.messages, row.first) == ([Q, A], 1)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "kind", "count"),
    [
        ("sms_spam.tsv", Labeled, 5574),
        ("sst2_train.tsv", Labeled, 6920),
        ("sst2_dev.tsv", Labeled, 872),
        ("instructions_1100.jsonl", Conversation, 1100),
        ("preferences_1100.jsonl", Preference, 1100),
        ("lambada_2000.jsonl", Text, 2000),
        ("gsm8k_test_400.jsonl", Conversation, 400),
    ],
)
def test_real_files(name: str, kind: type[Row], count: int, shared_data: Path) -> None:
    path = shared_data / "tasks" / name
    if not path.exists():
        pytest.skip("needs tasks in the folder of real data")
    rows = read_rows(path, (kind,))
    assert len(rows) == count
    if kind is Labeled:
        assert {row.label for row in rows} == ({"ham", "spam"} if "sms" in name else {"0", "1"})


# --- validation -------------------------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from("abcdefghij"), min_size=2, max_size=30), st.floats(0.01, 0.99), st.randoms())
def test_no_example_is_in_both_parts_and_the_choice_does_not_depend_on_their_order(
    tmp_path_factory: Any, letters: list[str], fraction: float, random: Any
) -> None:
    folder = tmp_path_factory.getbasetemp()
    letters = [*letters, "a", "b"]
    rows = read_rows(write(folder, *[{"text": letter} for letter in letters]), (Text,))
    training, validation = split_rows(rows, fraction)
    assert sorted(row.text for row in training + validation) == sorted(letters)
    held_out = {row.text for row in validation}
    assert held_out.isdisjoint({row.text for row in training})
    different = len(set(letters))
    assert len(held_out) == min(max(1, round(different * fraction)), different - 1)
    random.shuffle(rows)
    assert {row.text for row in split_rows(rows, fraction)[1]} == held_out
    assert without(rows, validation) == [row for row in rows if row.text not in held_out]


def test_rows_that_cannot_be_divided_are_one_or_all_equal(tmp_path: Path) -> None:
    for count, sentence in ((1, "^one example cannot be divided"), (3, "^all examples are equal, and one cannot")):
        with pytest.raises(DataError, match=sentence):
            split_rows(read_rows(write(tmp_path, *[{"text": "a"}] * count), (Text,)), 0.5)


def test_a_checksum_is_that_of_what_rows_say_in_their_order(tmp_path: Path) -> None:
    one = read_rows(write(tmp_path, {"text": "a"}, {"text": "b"}), ALL)
    same = read_rows(write(tmp_path, {"text": "a"}, {"text": "b"}, name="y.jsonl"), ALL)
    assert checksum(one) == checksum(same) != checksum(one[::-1])
    with pytest.raises(DataError, match="cannot be divided"):
        split_rows(one[:1] * 2, 0.5)
