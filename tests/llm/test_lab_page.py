"""`python -m llm.data show`: a page that is right, bounded, and in which a text is only a text."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.data.lab.command import main
from llm.data.lab.page.differences import SHOWN, side_by_side
from llm.data.lab.page.figures import Axis, histogram, number, size
from llm.data.lab.page.findings import RuleFindings, collect
from llm.data.lab.page.html import HIDDEN, element
from llm.data.lab.sample import Sample
from llm.data.lab.verdict import Verdict
from tests.llm.lab_folders import HOSTILE, source_of, write_folder

TEXTS = st.text(st.characters(), max_size=40) | st.text("<>&\"'/!-=a \n", max_size=40)
NUMBERS = st.floats(0, 1e6) | st.integers(0, 300).map(float)


class Parsed(HTMLParser):
    """The elements and the text of a page, as a browser would read them."""

    def __init__(self, page: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


# --- elements ---------------------------------------------------------------------------------------------------------


@given(TEXTS, TEXTS)
def test_a_text_is_only_a_text_in_an_element_and_in_an_attribute(text: str, attribute: str) -> None:
    page = element("p", text, element("b", "x"), class_=attribute)
    page.encode()  # no half of a character
    parsed = Parsed(page)

    def shown(text: str) -> str:
        lines = text.replace("\r\n", "\n").replace("\r", "\n")
        return HIDDEN.sub(lambda match: f"\u27e8{ord(match.group()):04X}\u27e9", lines)

    assert [tag for tag, _ in parsed.elements] == ["p", "b"]
    assert "".join(parsed.text) == shown(text.replace("\r\n", "\n").replace("\r", "\n")) + "x"
    assert parsed.elements[0][1] == {"class": shown(attribute.replace("\r\n", "\n").replace("\r", "\n"))}


@pytest.mark.control
def test_the_check_of_elements_notices_a_text_that_is_not_escaped() -> None:
    assert [tag for tag, _ in Parsed(f"<p>{HOSTILE}</p>").elements] != ["p"]


# --- samples ----------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 20)), st.integers(1, 6), st.integers(1, 3), st.randoms())
def test_a_sample_has_whole_groups_whatever_the_order(keys: list[int], most_groups: int, most: int, random_) -> None:
    def sample(keys: list[int]) -> Sample[int]:
        made: Sample[int] = Sample(most_groups, most)
        for key in keys:
            made.offer(str(key), key)
        return made

    first = sample(keys)
    assert len(first.groups) == min(most_groups, len(set(keys)))
    counts = Counter(keys)
    for group, items in first.groups.items():
        assert len(set(items)) == 1 and first.counts[group] == counts[items[0]]
        assert len(items) == min(most, counts[items[0]])
    random_.shuffle(keys)
    assert sample(keys).items() == first.items()


# --- differences ------------------------------------------------------------------------------------------------------


@given(st.text("ab \n<&", max_size=60), st.text("ab \n<&", max_size=60))
def test_marks_are_the_only_difference_from_the_texts(first: str, second: str) -> None:
    left, right = side_by_side(first, second)
    assert "".join(Parsed(left).text) == first and "".join(Parsed(right).text) == second
    assert {tag for tag, _ in Parsed(left).elements} <= {"del"} and {tag for tag, _ in Parsed(right).elements} <= {
        "ins"
    }
    without = [re.sub(r"<(ins|del)>.*?</\1>", "", side, flags=re.DOTALL).split() for side in (left, right)]
    assert without[0] == without[1], "what is not marked is in both"
    if first == second:
        assert left == right and "<del>" not in left


def test_of_long_texts_the_first_difference_is_shown() -> None:
    words = " ".join(f"word{i}" for i in range(5000))
    left, right = side_by_side(words, words.replace("word3000 ", "other "))
    assert "<del>word3000</del>" in left and "<ins>other</ins>" in right
    assert left.startswith("… ") and left.endswith(" …") and len(left) < 2 * SHOWN


def test_texts_of_one_word_again_and_again_take_no_time() -> None:
    side_by_side("a " * 20_000, "a " * 10_000 + "b " + "a " * 10_000)


# --- figures ----------------------------------------------------------------------------------------------------------


@given(st.dictionaries(NUMBERS, st.integers(1, 1000), min_size=2, max_size=60), NUMBERS, st.booleans(), st.data())
def test_a_histogram_has_each_document_on_its_side_of_the_threshold(counts, threshold, takes_below, data) -> None:
    if data.draw(st.booleans()):
        threshold = data.draw(st.sampled_from(sorted(counts)))
    taken = sum(n for x, n in counts.items() if (x < threshold if takes_below else x > threshold))
    rule = RuleFindings("r", threshold, sorted(counts.items()), documents=taken)
    rule.below, rule.above = int(takes_below), int(not takes_below)
    picture = histogram(rule)
    assert picture is not None
    bars = re.findall(r'<rect [^>]*class="(\w+)"><title>.*? to .*?: ([\d,]+) documents', picture)
    drawn = {kind: sum(int(n.replace(",", "")) for k, n in bars if k == kind) for kind in ("kept", "dropped")}
    assert drawn == {"kept": sum(counts.values()) - taken, "dropped": taken}
    for x in re.findall(r'x="([-\d.]+)"', picture):
        assert -10 <= float(x) <= 470


@given(NUMBERS, NUMBERS)
def test_an_axis_has_a_few_round_numbers_that_are_on_it(low: float, more: float) -> None:
    axis = Axis(low, low + more)
    assert 1 <= len(axis.ticks()) <= 7
    for tick in axis.ticks():
        assert abs(axis.value(axis.share(tick)) - tick) <= 1e-6 * max(1, abs(tick))


def test_numbers_and_sizes_are_written_for_people() -> None:
    assert [number(x) for x in (50, 100000.0, 0.2, 0.00241, 1234.5)] == ["50", "100,000", "0.2", "0.00241", "1,234"]
    assert [size(x) for x in (0, 999, 1234, 123456, 5e12)] == ["0 B", "999 B", "1.2 kB", "123 kB", "5.0 TB"]


# --- the page ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    short, long = Verdict(False, "length", 2, 3), Verdict(False, "<b>script</b>", 9.5, 9)
    words = [f"a good text with number {i} in it" for i in range(30)]
    rows = [
        (words[i], None) if i % 3 else ("ab" if i % 2 else HOSTILE + str(i), short if i % 2 else long)
        for i in range(30)
    ]
    return write_folder(
        tmp_path / "lab", rows, [(words[1] + " too", 1, 0.8), (words[1] + "!", 1, 0.9), (words[2], 2, 1.0)]
    )


def show(*names: Path | str) -> str:
    assert main(["show", *map(str, names)]) == 0
    return (Path(names[0]) / "show.html").read_text("utf-8")


def test_the_page_tells_the_account_each_rule_and_its_examples(folder: Path) -> None:
    text = " ".join(" ".join(Parsed(show(folder)).text).split())
    assert "33 came in" in text and "20 kept" in text and "13 dropped" in text
    assert "drops what is below 3" in text and "5 documents of 25 that reached it" in text
    assert "<b>script</b>" in text and '<script>document.title = "run"</script>' in text
    assert f"3 documents {source_of(1)}" in text and "similarity 0.80" in text
    assert "\u27e8202E\u27e9turned\u27e8202C\u27e9 \u27e80000\u27e9\u27e8001B\u27e9[31m" in text


def test_the_page_has_no_scripts_and_needs_no_network(folder: Path) -> None:
    parsed = Parsed(show(folder))
    tags = {tag for tag, _ in parsed.elements}
    assert tags.isdisjoint({"script", "img", "iframe", "link", "a", "object", "base", "form"})
    names = {name for _, attributes in parsed.elements for name in attributes}
    assert not any(name.startswith("on") or name in ("src", "href", "srcdoc") for name in names)
    assert ("meta", "default-src 'none'; style-src 'unsafe-inline'") in [
        (t, a.get("content")) for t, a in parsed.elements
    ]
    assert [tag for tag, _ in parsed.elements].count("style") == 1


def test_the_same_folder_gives_the_same_page(folder: Path, tmp_path: Path) -> None:
    first = show(folder)
    assert show(folder) == first, "although the page is in the folder now"
    assert main(["show", str(folder), "--out", str(tmp_path / "new" / "page.html")]) == 0
    assert (tmp_path / "new" / "page.html").read_text("utf-8") == first


def test_several_folders_are_chapters_of_one_page(folder: Path, tmp_path: Path) -> None:
    other = write_folder(tmp_path / "other", [("a text", None)], command="dedup")
    assert main(["show", str(folder), str(other)]) == 0
    text = (other / "show.html").read_text()
    assert text.index("Cleaning") < text.index("De-duplication")


@pytest.mark.parametrize(
    ("points", "is_drawn"), [([[0.0, 0.0], [0.5, 0.1], [1.0, 1.0]], True), (["x"], False), (3, False)]
)
def test_the_curve_of_detection_is_drawn_if_there_is_one(folder: Path, points, is_drawn: bool) -> None:
    report = json.loads((folder / "report.json").read_text())
    del report["sha256"]
    (folder / "report.json").write_text(json.dumps(report | {"detection": points}))
    assert ("<polyline" in show(folder)) is is_drawn


def test_a_page_of_large_hostile_texts_is_small(tmp_path: Path) -> None:
    """80 rules, each with examples of signs that are long when escaped."""
    rng = random.Random(1)
    rows = [
        ('"' * 30_000 + f"{i}", Verdict(False, f"{'<' * 50}{i % 200}", rng.random(), 0.5)) for i in range(600)
    ]  # fmt: skip
    rows += [("'" * 30_000 + f"{i}", None) for i in range(20)]
    copies = [('"' * 100 + "'" * 29_000 + f"{i}", 600 + i % 20, 0.9) for i in range(100)]
    assert len(show(write_folder(tmp_path / "lab", rows, copies)).encode()) < 3_000_000


def test_an_empty_folder_has_a_page_too(tmp_path: Path) -> None:
    assert "No documents." in show(write_folder(tmp_path / "lab", []))


def test_lines_that_are_no_rows_are_counted(folder: Path) -> None:
    for name, line in (("kept", "{broken"), ("dropped", '{"text": "a", "source": "b"}'), ("dropped", "[1]")):
        with open(folder / f"{name}-00000.jsonl", "a") as file:
            file.write(line + "\n")
    assert "3 lines of this folder cannot be read" in show(folder)


@pytest.mark.parametrize("damage", ["nothing", "no report", "unfinished", "half", "wrong", "wrong number"])
def test_what_is_no_folder_of_the_lab_is_told_in_a_sentence(folder: Path, damage: str, capsys) -> None:
    report = json.loads((folder / "report.json").read_text())
    del report["sha256"]
    if damage == "no report":
        (folder / "report.json").unlink()
    elif damage == "unfinished":
        (folder / "state.json").write_text("{}")
    elif damage == "half":
        (folder / "report.json").write_text("{")
    elif damage == "wrong":
        (folder / "report.json").write_text(json.dumps(report | {"numbers": [1]}))
    elif damage == "wrong number":
        (folder / "report.json").write_text(json.dumps(report | {"dropped": {"length": {"documents": "many"}}}))
    assert main(["show", str(folder if damage != "nothing" else folder / "nothing")]) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and str(folder) in told
    assert not (folder / "show.html").exists()


def test_only_what_is_shown_is_kept_in_memory(folder: Path) -> None:
    read: list[int] = []
    found = collect(folder, read.append)
    assert sum(read) == sum(path.stat().st_size for path in folder.glob("*-*.jsonl"))
    assert sum(map(len, found.clusters.groups.values())) == 2, "the third copy is exact, and shows no difference"
    assert found.firsts.keys() == {source_of(1)}
